"""The two agents side by side: the PowerShell one on the fake machine, the stand-in's on a folder.

Goes in: plans. Comes out: a :class:`Report` per run, without what may differ from run to run (the
seconds) and from agent to agent (the wording).
"""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pipeline.rehearsal.guest import agent, faults, linux, services, sshd
from pipeline.rehearsal.guest.machine import ADMINISTRATORS, Machine
from pipeline.rehearsal.guest.registry import FILE, Registry
from pipeline.rehearsal.guest.winpath import Drives
from tests.powershell.fake_machine import FakeMachine, Run

GOLDEN = r"C:\ProgramData\golden"
Step = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """What the host learns from a run: exit code, each step, the result, the beacons."""

    exit: int
    steps: tuple[tuple[str, str, str], ...] = ()
    result: str = ""
    count: int = -1
    beacons: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()  # lines that are not as the contract describes them


def report(code: int, lines: Sequence[dict[str, Any]], beacons: Sequence[str]) -> Report:
    """The report of a run, from its JSON lines."""
    steps = [line for line in lines if "step" in line]
    ends = [line for line in lines if "plan" in line]
    return Report(
        code,
        tuple((line["step"], line["kind"], line["state"]) for line in steps),
        ends[-1]["result"] if ends else "",
        ends[-1]["steps"] if ends else -1,
        tuple(beacons),
        tuple(json.dumps(line) for line in (*steps, *ends) if not described(line)),
    )


def described(line: dict[str, Any]) -> bool:
    """Whether a line has the contract's keys, and says why when something is wrong."""
    names = ["step", "kind", "state"] if "step" in line else ["plan", "result", "steps"]
    bad = line.get("state", line.get("result")) in ("failed", "wrong")
    return list(line) == [*names, "seconds", "message"] and (bool(line["message"]) or not bad)


class Side(ABC):
    """One of the two machines; ``c`` is the folder that is its C: drive."""

    c: Path
    fake: bool

    def file(self, path: str, content: bytes = b"") -> None:
        """A file below C: that is there from the beginning."""
        (self.c / path).parent.mkdir(parents=True, exist_ok=True)
        (self.c / path).write_bytes(content)

    def payload(self, name: str, data: bytes | tuple[bytes, bytes]) -> dict[str, str]:
        """A payload in its place, and how a plan names it; a pair when each has a form of it."""
        mine = data if isinstance(data, bytes) else data[0 if self.fake else 1]
        self.file(f"ProgramData/golden/payload/{name}", mine)
        return {"file": name, "sha256": sha256(mine).hexdigest()}

    def plan(self, name: str, text: str) -> str:
        """A plan as a file; gives its Windows path."""
        self.file(f"ProgramData/golden/{name}.json", text.encode())
        return rf"{GOLDEN}\{name}.json"

    @abstractmethod
    def value(self, key: str, name: str, data: str) -> None:
        """A text in the registry, below HKLM, from the beginning."""

    @abstractmethod
    def run(self, runs: Sequence[Sequence[str]]) -> list[Report]:
        """Run the agent, once with each of these arguments."""


class Windows(Side):
    """The PowerShell agent; all its runs are one process."""

    fake = True

    def __init__(self, folder: Path) -> None:
        self.machine = FakeMachine(folder)
        self.c = self.machine.c

    def value(self, key: str, name: str, data: str) -> None:
        self.machine.set_registry(key, name, data)

    def run(self, runs: Sequence[Sequence[str]]) -> list[Report]:
        ran = self.machine.run(*[Run("agent.ps1", words) for words in runs])
        assert len(ran) == len(runs), ran[-1].text
        return [report(one.exit, one.records, one.beacons) for one in ran]


class StandIn(Side):
    """The stand-in's agent, with nothing of Linux beneath it."""

    fake = False

    def __init__(self, folder: Path) -> None:
        self.c = folder / "c"
        self.beacons: list[str] = []
        self.file("Windows/System32/standin.txt", b"2k25\nEDITION\n26100.1\n")
        self.machine = Machine(self.c, Drives({"C": self.c}), Registry(self.c / FILE))
        self.machine.set_user("golden", [ADMINISTRATORS], enabled=True)
        for name, start in (("sshd", "demand"), ("WinFsp.Launcher", "auto")):
            self.file(f"Windows/{name}.exe")
            services.define(self.machine, name, binary=rf"C:\Windows\{name}.exe", start=start)

    def value(self, key: str, name: str, data: str) -> None:
        self.machine.registry.set("HKLM\\" + key, name, data)

    def run(self, runs: Sequence[Sequence[str]]) -> list[Report]:
        return [self._run(list(words)) for words in runs]

    def _run(self, words: list[str]) -> Report:
        self.beacons.clear()
        out = io.StringIO()
        try:
            code = agent.run(self.machine, words, out)
        except Exception as error:  # the process would end with a traceback
            return Report(-1, unlike=(repr(error),))
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        return report(code, lines, self.beacons)


@contextmanager
def without_linux(stand_in: StandIn, folder: Path) -> Iterator[None]:
    """The stand-in's plumbing is left out: no modules, no server, no serial port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linux, "serial", stand_in.beacons.append)
        patch.setattr(linux, "load", lambda *names: None)
        patch.setattr(services, "RUNNING", folder / "services")
        patch.setattr(sshd, "refresh", lambda machine: None)
        patch.setattr(sshd, "reconcile", lambda machine, wanted: None)
        patch.setattr(faults, "active", frozenset)
        yield
