"""Where the payloads of an image's plans come from: artifacts, the driver disc, the checkout."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.answers.payloads import Artifact, Resolved, resolve
from pipeline.answers.planning import Plan
from pipeline.answers.plans import recipe_identity
from pipeline.foundation.files import sha256_file
from pipeline.stages import artifacts
from pipeline.stages.build import Build

if TYPE_CHECKING:
    from pipeline.inputs.drivers import Driver


@dataclass(frozen=True, slots=True)
class Sources:
    """The verified artifacts and files of one build (``answers.payloads.Artifacts``)."""

    build: Build

    def pin(self, name: str) -> Artifact:
        """A whole artifact, with the digest that was verified."""
        pin = self.build.pins[name]
        return Artifact(artifacts.require(pin, self.build.workspace), pin.sha256)

    def repository(self, path: str) -> Path:
        """A file of the checkout."""
        return self.build.workspace.root / path

    def drivers(self, pin: str, driver: str) -> Sequence[Driver]:
        """The packages in a driver's folder for this release and architecture."""
        build = self.build
        disc = artifacts.require(build.pins[pin], build.workspace)
        return _drivers(disc, build.image.release, build.facts.architecture, driver)


@functools.cache
def _drivers(disc: Path, release: str, architecture: str, driver: str) -> tuple[Driver, ...]:
    """Read once a process: plans are resolved for provision, check and prove, and discs are large.

    A verified artifact never changes under its path.
    """
    from pipeline.inputs.drivers import read_drivers

    return read_drivers(disc, release, architecture, [driver])


def identity(build: Build, plan: Plan) -> dict[str, Any]:
    """Everything that decides the plan and its payloads; no artifact is needed to know it."""
    root = build.workspace.root
    return {
        "plan": recipe_identity(plan),
        "release": str(build.image.release),
        "artifacts": {name: artifacts.identity(build.pins[name]) for name in plan.pins()},
        "files": {path: sha256_file(root / path) for path in plan.repository_files()},
    }


def resolved(build: Build, plan: Plan) -> Resolved:
    """The plan as the guest gets it, with its payloads."""
    return resolve(plan, Sources(build))
