"""publish: compress the sealed disk and let a version appear in the catalog and the stores.

In: the sealed, proven disk. Out: ``output/publish/<image>/<version>/``, signed, then its line in
``index.json``. The catalog, not the receipt, answers whether this is done.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.answers.planning import FromDriver, FromPin, FromRepository, Source
from pipeline.definitions.model import Pin
from pipeline.foundation.files import sha256_bytes, sha256_file
from pipeline.foundation.locks import lock
from pipeline.foundation.process import run
from pipeline.publishing import bom, catalog, consumers, provenance, signature
from pipeline.publishing.manifest import DISK, Built, Disk, manifest, version_of
from pipeline.publishing.stores.push import Publisher, push_all
from pipeline.publishing.version import MANIFEST, appear, complete, compress, staging, unlisted
from pipeline.stages import artifacts, payloads, rendering, shelves, story
from pipeline.stages.build import Build, Made, Work
from pipeline.stages.inputs import seal_config
from pipeline.stages.session import DISK as SEALED
from pipeline.stages.tonight import installed_at

FROM = ("install", "provision", "check", "seal", "prove")
CARRIED = {"check": ("checks.json", "junit.xml"), "prove": ("checks.json", "junit.xml")}


def make(work: Work) -> Made:
    """Compress, describe, sign, rename, list."""
    build, workspace = work.build, work.build.workspace
    published, image = workspace.published, build.image.name
    publisher = Publisher.of(workspace, build.settings)
    signature.require_usable(publisher.key)
    public = signature.public_key(publisher.key)
    final = unlisted(published / image, work.id, _listed(build)) or _new(work, publisher, public)
    document = json.loads((final / MANIFEST).read_bytes())
    signature.allow(published / signature.ALLOWED, signature.allowed_signers_line(public))
    entry = _entry(document)
    catalog.add(workspace.catalog, entry, publisher.sign)
    work.progress.event(f"published {final}")
    push_all(build.image, entry, publisher, work.progress)
    (work.folder / "version").write_text(final.name + "\n")
    return Made(("version",), facts={"version": final.name})


def _new(work: Work, publisher: Publisher, public: str) -> Path:
    """Make the folder of a new version; it appears when it is whole."""
    build, published = work.build, work.build.workspace.published / work.build.image.name
    now = datetime.datetime.now(datetime.UTC)
    with staging(work.build.workspace.published, build.image.name, work.id) as folder:
        disk = compress(work.upstream("seal") / SEALED, folder)
        with lock(published / ".version.lock", work.progress.event):
            version = version_of(build.facts.build, now.date(), published, _listed(build))
            document = _manifest(work, disk, version, now)
            complete(folder, document, _files(work, document, public), publisher.sign)
            appear(folder, published / version)
    return published / version


def _listed(build: Build) -> set[str]:
    """The versions that this host's catalog and those of the stores know."""
    return {entry.version for entry in shelves.known(build)}


def _files(work: Work, document: Mapping[str, Any], public: str) -> dict[str, bytes]:
    """What lies beside disk and manifest, by name; whatever is added here is listed and signed."""
    build = work.build
    carried = {
        f"{stage}-{name}": (work.upstream(stage) / name).read_bytes()
        for stage, names in CARRIED.items()
        for name in names
    }
    by = signature.fingerprint(public)
    digests = {name: sha256_bytes(data) for name, data in carried.items()}
    statement = provenance.provenance(document, build.image, _pins(build), by, digests)
    return {
        **carried,
        **consumers.consumer_files(document, build.workspace.templates),
        bom.NAME: bom.bom(document, _contents(build)),
        provenance.NAME: _json(statement),
        **story.pages(work, document),
        signature.ALLOWED: f"{signature.allowed_signers_line(public)}\n".encode(),
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


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
        tools={**receipts["install"].tools, **_tools()},
        timings={name: receipt.timings["total"] for name, receipt in receipts.items()},
        checks={"passed": held.count(True), "failed": held.count(False)},
        installed_at=installed_at(build),
    )
    pins = _pins(build)
    identities = {pin.name: artifacts.identity(pin) for pin in pins}
    return manifest(build.image, build.facts, pins, identities, disk, built, version, now)


def _tools() -> dict[str, str]:
    """The tools of this stage and of all, by their versions."""
    words = run(["qemu-img", "--version"], deadline=30).output.split()
    return {
        "golden-windows": importlib.metadata.version("golden-windows"),
        "python": platform.python_version(),
        "qemu-img": words[2],
    }


def _sources(build: Build) -> tuple[Source, ...]:
    """Where the payloads of both plans came from."""
    return (*rendering.bootstrap(build).sources(), *rendering.provision(build).sources())


def _pins(build: Build) -> list[Pin]:
    payload = {s.pin for s in _sources(build) if not isinstance(s, FromRepository)}
    names = {build.image.media, build.image.drivers.pin, *payload}
    return [build.pins[name] for name in sorted(names)]


def _contents(build: Build) -> bom.Contents:
    """What was put into the disk: the drivers of Setup and of the plan, packages, scripts."""
    sources = _sources(build)
    given = [source.driver for source in sources if isinstance(source, FromDriver)]
    whole = {source.pin for source in sources if isinstance(source, FromPin)}
    return bom.Contents(
        drivers=_drivers(build, [*build.image.drivers.setup, *given]),
        packages={_called(build, name): build.pins[name] for name in whole},
        scripts=_scripts(build),
    )


def _drivers(build: Build, names: Sequence[str]) -> list[Any]:
    sources = payloads.Sources(build)
    pin = build.image.drivers.pin
    return [driver for name in dict.fromkeys(names) for driver in sources.drivers(pin, name)]


def _called(build: Build, pin: str) -> str:
    """The name of a package: what it is, where the image's definition says so."""
    known = {build.image.winfsp: "winfsp", build.image.openssh: "openssh"}
    return known.get(pin, pin)


def _scripts(build: Build) -> dict[str, str]:
    """Files of the repository that ran in the guest, or stay there for the first boot."""
    root = build.workspace.root
    ran = {source.path for source in _sources(build) if isinstance(source, FromRepository)}
    files = {path: root / path for path in ran}
    stay = seal_config(build)["first_boot"]["files"]
    files |= {name: rendering.guest_script(build, name) for name in stay}
    return {name: sha256_file(path) for name, path in files.items()}


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
        expires_at=document["expires_at"],
        rehearsal=document["rehearsal"],
    )
