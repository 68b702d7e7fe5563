"""A failed machine: its logs are brought while it answers, and it stays up when that was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.cli import main as cli
from pipeline.definitions.model import Firmware
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Size
from pipeline.guest.login import GuestUnreachable, KeyRefused
from pipeline.guest.logs import bring_logs, kept_as
from pipeline.guest.ssh import connect
from pipeline.machine.console import Console
from pipeline.machine.doors import Doors
from pipeline.machine.faults import Fault, MachineFault
from pipeline.machine.machine import Machine
from pipeline.machine.spec import MachineSpec
from pipeline.stages import failure, keep
from pipeline.stages.build import Work
from pipeline.stages.failure import after_failure
from pipeline.stages.session import Access
from tests.unit.guest.server import Play, serving
from tests.unit.machine.test_watch import FakeMonitor, FakeProcess
from tests.unit.stages.test_plan import World


class Stage:
    """A machine whose stage has failed, with an SSH server for a guest."""

    def __init__(self, folder: Path) -> None:
        self.play = Play(folder)
        self.world = World(folder)
        self.work = Work(self.world.build, folder / ".install.work", "id", Silent())
        self.work.evidence.mkdir(parents=True)
        self.process = FakeProcess()
        spec = MachineSpec("toy", Firmware.UEFI, 1, Size(1 << 30), folder / "disk")
        process, monitor = cast(Any, self.process), cast(Any, FakeMonitor())
        self.machine = Machine(spec, self.work.evidence, process, monitor, Console(), ())
        self.machine.doors = Doors.within(folder / "run")

    @property
    def access(self) -> Access:
        return Access("golden", self.play.key, None)

    @property
    def workspace(self) -> Workspace:
        return self.world.workspace

    def fail(
        self, error: PipelineError, during: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Do what is done after ``error``, while ``during`` goes on beside."""

        async def main() -> None:
            async with serving(self.play):
                self.machine.ssh_port = self.play.port
                beside = asyncio.create_task(_coroutine(during)) if during else None
                await after_failure(self.work, self.machine, self.access, error)
                if beside:
                    await beside

        asyncio.run(main())


async def _coroutine(act: Callable[[], Awaitable[None]]) -> None:
    await act()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.delenv("GOLDEN_KEEP", raising=False)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(keep, "LOOK", 0.01)
    return Stage(tmp_path)


def put(stage: Stage, path: str, text: str) -> None:
    file = stage.play.at(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def brought(stage: Stage) -> set[str]:
    return {path.name for path in (stage.work.evidence / failure.LOGS).glob("*")}


def test_the_logs_of_setup_sysprep_and_agent_are_brought(stage: Stage) -> None:
    put(stage, "/C:/Windows/Panther/setuperr.log", "one")
    put(stage, "/C:/Windows/System32/Sysprep/Panther/setupact.log", "two")
    put(stage, "/C:/ProgramData/golden/log/provision.log", "three")
    put(stage, "/C:/Windows/Panther/unattend.xml", "<Password>secret</Password>")
    stage.fail(PipelineError("a step failed"))
    assert brought(stage) == {
        "Windows-Panther-setuperr.log",
        "Windows-System32-Sysprep-Panther-setupact.log",
        "ProgramData-golden-log-provision.log",
    }
    kept = stage.work.evidence / failure.LOGS / "Windows-Panther-setuperr.log"
    assert kept.read_text() == "one"


def test_only_the_end_of_a_large_log_is_brought(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.guest.logs.LARGEST", 10)
    put(stage, "/C:/Windows/Logs/CBS/CBS.log", "x" * 1000 + "0123456789")
    stage.fail(PipelineError("a step failed"))
    log = stage.work.evidence / failure.LOGS / "Windows-Logs-CBS-CBS.log"
    assert log.read_text() == "0123456789"


def test_bringing_logs_ends_in_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[Path]:
        async with (
            serving(stage.play),
            connect(stage.play.port, "golden", stage.play.key, None, 10) as guest,
        ):

            async def hangs(*_: object) -> bytes:
                await asyncio.sleep(600)
                return b""

            monkeypatch.setattr(guest, "tail", hangs)
            return await bring_logs(guest, stage.work.evidence, 0.05)

    assert asyncio.run(main()) == []


@pytest.mark.parametrize("fault", list(Fault))
def test_a_guest_that_stands_still_is_not_asked(
    stage: Stage, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(stage, "/C:/Windows/Panther/setuperr.log", "one")
    stage.fail(MachineFault(fault, "something", stage.machine))
    runs_on = fault in {"boot-loop", "sidecar-died", "phase-too-long", "no-progress"} or (
        fault is Fault.WAITS
    )
    assert bool(stage.play.logins) == runs_on
    assert bool(brought(stage)) == runs_on


def test_a_refused_key_is_not_tried_again(stage: Stage) -> None:
    stage.fail(KeyRefused("the guest refuses the key"))
    assert stage.play.logins == 0


def test_a_guest_that_does_not_answer_hides_no_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure, "LOGIN_SECONDS", 0.1)
    stage.play.accepts = False
    stage.fail(GuestUnreachable("no SSH server answered"))
    assert brought(stage) == set()


class Disk:
    """A disk whose files are read; notes what was asked for."""

    def __init__(self, answer: PipelineError | None = None) -> None:
        self.answer = answer
        self.asked: list[Path] = []

    def __call__(self, disk: Path, form: str, paths: list[str], scratch: Path) -> list[Path]:
        self.asked.append(disk)
        if self.answer:
            raise self.answer
        log = scratch / "files" / "Windows" / "Panther" / "setuperr.log"
        log.parent.mkdir(parents=True)
        log.write_text("from the disk")
        return [log]


def offline(stage: Stage, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.setattr(failure, "read_files", disk)
    stage.machine.spec.disk.touch()
    failure.read_from_disk(stage.work, stage.machine.spec, stage.work.evidence)
    return brought(stage)


def test_logs_of_a_guest_that_gave_none_are_read_from_its_disk(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    assert offline(stage, disk, monkeypatch) == {"Windows-Panther-setuperr.log"}
    assert disk.asked == [stage.machine.spec.disk]


def test_what_came_over_ssh_is_not_read_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stage.work.evidence / failure.LOGS).mkdir()
    disk = Disk()
    assert offline(stage, disk, monkeypatch) == set()
    assert disk.asked == []


def test_a_disk_that_can_not_be_read_hides_no_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert offline(stage, Disk(PipelineError("7z is not installed")), monkeypatch) == set()


def test_log_names_are_flat() -> None:
    name = kept_as("/C:/$WINDOWS.~BT/Sources/Panther/setupact.log")
    assert name == "WINDOWS.BT-Sources-Panther-setupact.log"


# Keeping


def test_without_being_asked_nothing_is_kept(stage: Stage) -> None:
    stage.fail(PipelineError("a step failed"))
    assert not (stage.workspace.output / "kept").exists()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"GOLDEN_KEEP": "1"}, True),
        ({"GOLDEN_KEEP": "yes"}, True),
        ({"GOLDEN_KEEP": "0"}, False),
        ({"GOLDEN_KEEP": "1", "CI": "true"}, False),
    ],
)
def test_keeping_is_asked_for_and_never_in_ci(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wanted: bool
) -> None:
    for name in ("GOLDEN_KEEP", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert keep.wanted() is wanted


async def _until_kept(stage: Stage) -> keep.Kept:
    while not (machines := keep.kept(stage.workspace)):
        await asyncio.sleep(0.01)
    return machines[0]


def test_a_kept_machine_says_how_to_reach_it_until_it_is_let_go(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOLDEN_KEEP", "1")
    seen: list[keep.Kept] = []

    async def during() -> None:
        seen.append(await _until_kept(stage))
        keep.ask_to_end(stage.workspace, seen[0])

    stage.fail(PipelineError("toy: a step failed"), during)
    (machine,) = seen
    assert (machine.image, machine.stage, machine.why) == ("toy", "install", "toy: a step failed")
    assert f"-p {stage.play.port} " in machine.ssh
    assert str(stage.play.key) in machine.ssh
    assert "golden@127.0.0.1" in machine.ssh
    assert machine.vnc.endswith("run/vnc.sock")
    assert machine.qmp.endswith("run/qmp.sock")
    assert not list((stage.workspace.output / "kept").iterdir())


def test_a_kept_machine_that_ends_is_let_go(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDEN_KEEP", "1")

    async def during() -> None:
        await _until_kept(stage)
        stage.process.end(0)

    stage.fail(PipelineError("a step failed"), during)
    assert keep.kept(stage.workspace) == []


def test_ctrl_c_lets_it_go_and_the_failure_stays_the_news(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOLDEN_KEEP", "1")

    async def main() -> None:
        async def failing() -> None:
            error = PipelineError("a step failed")
            await after_failure(stage.work, stage.machine, None, error)
            raise error

        task = asyncio.create_task(failing())
        await _until_kept(stage)
        task.cancel()
        with pytest.raises(PipelineError, match="a step failed"):
            await task
        assert task.cancelling() == 0

    asyncio.run(main())
    assert keep.kept(stage.workspace) == []


def test_a_machine_that_is_gone_is_not_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDEN_KEEP", "1")
    stage.process.end(1)
    stage.fail(MachineFault(Fault.QEMU_DIED, "QEMU ended", stage.machine))
    assert not (stage.workspace.output / "kept").exists()


def test_what_a_killed_process_left_counts_for_nothing(stage: Stage) -> None:
    folder = stage.workspace.output / "kept"
    folder.mkdir(parents=True)
    note = {"image": "toy", "stage": "install", "why": "x", "evidence": "y"}
    (folder / "toy.json").write_text(json.dumps(note))
    assert keep.kept(stage.workspace) == []
    assert not list(folder.iterdir())


def test_the_doors_are_unix_sockets_in_the_machines_own_folder() -> None:
    words = Doors.within(Path("/run/golden/m,1")).words()
    assert words[:2] == ["-vnc", "unix:/run/golden/m,,1/vnc.sock"]
    assert "path=/run/golden/m,,1/qmp.sock" in words[3]
    assert "wait=off" in words[3]


# The command


def test_the_command_lists_and_ends_what_is_kept(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOLDEN_KEEP", "1")
    monkeypatch.setenv("GOLDEN_OUTPUT", str(stage.workspace.output))
    monkeypatch.setattr("pipeline.foundation.progress.Silent", Silent)

    async def during() -> None:
        await _until_kept(stage)
        assert await asyncio.to_thread(cli.main, ["keep"]) == 0
        assert await asyncio.to_thread(cli.main, ["keep", "--end", "toy"]) == 0

    stage.fail(PipelineError("toy: a step failed"), during)
    said = capsys.readouterr().out
    assert "install:toy  toy: a step failed" in said
    assert "ssh -i" in said
    assert cli.main(["keep"]) == 0
    assert "no machine is kept" in capsys.readouterr().out
    assert cli.main(["keep", "--end"]) == 1


def test_in_ci_the_command_refuses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("GOLDEN_KEEP", "0")  # the command sets it; this puts it back
    assert cli.main(["keep", "rehearsal"]) == 1
    assert "golden diagnose" in capsys.readouterr().err
