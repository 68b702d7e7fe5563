"""publish: compress the sealed disk and let a version appear in the catalog.

In: the sealed, proven disk. Out: ``output/publish/<image>/<version>/``, then its line in
``index.json``. The catalog, not the receipt, answers whether this is done.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from pipeline.publishing import catalog
from pipeline.publishing.manifest import DISK, Built, Disk, manifest, version_of
from pipeline.publishing.version import appear, complete, compress, staging
from pipeline.stages import artifacts, rendering
from pipeline.stages.build import Build, Made, Work
from pipeline.stages.session import DISK as SEALED

FROM = ("install", "provision", "check", "seal", "prove")
CARRIED = {"check": ("checks.json", "junit.xml"), "prove": ("checks.json", "junit.xml")}


def make(work: Work) -> Made:
    """Compress, describe, rename, list."""
    build, published = work.build, work.build.workspace.published
    image = build.image.name
    folder = staging(published, image, work.id)
    disk = compress(work.upstream("seal") / SEALED, folder)
    now = datetime.datetime.now(datetime.UTC)
    version = version_of(build.facts.build, now.date(), published / image)
    document = _manifest(work, disk, version, now)
    carried = {
        f"{stage}-{name}": (work.upstream(stage) / name).read_bytes()
        for stage, names in CARRIED.items()
        for name in names
    }
    complete(folder, document, carried)
    appear(folder, published / image / version)
    catalog.add(build.workspace.catalog, _entry(document))
    work.progress.event(f"published {published / image / version}")
    (work.folder / "version").write_text(version + "\n")
    return Made(("version",), facts={"version": version})


def _manifest(work: Work, disk: Disk, version: str, now: datetime.datetime) -> dict[str, Any]:
    build = work.build
    receipts = {name: receipt for name in FROM if (receipt := build.receipt(name))}
    results = [
        result
        for stage in CARRIED
        for result in json.loads((work.upstream(stage) / "checks.json").read_bytes())
    ]
    held = [bool(result["ok"]) for result in results]
    built = Built(
        build_id=work.id,
        stages={name: receipt.id for name, receipt in receipts.items()},
        tools=receipts["install"].tools,
        timings={name: receipt.timings["total"] for name, receipt in receipts.items()},
        checks={"passed": held.count(True), "failed": held.count(False)},
    )
    names = sorted({build.image.media, build.image.drivers.pin, *_plan_pins(build)})
    pins = [build.pins[name] for name in names]
    identities = {pin.name: artifacts.identity(pin) for pin in pins}
    return manifest(build.image, build.facts, pins, identities, disk, built, version, now)


def _plan_pins(build: Build) -> set[str]:
    return {*rendering.bootstrap(build).pins(), *rendering.provision(build).pins()}


def _entry(document: Mapping[str, Any]) -> catalog.Entry:
    disk = document["disk"]
    return catalog.Entry(
        image=document["image"],
        version=document["version"],
        build_id=document["build_id"],
        disk=DISK,
        size=disk["size"],
        sha256=disk["sha256"],
        built_at=document["built_at"],
        expires_at=document["licence"]["expires_at"],
        rehearsal=document["rehearsal"],
    )
