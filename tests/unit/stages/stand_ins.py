"""Machines of stages without QEMU: who answers is an SSH server inside the test process.

Everything above the machine is the pipeline's own: logging in, commands, files, checks, the runner.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.definitions.loader import load
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.progress import Silent
from pipeline.guest.agent import TEST, AgentRun, run_agent
from pipeline.guest.keys import make_key_pair
from pipeline.guest.ssh import Guest, connect
from pipeline.machine.console import Console
from pipeline.machine.machine import Machine
from pipeline.machine.shutdown import Ending
from pipeline.machine.spec import MachineSpec
from pipeline.machine.watch import Watcher
from pipeline.stages.build import Build, Stage, Work
from pipeline.stages.cidata import KEY
from pipeline.stages.clone import HOST_NAME, INSTANCE, KEYS, LIMA_DONE, RECORD
from pipeline.stages.receipts import Receipt
from pipeline.stages.runner import run_stage
from pipeline.stages.session import DISK, Session
from tests.unit.guest.server import Answer, Play, serving

IMAGE = "rehearsal"
# What the build saw of its own guest.
BUILD_HOST_KEY = "ssh-ed25519 AAAABuild"
NOCLOUD = {"disc": "nocloud", "instance": INSTANCE, "host_name": HOST_NAME, "errors": []}


def at_once(
    port: int, user: str, key: Path, host_key: str | None, deadline: float
) -> AbstractAsyncContextManager[Guest]:
    """``connect`` that takes the first refusal of a key for an answer."""
    return connect(port, user, key, host_key, deadline, grace=0)


def installed(folder: Path) -> Build:
    """A build whose install stage is done, as far as its key and its guest's host key go."""
    workspace = Workspace(ROOT, folder / "output", folder / "cache")
    build = Build.of(IMAGE, load(workspace, {}), workspace)
    make_key_pair(build.folder("install") / KEY)
    receipt = Receipt("install", "1", "1", {}, facts={"host_key": BUILD_HOST_KEY})
    receipt.save(workspace.receipt(IMAGE, "install"))
    return build


def run_alone(build: Build, name: str) -> None:
    """Run one stage as the graph does; nothing but its name goes in."""
    run_stage(build, name, [Stage(name, name, lambda *_: {"stage": name})], Silent())


def answering(host_name: str, wrong: str = "") -> Any:
    """A guest's answers: its name, and every plan as desired but for the step ``wrong``."""

    def answer(command: str) -> Answer:
        if command == "hostname":
            return 0, f"{host_name}\r\n".encode(), b""
        plan = "bootstrap" if "bootstrap.json" in command else "provision"
        steps = {"bootstrap": ("sshd",), "provision": ("motd", "virtiofs-service")}[plan]
        return said(plan, {step: "wrong" if step == wrong else "ok" for step in steps})

    return answer


def said(plan: str, steps: dict[str, str]) -> Answer:
    """What the agent prints in Test mode."""
    lines: list[dict[str, Any]] = [
        {"step": step, "kind": "file", "state": state, "seconds": 0.1, "message": f"{step} {state}"}
        for step, state in steps.items()
    ]
    result, code = ("wrong", 3) if "wrong" in steps.values() else ("done", 0)
    lines.append({"plan": plan, "result": result, "steps": len(steps), "seconds": 1.0})
    return code, "".join(f"{json.dumps(line)}\r\n" for line in lines).encode(), b""


def write(play: Play, path: str, content: bytes = b"x") -> None:
    """Write a file of the guest."""
    file = play.at(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def record(play: Play, **changed: object) -> None:
    """Write what first boot says that it found."""
    write(play, RECORD, json.dumps(NOCLOUD | changed).encode())


def nocloud(folder: Path) -> Play:
    """A clone that obeyed a NoCloud disc and has nothing left of its build."""
    folder.mkdir()
    play = Play(folder, answer=answering("PROOF"))
    record(play, host_name="PROOF")  # as Windows says it
    write(play, KEYS, play.key.with_suffix(".pub").read_bytes())
    return play


def lima(folder: Path) -> Play:
    """A clone that obeyed Lima's disc."""
    folder.mkdir()
    play = Play(folder, answer=answering("PROOF"))
    record(play, disc="lima")
    write(play, LIMA_DONE)
    return play


@dataclass
class Booted:
    """A machine that runs, as far as stages ask; ``says`` is what it says on COM1."""

    play: Play
    says: tuple[str, ...] = ()
    ending: Ending = Ending("guest-shutdown", 0)
    shares: bool = True
    console: Console = field(default_factory=Console)
    spec: Any = None

    @property
    def ssh_port(self) -> int:
        return self.play.port

    async def wait_end(self, _: float) -> Ending:
        return self.ending

    async def shutdown(self, *_: object) -> Ending:
        return self.ending

    def begin(self, spec: MachineSpec) -> None:
        self.spec = spec
        if spec.share and self.shares:
            (self.play.drive / "Z:").symlink_to(spec.share.directory)
        self.console.feed("".join(f"{line}\r\n" for line in self.says).encode())


def _watcher() -> Watcher:
    nothing = lambda *_: None  # noqa: E731
    phase = SimpleNamespace(deadline=30.0, name="phase")
    seen = SimpleNamespace(phase=phase, timings={}, enter=nothing, expect_power_off=nothing)
    return cast(Watcher, seen)


@dataclass
class Rack:
    """The machines that a stage boots, by the part of the stage that boots them."""

    machines: dict[str, Booted]

    @asynccontextmanager
    async def session(
        self, work: Work, spec: MachineSpec, *_: object, part: str = "", **__: object
    ) -> AsyncIterator[Session]:
        """As :func:`pipeline.stages.session.session`."""
        async with self.watched(work, spec, part=part) as (machine, watcher):
            play = self.machines[part].play
            async with connect(play.port, "golden", play.key, None, 30, grace=0) as guest:
                yield Session(machine, guest, watcher)

    @asynccontextmanager
    async def watched(
        self, _: Work, spec: MachineSpec, *__: object, part: str = ""
    ) -> AsyncIterator[tuple[Machine, Watcher]]:
        """As :func:`pipeline.stages.session.watched`."""
        machine = self.machines[part]
        machine.begin(spec)
        async with serving(machine.play):
            yield cast(Machine, machine), _watcher()

    def serve(self, stage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the module of a stage boot these machines, on disks that nobody reads."""
        for name in ("session", "watched"):
            if hasattr(stage, name):
                monkeypatch.setattr(stage, name, getattr(self, name))
        if hasattr(stage, "look"):
            monkeypatch.setattr(stage, "look", look)
        monkeypatch.setattr(stage, "overlay", _overlay)


async def look(_: Work, guest: Guest, name: str, deadline: float) -> AgentRun:
    """Ask the guest's agent; there are no artifacts to upload."""
    return await run_agent(guest, TEST, name, deadline)


def _overlay(work: Work, _: str, name: str = DISK) -> Path:
    disk = work.folder / name
    disk.write_bytes(b"a disk")
    return disk
