"""The stand-in's machine on a folder that plays C:, with nothing of Linux beneath it."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

from pipeline.rehearsal import driver_disc
from pipeline.rehearsal.guest import agent
from pipeline.rehearsal.guest.machine import Machine
from pipeline.rehearsal.guest.registry import FILE, Registry
from pipeline.rehearsal.guest.winpath import Drives


class Guest:
    """A machine on a folder, with nothing of Linux beneath it."""

    def __init__(self, folder: Path) -> None:
        self.c = folder / "c"
        self.beacons: list[str] = []
        (self.c / "Windows/System32").mkdir(parents=True)
        (self.c / "Windows/System32/standin.txt").write_text("2k25\nEDITION\n26100.1\n")
        self.machine = Machine(self.c, Drives({"C": self.c}), Registry(self.c / FILE))

    def run(self, *steps: dict[str, Any], mode: str = "Apply") -> tuple[int, list[dict[str, Any]]]:
        """The exit code and the lines of a plan's run."""
        return self.run_plan({"schema": 1, "name": "provision", "steps": list(steps)}, mode)

    def run_plan(self, plan: object, mode: str = "Apply") -> tuple[int, list[dict[str, Any]]]:
        """Run any plan."""
        (self.c / "plan.json").write_text(json.dumps(plan))
        out = io.StringIO()
        code = agent.run(self.machine, ["-Mode", mode, "-Plan", r"C:\plan.json"], out)
        return code, [json.loads(line) for line in out.getvalue().splitlines()]

    def payload(self, name: str, data: bytes) -> dict[str, str]:
        """Put a payload in place; how a step names it."""
        path = self.c / "payload" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"file": name, "sha256": hashlib.sha256(data).hexdigest()}

    def driver(self, release: str, version: str = "0.1.302") -> list[dict[str, str]]:
        """The payloads of viofs for a release."""
        package = driver_disc.package(driver_disc.KINDS[3], release, version)
        named = sorted(package, key=lambda name: not name.endswith(".inf"))
        return [self.payload(f"viofs/{name}", package[name]) for name in named]
