"""The watch over a machine that is played: each fault is named, and is the only error shown."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from qemu.qmp import EventListener
from qemu.qmp.message import Message

from pipeline.definitions.model import Firmware
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Size
from pipeline.machine.console import Console
from pipeline.machine.course import Clock
from pipeline.machine.machine import Machine
from pipeline.machine.monitor import MonitorFailed
from pipeline.machine.sidecars import Sidecar
from pipeline.machine.spec import MachineSpec
from pipeline.machine.watch import (
    Fault,
    Limits,
    MachineFault,
    Phase,
    Watcher,
    answer_cd_prompt,
    watch,
)

PHASES = (
    Phase("firmware", 600),
    Phase("windowsPE", 600, "^GOLDEN pass windowsPE"),
    Phase("specialize", 600, "^GOLDEN pass specialize"),
    Phase("work", 600),
)
Play = Callable[["Actor"], Awaitable[None]]


class FakeProcess:
    """A process that ends when told to."""

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.pid = 0  # nobody
        self._ended = asyncio.Event()

    async def wait(self) -> int | None:
        await self._ended.wait()
        return self.returncode

    def end(self, code: int) -> None:
        self.returncode = code
        self._ended.set()


class FakeMonitor:
    """A monitor whose events the test makes and whose commands it notes."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.listeners: list[EventListener] = []
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.written = 0
        self.screens = [b"the same screen"]
        self.gone = False

    def listen(self, *names: str) -> FakeMonitor:
        self.listeners.append(EventListener(names))
        return self

    def __enter__(self) -> EventListener:
        return self.listeners[-1]

    def __exit__(self, *_: object) -> None:
        pass

    async def drained(self) -> None:
        pass

    async def execute(self, name: str, **arguments: Any) -> Any:
        if self.gone:
            raise MonitorFailed("the monitor is gone")
        self.commands.append((name, arguments))
        if name == "query-blockstats":
            return [{"stats": {"wr_bytes": self.written}}]
        if name == "screendump":
            shown = self.screens.pop(0) if len(self.screens) > 1 else self.screens[0]
            Path(arguments["filename"]).write_bytes(shown)
        return {}

    async def say(self, name: str, **data: Any) -> None:
        event = {"event": name, "data": data}
        self.events.append(event)
        for listener in self.listeners:
            await listener.put(Message(event))


class Actor:
    """The machine's parts, for tests to play with."""

    def __init__(self, evidence: Path, sidecars: Sequence[str] = ()) -> None:
        self.process = FakeProcess()
        self.monitor = FakeMonitor()
        self.console = Console()
        self.sidecars = {name: FakeProcess() for name in sidecars}
        spec = MachineSpec("win", Firmware.UEFI, 2, Size(1 << 30), evidence / "disk")
        beside = [
            cast(Sidecar, type("S", (), {"name": name, "process": process}))
            for name, process in self.sidecars.items()
        ]
        process, monitor = cast(Any, self.process), cast(Any, self.monitor)
        self.machine = Machine(spec, evidence, process, monitor, self.console, beside)
        self.watcher: Watcher | None = None

    async def say(self, text: str) -> None:
        self.console.feed(text.encode())
        await asyncio.sleep(0)

    async def power_off(self) -> None:
        await self.monitor.say("SHUTDOWN", guest=True, reason="guest-shutdown")
        self.process.end(0)


def play(
    evidence: Path,
    acts: Play,
    *,
    phases: Sequence[Phase] = PHASES,
    limits: Limits | None = None,
    sidecars: Sequence[str] = (),
    then: Callable[[Actor], Awaitable[None]] | None = None,
) -> Watcher:
    """Watch while ``acts`` plays; without ``then`` the block waits until the watch ends it."""

    async def main() -> Watcher:
        actor = Actor(evidence, sidecars)
        async with watch(
            actor.machine, phases, Silent(), limits or Limits(look=0.01), [answer_cd_prompt]
        ) as watcher:
            actor.watcher = watcher
            await asyncio.sleep(0)
            await acts(actor)
            if then:
                await then(actor)
            else:
                await asyncio.sleep(600)
        return watcher

    return asyncio.run(main())


def fault(evidence: Path, acts: Play, **options: Any) -> MachineFault:
    with pytest.raises(MachineFault) as raised:
        play(evidence, acts, **options)
    assert raised.value.evidence == evidence
    return raised.value


@pytest.mark.parametrize(
    "text",
    [
        "BdsDxe: No bootable option or device was found.\r\n",
        "No bootable device.\r\n",
        "UEFI Interactive Shell v2.2\r\n",
        "Shell> ",
    ],
)
def test_a_machine_with_nothing_to_boot_is_named(tmp_path: Path, text: str) -> None:
    error = fault(tmp_path, lambda actor: actor.say(text))
    assert error.fault is Fault.NOTHING_BOOTS
    assert "phase firmware" in error.message


def test_a_panic_is_named(tmp_path: Path) -> None:
    error = fault(tmp_path, lambda actor: actor.monitor.say("GUEST_PANICKED", action="pause"))
    assert error.fault is Fault.PANIC


def test_resets_without_anything_new_are_a_boot_loop(tmp_path: Path) -> None:
    async def acts(actor: Actor) -> None:
        for _ in range(4):
            await actor.say("GOLDEN pass windowsPE\r\n")
            await actor.monitor.say("RESET", guest=True)
            await asyncio.sleep(0)

    error = fault(tmp_path, acts, limits=Limits(resets=4, look=60, burst=0))
    assert error.fault is Fault.BOOT_LOOP
    assert "4 resets" in error.message
    assert "phase windowsPE" in error.message


def test_a_new_beacon_between_resets_is_progress(tmp_path: Path) -> None:
    async def acts(actor: Actor) -> None:
        for index in range(6):
            await actor.say(f"GOLDEN step provision {index}/6 x ok\r\n")
            await actor.monitor.say("RESET", guest=True)
            await asyncio.sleep(0)

    async def nothing(actor: Actor) -> None:
        assert actor.watcher
        assert actor.watcher.resets == 1

    play(tmp_path, acts, limits=Limits(resets=2, look=60, burst=0), then=nothing)


def test_powering_off_early_is_a_fault_and_later_is_not(tmp_path: Path) -> None:
    assert fault(tmp_path, Actor.power_off).fault is Fault.POWERED_OFF

    async def expected(actor: Actor) -> None:
        assert actor.watcher
        actor.watcher.expect_power_off()
        await actor.power_off()
        await asyncio.sleep(0.05)

    play(tmp_path, expected, then=lambda _: asyncio.sleep(0))


def test_ending_it_ourselves_is_no_news(tmp_path: Path) -> None:
    async def acts(actor: Actor) -> None:
        actor.machine.stopping = True
        actor.monitor.gone = True
        actor.process.end(-9)
        await asyncio.sleep(0.05)

    play(tmp_path, acts, then=lambda _: asyncio.sleep(0))


@pytest.mark.parametrize(("code", "name"), [(-11, "SIGSEGV"), (-9, "SIGKILL")])
def test_qemus_death_carries_the_signal_and_its_last_words(
    tmp_path: Path, code: int, name: str
) -> None:
    (tmp_path / "qemu.log").write_text("qemu: something snapped\n")

    async def acts(actor: Actor) -> None:
        actor.monitor.gone = True
        actor.process.end(code)

    error = fault(tmp_path, acts)
    assert error.fault is Fault.QEMU_DIED
    assert name in error.message
    assert ("ran out of memory" in error.hint) == (code == -9)
    assert "something snapped" in error.message


def test_a_sidecars_death_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.machine.watch.SETTLING", 0.01)

    async def acts(actor: Actor) -> None:
        actor.sidecars["virtiofsd"].end(-9)

    error = fault(tmp_path, acts, sidecars=("virtiofsd", "swtpm"))
    assert error.fault is Fault.SIDECAR_DIED
    assert "virtiofsd ended: killed by SIGKILL" in error.message


def test_a_phase_that_takes_too_long_says_the_last_line(tmp_path: Path) -> None:
    error = fault(
        tmp_path,
        lambda actor: actor.say("Loading files...\r\n"),
        phases=(Phase("firmware", 0.05),),
    )
    assert error.fault is Fault.PHASE_TOO_LONG
    assert "Loading files..." in error.hint


@pytest.mark.parametrize("ssh", [True, False])
@pytest.mark.parametrize("limits", [Limits(look=0.01), Limits(look=0.01, idle=0.05)])
def test_where_a_login_is_waited_for_the_sentence_says_why_there_is_none(
    tmp_path: Path, ssh: bool, limits: Limits
) -> None:
    async def acts(actor: Actor) -> None:
        assert actor.watcher
        actor.watcher.no_login("SSH never answered (the port accepts, and closes at once)")

    deadline = 600 if limits.idle < 1 else 0.05
    error = fault(tmp_path, acts, phases=(Phase("boot", deadline, ssh=ssh),), limits=limits)
    assert error.fault is (Fault.NO_PROGRESS if limits.idle < 1 else Fault.PHASE_TOO_LONG)
    told = "win: SSH never answered (the port accepts, and closes at once), no"
    assert error.message.startswith(told) == ssh
    assert ("SSH" in error.message) == ssh


def test_after_a_login_nothing_is_said_of_ssh(tmp_path: Path) -> None:
    async def acts(actor: Actor) -> None:
        assert actor.watcher
        actor.watcher.no_login("SSH never answered")
        actor.watcher.no_login("")

    error = fault(tmp_path, acts, phases=(Phase("boot", 0.05, ssh=True),))
    assert error.message.startswith("win: not done within")


def test_the_next_phase_brings_its_own_deadline(tmp_path: Path) -> None:
    async def acts(actor: Actor) -> None:
        await actor.say("GOLDEN pass windowsPE\r\n")

    async def later(actor: Actor) -> None:
        await asyncio.sleep(0.5)
        assert actor.watcher
        assert actor.watcher.phase.name == "windowsPE"

    phases = (Phase("firmware", 0.4), PHASES[1])
    timings = play(tmp_path, acts, phases=phases, then=later).timings
    assert set(timings) == {"firmware", "windowsPE"}


def test_nothing_moving_for_too_long_is_a_fault(tmp_path: Path) -> None:
    error = fault(tmp_path, lambda actor: actor.say("x\n"), limits=Limits(idle=0.05, look=0.01))
    assert error.fault is Fault.NO_PROGRESS
    assert "0000-firmware.png" in error.hint
    assert "'x'" in error.hint


@pytest.mark.parametrize(
    ("alone", "cpu", "named"),
    [
        (True, 0.001, Fault.WAITS),
        (True, 1.0, Fault.NO_PROGRESS),  # busy, and gets nowhere
        (False, 0.001, Fault.NO_PROGRESS),  # the host works: nobody is asked for a key
        (True, None, Fault.NO_PROGRESS),  # nobody can say how busy it is
    ],
)
def test_setup_waiting_for_a_human_is_told_from_a_hang(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    alone: bool,
    cpu: float | None,
    named: Fault,
) -> None:
    used = itertools.count()
    seconds = lambda self: None if cpu is None else cpu * next(used)  # noqa: E731
    monkeypatch.setattr(Machine, "cpu_seconds", seconds)
    error = fault(
        tmp_path,
        lambda actor: actor.say("Where do you want to install Windows?\r\n"),
        phases=(Phase("windowsPE", 600, alone=alone),),
        limits=Limits(quiet=0.1, idle=0.4, look=0.01),
    )
    assert error.fault is named
    assert "nothing has moved for" in error.message
    assert ("waits for somebody" in error.message) == (named is Fault.WAITS)
    assert "Where do you want to install Windows?" in error.hint


def test_the_processor_time_of_a_process_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        actor = Actor(tmp_path)
        actor.process.pid = os.getpid()
        used = actor.machine.cpu_seconds()
        assert used is not None
        assert 0 < used <= time.process_time() + 1
        actor.process.pid = 0
        assert actor.machine.cpu_seconds() is None

    asyncio.run(main())


class Hands:
    """Clocks whose hands a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic, self.wall = 1000.0, 1_700_000_000.0
        monkeypatch.setattr("pipeline.machine.course.time.monotonic", lambda: self.monotonic)
        monkeypatch.setattr("pipeline.machine.course.time.time", lambda: self.wall)

    def run(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


def test_time_that_nobody_saw_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(monkeypatch)
    clock = Clock()
    began = clock.now()
    for _ in range(10):
        hands.run(5)
        clock.now()
    hands.run(3600)  # stopped, and continued
    clock.now()
    hands.run(5)
    assert clock.now() - began == pytest.approx(55)
    assert clock.jump() == 0


@pytest.mark.parametrize("jump", [3600.0, -7200.0, 5.0])
def test_a_wall_clock_that_jumps_moves_no_deadline(
    monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    hands = Hands(monkeypatch)
    clock = Clock()
    began = clock.now()
    hands.wall += jump  # set by hand or by NTP, or the host slept
    assert clock.now() == began
    assert clock.jump() == (jump if abs(jump) > 30 else 0)
    assert clock.jump() == 0


def test_a_clock_jump_is_said_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Silent, "event", lambda self, text: said.append(text))
    wall = time.time

    async def acts(actor: Actor) -> None:
        monkeypatch.setattr("pipeline.machine.course.time.time", lambda: wall() + 7200)
        await asyncio.sleep(0.1)

    play(tmp_path, acts, then=lambda _: asyncio.sleep(0))
    assert [text for text in said if "clock moved by +7200 s" in text]


@pytest.mark.parametrize("moving", ["disk", "console"])
def test_what_moves_is_progress(tmp_path: Path, moving: str) -> None:
    async def acts(actor: Actor) -> None:
        for _ in range(60):
            if moving == "disk":
                actor.monitor.written += 512
            else:
                await actor.say(".")
            await asyncio.sleep(0.01)

    play(tmp_path, acts, limits=Limits(idle=0.4, look=0.01), then=lambda _: asyncio.sleep(0))


@pytest.mark.parametrize("old", [False, True])
def test_a_glance_at_the_screen_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    async def main() -> list[str]:
        actor = Actor(tmp_path)
        real = actor.monitor.execute

        async def execute(name: str, **arguments: Any) -> Any:
            if old and "format" in arguments:
                raise MonitorFailed("Parameter 'format' is unexpected")
            return await real(name, **arguments)

        monkeypatch.setattr(actor.monitor, "execute", execute)
        actor.monitor.screens = [b"one", b"two", b"two"]
        return [await actor.machine.screen() for _ in range(3)]

    first, second, third = asyncio.run(main())
    assert first != second == third
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("pictures", "moves"), [(1, False), (2, False), (3, True)])
def test_a_spinner_moves_and_a_cursor_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: int, moves: bool
) -> None:
    shown = itertools.cycle(str(number) for number in range(pictures))
    glanced: list[str] = []

    async def screen(self: Machine) -> str:
        glanced.append(next(shown))
        return glanced[-1]

    async def until_glanced(_: Actor) -> None:
        while len(glanced) < 100:
            await asyncio.sleep(0.001)

    monkeypatch.setattr(Machine, "screen", screen)
    monkeypatch.setattr(Machine, "cpu_seconds", lambda self: 0.0)
    phases = (Phase("windowsPE", 1e9, alone=True),)
    clock = Ticking(monkeypatch)
    limits = Limits(quiet=60, idle=900, look=0.0, screen=1e9, glance=10)
    if moves:
        play(tmp_path, clock.turn, phases=phases, limits=limits, then=until_glanced)
    else:
        error = fault(tmp_path, clock.turn, phases=phases, limits=limits)
        assert error.fault is Fault.WAITS


def test_screens_are_kept_at_each_phase_and_minute_when_they_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Ticking(monkeypatch)

    async def acts(actor: Actor) -> None:
        await clock.turn(actor)
        actor.monitor.screens = [b"logo", b"a dialogue", b"a dialogue", b"done"]
        while clock.at < 1090:
            await asyncio.sleep(0)
        await actor.say("GOLDEN pass windowsPE\r\n")
        while clock.at < 1250:
            await asyncio.sleep(0)

    limits = Limits(idle=1e9, quiet=1e9, look=0.0, screen=60, glance=1e9)
    phases = (Phase("firmware", 1e9), Phase("windowsPE", 1e9, "^GOLDEN pass windowsPE"))
    play(tmp_path, acts, phases=phases, limits=limits, then=lambda _: asyncio.sleep(0))
    shots = {path.name: path.read_bytes() for path in sorted(tmp_path.glob("*.png"))}
    assert shots == {
        "0000-firmware.png": b"the same screen",
        "0001-firmware.png": b"logo",
        "0002-windowsPE.png": b"a dialogue",
        "0003-windowsPE.png": b"done",  # between them a minute in which nothing changed
    }


class Ticking:
    """A clock that each look moves on by a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 1000.0
        monkeypatch.setattr(Clock, "now", lambda _: self.at)

    async def turn(self, actor: Actor) -> None:
        real = actor.monitor.execute

        async def execute(name: str, **arguments: Any) -> Any:
            self.at += 1.0 if name == "query-blockstats" else 0.0
            return await real(name, **arguments)

        actor.monitor.execute = execute  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"action": "stop", "nospace": True}, "the host's disk is full"),
        ({"action": "stop", "nospace": False, "reason": "Input/output error"}, "Input/output"),
    ],
)
def test_a_disk_that_stopped_the_guest_is_a_fault(
    tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    error = fault(tmp_path, lambda actor: actor.monitor.say("BLOCK_IO_ERROR", **data))
    assert error.fault is Fault.DISK_ERROR
    assert message in error.message


def test_a_disk_error_that_the_guest_was_told_of_is_not(tmp_path: Path) -> None:
    async def acts(actor: Actor) -> None:
        await actor.monitor.say("BLOCK_IO_ERROR", action="report", reason="read")
        await asyncio.sleep(0.02)

    play(tmp_path, acts, then=lambda _: asyncio.sleep(0))


def test_phases_may_be_skipped_but_never_gone_back_to(tmp_path: Path) -> None:
    async def acts(actor: Actor) -> None:
        assert actor.watcher
        await actor.say("GOLDEN pass specialize\r\n")
        await asyncio.sleep(0)
        assert actor.watcher.phase.name == "specialize"
        await actor.say("GOLDEN pass windowsPE\r\n")
        await asyncio.sleep(0)
        assert actor.watcher.phase.name == "specialize"
        actor.watcher.enter("work")
        assert actor.watcher.phase.name == "work"

    timings = play(tmp_path, acts, then=lambda _: asyncio.sleep(0)).timings
    assert list(timings) == ["firmware", "specialize", "work"]


def test_the_blocks_own_error_comes_out_as_it_is(tmp_path: Path) -> None:
    async def acts(actor: Actor) -> None:
        raise PipelineError("a step failed")

    with pytest.raises(PipelineError, match="a step failed"):
        play(tmp_path, acts)


def test_what_the_watch_saw_explains_what_the_block_suffered(tmp_path: Path) -> None:
    async def acts(actor: Actor) -> None:
        await actor.monitor.say("GUEST_PANICKED")
        try:
            await asyncio.sleep(600)
        finally:
            with suppress(PipelineError):
                raise PipelineError("the connection broke")

    assert fault(tmp_path, acts).fault is Fault.PANIC


# The CD prompt


def _presses(evidence: Path, *texts: str) -> int:
    async def main() -> int:
        actor = Actor(evidence)
        job = asyncio.create_task(answer_cd_prompt(actor.machine))
        for text in texts:
            await asyncio.sleep(0)
            await actor.say(text)
            for _ in range(5):
                await asyncio.sleep(0)
        job.cancel()
        return sum(name == "send-key" for name, _ in actor.monitor.commands)

    return asyncio.run(main())


PROMPT = "Press any key to boot from CD or DVD"


@pytest.mark.parametrize(
    ("texts", "presses"),
    [
        (("BdsDxe: starting Boot0001\r\n", "Loading files\r\n"), 0),
        ((PROMPT,), 1),
        ((PROMPT, "\r\n", "Loading files...\r\n"), 1),
        ((PROMPT + "...\r\n",), 1),
        ((PROMPT, "."), 1),
        ((PROMPT, ".", ".", "."), 2),
        ((*PROMPT, "."), 1),
        ((PROMPT, "\r\n", "later\r\n", PROMPT), 2),
        (("press any key to boot from cd",), 1),
    ],
)
def test_a_key_is_pressed_when_it_is_asked_for_and_never_else(
    tmp_path: Path, texts: tuple[str, ...], presses: int
) -> None:
    assert _presses(tmp_path, *texts) == presses


def test_a_burst_of_resets_is_one(tmp_path: Path) -> None:
    """A system that restarts tries several ways at once, and QEMU reports each."""

    async def acts(actor: Actor) -> None:
        for _ in range(6):
            await actor.monitor.say("RESET", guest=True)
            await asyncio.sleep(0)

    async def once(actor: Actor) -> None:
        assert actor.watcher
        assert actor.watcher.resets == 1

    play(tmp_path, acts, limits=Limits(resets=4, look=60, burst=60), then=once)
