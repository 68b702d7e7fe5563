"""Artifacts for tests: none at all, or made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.answers.payloads import Artifact
from pipeline.foundation.paths import Workspace
from pipeline.inputs.drivers import Driver


class Nothing:
    """No artifact is to be had, only the checkout; for plans that need none."""

    def pin(self, name: str) -> Artifact:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        raise LookupError(name)

    def repository(self, path: str) -> Path:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        return Workspace.default().root / path

    def drivers(self, pin: str, driver: str) -> Sequence[Driver]:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        raise LookupError(driver)


@dataclass(frozen=True, slots=True)
class MadeUp:
    """Every artifact is a small file below ``root`` that holds its own name."""

    root: Path

    def pin(self, name: str) -> Artifact:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        path = self.root / f"{name}.artifact"
        path.write_bytes(name.encode())
        return Artifact(path)

    def repository(self, path: str) -> Path:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        own = self.root / path
        return own if own.exists() else Workspace.default().root / path

    def drivers(self, pin: str, driver: str) -> Sequence[Driver]:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        stem = driver.lower()
        names = [f"{stem}.cat", f"{stem}.inf", f"{stem}.sys"]
        beside = ["virtiofs.exe"] if driver == "viofs" else []
        files = {name: f"{pin}:{name}".encode() for name in (*names, *beside)}
        first = Driver(driver, f"{stem}.inf", "1.0", files)
        if driver != "pvpanic":
            return [first]
        second = {name: name.encode() for name in ("pvpanic-pci.cat", "pvpanic-pci.inf")}
        return [first, Driver("pvpanic-pci", "pvpanic-pci.inf", "1.0", second)]
