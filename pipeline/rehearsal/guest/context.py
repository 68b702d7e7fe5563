"""One step of a plan and where it is to be done; what a kind of step is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .machine import Machine

MARKERS = r"HKLM\SOFTWARE\GoldenWindows\Steps"


class StepFailed(Exception):
    """A step cannot be done; the sentence says why."""


@dataclass(slots=True)
class Context:
    """One step of a plan, where it is to be done."""

    machine: Machine
    plan: str
    step: dict[str, Any]
    files: list[Path] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The kind of the step."""
        return str(self.step["kind"])

    def get(self, name: str, default: Any = None) -> Any:
        """A key of the step; one that is null is as good as absent."""
        value = self.step.get(name)
        return default if value is None else value

    def path(self) -> Path:
        """The file that the step is about."""
        return self.machine.path(str(self.step["path"]))

    @property
    def main(self) -> Path:
        """The main payload."""
        if not self.files:
            raise StepFailed(f"{self.kind} needs a payload")
        return self.files[0]

    @property
    def digest(self) -> str:
        """The digest of the main payload, as the plan has it and the agent has verified it."""
        return str(self.step["payloads"][0]["sha256"]).lower() if self.files else ""

    def marker(self) -> str:
        """What the marker of this step says."""
        return str(self.machine.registry.data(MARKERS, f"{self.plan}/{self.step['id']}", ""))

    def mark(self, text: str) -> None:
        """Remember that the step was done."""
        self.machine.registry.set(MARKERS, f"{self.plan}/{self.step['id']}", text)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of step."""

    look: Callable[[Context], str]
    change: Callable[[Context], bool]
