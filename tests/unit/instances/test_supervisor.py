"""The supervisor's own logic; real machines have tests/integration/test_launch.py."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.instances import instance as records
from pipeline.instances import state, supervisor
from pipeline.instances.instance import Home
from pipeline.instances.journal import Journal
from pipeline.instances.supervisor import Orders, Patience, Supervisor, unless
from pipeline.machine.faults import Fault, MachineFault
from pipeline.machine.machine import Machine
from tests.unit.instances.samples import WINDOWS, made, workspace


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = made(workspace(tmp_path), replace(WINDOWS, rehearsal=True))
    home.log.mkdir()
    return home


def test_work_ends_or_is_cancelled_by_an_order() -> None:
    ended = []

    async def work(seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            ended.append(seconds)

    async def main() -> None:
        order = asyncio.Event()
        assert await unless(order, work(0))
        order.set()
        assert not await unless(order, work(3600))

    asyncio.run(main())
    assert ended == [0, 3600]


def test_works_own_failure_comes_out() -> None:
    async def work() -> None:
        raise PipelineError("it broke")

    async def main() -> None:
        await unless(asyncio.Event(), work())

    with pytest.raises(PipelineError, match="it broke"):
        asyncio.run(main())


def test_the_first_signal_stops_and_the_second_cuts_off() -> None:
    async def main() -> None:
        orders = Orders()
        hangup = signal.getsignal(signal.SIGHUP)
        orders.listen()
        os.kill(os.getpid(), signal.SIGHUP)  # the terminal was closed: no order
        os.kill(os.getpid(), signal.SIGTERM)
        await orders.stop.wait()
        assert not orders.now.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await orders.now.wait()
        signal.signal(signal.SIGHUP, hangup)

    asyncio.run(main())


def test_patience_is_longest_for_windows_under_emulation(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOLDEN_ACCEL", "kvm")
    kvm = Patience.of(WINDOWS, home.workspace)
    monkeypatch.setenv("GOLDEN_ACCEL", "tcg")
    tcg = Patience.of(WINDOWS, home.workspace)
    rehearsal = Patience.of(replace(WINDOWS, rehearsal=True), home.workspace)
    assert rehearsal.boot < kvm.boot < tcg.boot
    assert rehearsal.shutdown < kvm.shutdown < tcg.shutdown


class DoubleMachine:
    """A machine of which only the ending counts."""

    evidence = Path("/nowhere")
    alive = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def shutdown(self, soft: object, deadline: float) -> None:
        self.asked.append("shutdown")

    async def kill(self) -> None:
        self.asked.append("kill")


@pytest.mark.parametrize(
    ("fault", "gentle"),
    [
        (None, True),
        (Fault.PHASE_TOO_LONG, True),
        (Fault.SIDECAR_DIED, True),
        (Fault.PANIC, False),
        (Fault.QEMU_DIED, False),
    ],
)
def test_a_guest_that_still_lives_may_shut_down(
    home: Home, fault: Fault | None, gentle: bool
) -> None:
    double = DoubleMachine()
    machine = cast(Machine, double)
    error = MachineFault(fault, "x", machine) if fault else PipelineError("SSH refuses the key")
    one = Supervisor(home, records.load(home), Journal(home.log))
    asyncio.run(one._give_up(machine, error))
    assert double.asked == (["shutdown"] if gentle else [])


def test_what_is_missing_on_the_host_is_in_the_state(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise PipelineError("qemu-system-x86_64 is not installed", hint="install it")

    monkeypatch.setattr(supervisor, "boot", missing)
    assert supervisor.supervise(home) == 1
    said = state.read(home)
    assert (said.state, said.message) == (state.FAILED, "qemu-system-x86_64 is not installed")
    assert said.hint == "install it"


def test_a_bug_is_in_the_state_and_its_traceback_in_the_log(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(supervisor, "boot", bug)
    with pytest.raises(ZeroDivisionError):
        supervisor.supervise(home)
    assert "ZeroDivisionError" in state.read(home).message
    assert "Traceback" in capsys.readouterr().err


def test_a_port_that_moved_is_kept_and_told(home: Home) -> None:
    one = Supervisor(home, replace(WINDOWS, port=2222), Journal(home.log))
    one._remember_port(3333)
    assert records.load(home).port == 3333
    assert "Port 3333" in home.ssh_config.read_text()
    assert "port 2222 is taken, so it is 3333 now" in (home.log / "progress.jsonl").read_text()
