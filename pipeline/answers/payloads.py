"""From a plan to ``plan.json`` and the files beside it.

In: a :class:`~pipeline.answers.plans.Plan` and the artifacts it names. Out: the plan of the guest
contract, every payload with its digest, and each payload's path or bytes by its name below the
payload folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.answers.planning import (
    SCHEMA,
    FromDriver,
    FromDriverFile,
    FromPin,
    FromRepository,
    PayloadSource,
    Plan,
    PlannedStep,
    driver_step_id,
)
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_bytes, sha256_file

if TYPE_CHECKING:
    from pipeline.inputs.drivers import Driver

PROGRAMS = frozenset({"virtiofs.exe"})  # they lie in a driver's folder and are no part of it
Content = Path | bytes


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified file and its digest, where that is known already."""

    path: Path
    sha256: str | None = None


class Artifacts(Protocol):
    """Where the bytes come from; what is asked for is known before (``Plan.sources``)."""

    def pin(self, name: str) -> Artifact:
        """A whole artifact."""

    def repository(self, path: str) -> Path:
        """A file below the repository's root."""

    def drivers(self, pin: str, driver: str) -> Sequence[Driver]:
        """The packages in a driver's folder, for the image's release and architecture."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A plan as the guest gets it, and its payloads by their names below the payload folder."""

    name: str
    plan: dict[str, Any]
    payloads: dict[str, Content]

    def json(self) -> bytes:
        """The plan as a file: readable, ASCII, without a byte order mark."""
        return (json.dumps(self.plan, indent=2) + "\n").encode("ascii")


def resolve(plan: Plan, artifacts: Artifacts) -> Resolved:
    """The plan with every payload found and its digest filled in.

    A driver's folder may hold several packages; each becomes a step of its own.
    """
    payloads: dict[str, Content] = {}
    steps: list[dict[str, Any]] = []
    for step in plan.steps:
        for filled in _filled(step, artifacts):
            steps.append(filled.as_json())
            payloads |= filled.contents()
    return Resolved(plan.name, {"schema": SCHEMA, "name": plan.name, "steps": steps}, payloads)


@dataclass(frozen=True, slots=True)
class _Payload:
    file: str
    content: Content
    sha256: str


@dataclass(frozen=True, slots=True)
class _Filled:
    """A step with its payloads."""

    id: str
    kind: str
    keys: Mapping[str, Any]
    payloads: tuple[_Payload, ...] = ()

    def as_json(self) -> dict[str, Any]:
        files = [{"file": payload.file, "sha256": payload.sha256} for payload in self.payloads]
        head: dict[str, Any] = {"id": self.id, "kind": self.kind}
        return head | ({"payloads": files} if files else {}) | dict(self.keys)

    def contents(self) -> dict[str, Content]:
        return {payload.file: payload.content for payload in self.payloads}


def _filled(step: PlannedStep, artifacts: Artifacts) -> Iterator[_Filled]:
    sources = [payload.source for payload in step.payloads]
    if sources and isinstance(sources[0], FromDriver):
        for driver in artifacts.drivers(sources[0].pin, sources[0].driver):
            yield _driver_step(driver)
        return
    payloads = tuple(_payload(step, payload, artifacts) for payload in step.payloads)
    yield _Filled(step.id, step.kind, step.keys, payloads)


def _driver_step(driver: Driver) -> _Filled:
    """One package: its .inf first, then the rest, without programs that only lie beside it."""
    name = driver_step_id(driver.name)
    rest = sorted(file for file in driver.files if file != driver.inf and not _beside(file))
    payloads = (
        _Payload(f"{name}/{file}", driver.files[file], sha256_bytes(driver.files[file]))
        for file in (driver.inf, *rest)
    )
    return _Filled(name, "driver", {"name": driver.name}, tuple(payloads))


def _beside(file: str) -> bool:
    return file.lower() in PROGRAMS


def _payload(step: PlannedStep, payload: PayloadSource, artifacts: Artifacts) -> _Payload:
    match payload.source:
        case FromPin(pin):
            artifact = artifacts.pin(pin)
            sha256 = artifact.sha256 or sha256_file(artifact.path)
            return _Payload(payload.file, artifact.path, sha256)
        case FromRepository(path, pinned):
            file = artifacts.repository(path)
            return _Payload(payload.file, file, _verified(step, path, file, pinned))
        case FromDriverFile(pin, driver, name):
            data = _program(pin, name, artifacts.drivers(pin, driver))
            return _Payload(payload.file, data, sha256_bytes(data))
    raise AssertionError(payload)


def _program(pin: str, name: str, drivers: Sequence[Driver]) -> bytes:
    files = {file.lower(): data for driver in drivers for file, data in driver.files.items()}
    if name.lower() not in files:
        raise PipelineError(f"{pin}: there is no {name} among {', '.join(sorted(files))}")
    return files[name.lower()]


def _verified(step: PlannedStep, path: str, file: Path, pinned: str | None) -> str:
    if not file.is_file():
        raise PipelineError(f"step {step.id}: there is no file {path}")
    found = sha256_file(file)
    if pinned and pinned != found:
        raise PipelineError(
            f"step {step.id}: {path} has SHA-256 {found}, its definition says {pinned}",
            hint="when the change is meant, write the new digest into the image's definition",
        )
    return found
