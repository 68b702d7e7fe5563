"""A guest plan before its payloads are known.

In: nothing but what the plans say. Out: steps whose payloads name their source, and the identity of
all that, so that a stage's id needs no artifact. ``payloads`` turns a plan into ``plan.json``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.foundation.units import Sha256

SCHEMA = 1  # of the guest contract's plans


@dataclass(frozen=True, slots=True)
class FromPin:
    """A whole artifact."""

    pin: str


@dataclass(frozen=True, slots=True)
class FromRepository:
    """A file below the repository's root, with its digest where the definition pins one."""

    path: str
    sha256: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class FromDriver:
    """A driver package of the driver disc: its .inf and all that it names; one file or more."""

    pin: str
    driver: str


@dataclass(frozen=True, slots=True)
class FromDriverFile:
    """One file that lies beside a driver on the driver disc without belonging to its package."""

    pin: str
    driver: str
    name: str


Source = FromPin | FromRepository | FromDriver | FromDriverFile


@dataclass(frozen=True, slots=True)
class PayloadSource:
    """Where a payload comes from, and its name below the payload folder.

    For a driver package ``file`` is the folder, as only the disc tells which files it has.
    """

    file: str
    source: Source


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of the guest contract whose payloads have no digest yet."""

    id: str
    kind: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    payloads: tuple[PayloadSource, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of the guest contract, before its payloads are known."""

    name: str
    steps: tuple[PlannedStep, ...]

    def sources(self) -> tuple[Source, ...]:
        """Where the payloads come from, each once, in the order of the steps."""
        return tuple(dict.fromkeys(p.source for step in self.steps for p in step.payloads))

    def pins(self) -> tuple[str, ...]:
        """The pins whose artifacts the plan needs, sorted."""
        named = (source for source in self.sources() if not isinstance(source, FromRepository))
        return tuple(sorted({source.pin for source in named}))

    def repository_files(self) -> tuple[str, ...]:
        """The files of the repository that the plan carries, sorted."""
        files = (source for source in self.sources() if isinstance(source, FromRepository))
        return tuple(sorted({source.path for source in files}))


def recipe_identity(plan: Plan) -> Any:
    """Everything that a plan says, as JSON; for stage ids and for reading before a download.

    Artifacts are named, not identified: add the identities of :meth:`Plan.pins` and the digests of
    :meth:`Plan.repository_files`.
    """
    return {
        "schema": SCHEMA,
        "name": plan.name,
        "steps": [_step_identity(step) for step in plan.steps],
    }


def _step_identity(step: PlannedStep) -> dict[str, Any]:
    identity: dict[str, Any] = {"id": step.id, "kind": step.kind, **step.keys}
    if step.payloads:
        identity["payloads"] = [
            {"file": payload.file, "from": _source_identity(payload.source)}
            for payload in step.payloads
        ]
    return identity


def _source_identity(source: Source) -> dict[str, str]:
    match source:
        case FromPin(pin):
            return {"pin": pin}
        case FromRepository(path, sha256):
            return {"path": path} | ({"sha256": str(sha256)} if sha256 else {})
        case FromDriver(pin, driver):
            return {"pin": pin, "driver": driver}
        case FromDriverFile(pin, driver, name):
            return {"pin": pin, "driver": driver, "name": name}


def driver_step_id(driver: str) -> str:
    """The id of the step that installs a driver package."""
    return "driver-" + re.sub(r"[^a-z0-9]+", "-", driver.lower())
