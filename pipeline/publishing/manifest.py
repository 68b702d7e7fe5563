"""The manifest of a published version: what it is, what went in, how long it is good for.

Goes in: an image's definition and what the stages know of its build. Comes out: ``manifest.json``,
which keeps to ``schemas/manifest.schema.json`` or is not published at all.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.definitions.model import Image, MediaFacts, Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT

SCHEMA = 1
SCHEMA_FILE = ROOT / "schemas" / "manifest.schema.json"
DISK = "disk.qcow2"


@dataclass(frozen=True, slots=True)
class Disk:
    """The published disk image: sizes in bytes, ``virtual_size`` as the guest sees it."""

    size: int
    virtual_size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Built:
    """What the stages know of one build."""

    build_id: str
    stages: Mapping[str, str]
    tools: Mapping[str, str]
    timings: Mapping[str, float]
    checks: Mapping[str, int]
    installed_at: datetime.datetime | None = None
    """When Windows was installed: an evaluation's clock does not wait for the publication."""


def utc(moment: datetime.datetime) -> str:
    """``2026-11-23T08:15:00Z``."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def version_of(build: str, day: datetime.date, folder: Path, listed: Iterable[str] = ()) -> str:
    """The next version: Windows build, day, and a counter, as ``26100.32230-20261123.1``.

    The counter follows the highest of that day, among what lies in ``folder`` and what catalogs
    list (``listed``), whatever the Windows build: a name that was published once never means
    anything else, and a later version is never taken for an older one. What was removed is no
    longer counted, and need not be: the day's last version always stays.
    """
    counted = re.compile(rf"-{day:%Y%m%d}\.(\d+)")
    there = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    found = (counted.search(name) for name in (*listed, *there))
    highest = max((int(match[1]) for match in found if match), default=0)
    return f"{build}-{day:%Y%m%d}.{highest + 1}"


def licence(facts: MediaFacts, built: datetime.datetime, *, rehearsal: bool) -> dict[str, Any]:
    """What the licence of the Windows inside says, and which clock runs.

    Evaluation media: each machine has ten days to activate online, and runs for
    ``evaluation_days`` from then; an image is refreshed as if that clock ran from its build.
    """
    if rehearsal:
        return {"note": "A stand-in for rehearsals; contains no Windows.", "expires_at": None}
    if facts.evaluation_days is None:
        return {"note": "Windows is licensed by whoever runs this image.", "expires_at": None}
    expires = built + datetime.timedelta(days=facts.evaluation_days)
    return {
        "note": (
            f"Windows evaluation: each machine activates online within 10 days of its first boot, "
            f"then runs for {facts.evaluation_days} days. Not for redistribution."
        ),
        "expires_at": utc(expires),
    }


def manifest(
    image: Image,
    facts: MediaFacts,
    pins: Sequence[Pin],
    identities: Mapping[str, str],
    disk: Disk,
    built: Built,
    version: str,
    moment: datetime.datetime,
) -> dict[str, Any]:
    """The whole document, JSON-able, without anything that is secret or names the build host."""
    terms = licence(facts, built.installed_at or moment, rehearsal=image.rehearsal)
    return {
        "schema": SCHEMA,
        "image": image.name,
        "title": image.title,
        "version": version,
        "build_id": built.build_id,
        "rehearsal": image.rehearsal,
        "user": image.user,
        "first_boot": str(image.first_boot),
        "windows": {
            "build": facts.build,
            "edition": image.edition,
            "architecture": facts.architecture,
            "language": image.locale.language,
            "release": str(image.release),
        },
        "machine": {
            "firmware": str(image.machine.firmware),
            "cpus": image.machine.cpus,
            "memory": int(image.machine.memory),
            "tpm": image.machine.tpm,
            "secure_boot": image.machine.secure_boot,
        },
        "disk": {
            "file": DISK,
            "format": "qcow2",
            "compression": "zstd",
            "size": disk.size,
            "virtual_size": disk.virtual_size,
            "sha256": disk.sha256,
        },
        "inputs": {
            pin.name: {
                "version": pin.version,
                "identity": identities[pin.name],
                "sha256": pin.sha256,
                "size": pin.size,
            }
            for pin in pins
        },
        "stages": dict(built.stages),
        "timings": dict(built.timings),
        "tools": dict(built.tools),
        "checks": dict(built.checks),
        "built_at": utc(moment),
        "expires_at": terms["expires_at"],
        "licence": terms,
    }


def problems(document: Any) -> list[str]:
    """What of a document is not as the published schema says: ``where: what``; none is good."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads(SCHEMA_FILE.read_bytes()))
    return sorted(
        f"{error.json_path.removeprefix('$.')}: {error.message}"
        for error in validator.iter_errors(document)
    )


def require_valid(document: Any) -> None:
    """Raise unless the document keeps to the schema: a mistake here, or a manifest of others."""
    if found := problems(document):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PipelineError(
            f"the manifest is not as its schema says: {found[0]}{more}",
            hint=f"the schema is {SCHEMA_FILE}",
        )
