"""Watching a machine: the phase it is in, and what went wrong as soon as it does.

    async with watch(machine, phases, progress) as watcher: … (work with the guest) …

Goes in: the phases that are expected and the limits. Comes out: the time each phase took; or one
:class:`MachineFault` that names the fault, raised out of the block, whose work is cancelled.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.process import ending
from pipeline.foundation.progress import Progress
from pipeline.foundation.units import human_bytes, human_seconds
from pipeline.machine.console import parse_beacon
from pipeline.machine.machine import Machine

CD_PROMPT = re.compile(r"Press any key to boot from (CD|DVD)", re.IGNORECASE)
# OVMF, SeaBIOS, and the shell that OVMF falls back to.
NOTHING_BOOTS = re.compile(
    r"No bootable (option or )?device|No bootable option|UEFI Interactive Shell|^Shell>"
)
DOTS_BEFORE_ANOTHER_PRESS = 2
# QEMU's death takes monitor and sidecars with it: after this long it shows whose death it was.
SETTLING = 1.0


class Fault(StrEnum):
    """The ways in which a machine goes wrong."""

    NOTHING_BOOTS = "no-bootable-device"
    BOOT_LOOP = "boot-loop"
    PANIC = "guest-panic"
    POWERED_OFF = "powered-off-early"
    QEMU_DIED = "qemu-died"
    SIDECAR_DIED = "sidecar-died"
    PHASE_TOO_LONG = "phase-too-long"
    NO_PROGRESS = "no-progress"
    DISK_ERROR = "disk-error"


class MachineFault(PipelineError):
    """Something that the watch saw; ``fault`` names its kind."""

    def __init__(self, fault: Fault, message: str, machine: Machine, hint: str = "") -> None:
        super().__init__(message, hint=hint, evidence=machine.evidence)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a machine's life, which begins when ``begins`` matches a line on the console.

    An empty pattern: it begins by itself when it is the first one, else when the host says so
    (``Watcher.enter``). Phases may be skipped, never gone back to.
    """

    name: str
    deadline: float
    begins: str = ""
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """When to lose patience, and how often to look; seconds."""

    resets: int = 4  # without a phase or beacon that is new
    burst: float = 1.0  # a system tries several ways to restart: their events are one reset
    idle: float = 900.0
    look: float = 2.0
    screen: float = 60.0


class Watcher:
    """What is known of the machine's course."""

    def __init__(self, machine: Machine, phases: Sequence[Phase], progress: Progress) -> None:
        self.machine = machine
        self.phases = tuple(phases)
        self.progress = progress
        self.timings: dict[str, float] = {}
        self.powering_off = False
        self.resets = 0
        self._last_reset = -math.inf
        self._index = -1
        self._began = time.monotonic()
        self._news: set[str] = set()
        self._begun = asyncio.Event()

    @property
    def phase(self) -> Phase:
        """The present phase."""
        return self.phases[self._index]

    @property
    def elapsed(self) -> float:
        """Seconds since the present phase began."""
        return time.monotonic() - self._began

    def enter(self, name: str) -> None:
        """Begin a phase from the host's side (SSH answers, the plan runs …)."""
        names = [phase.name for phase in self.phases]
        self._enter(names.index(name))

    def _enter(self, index: int) -> None:
        if index <= self._index:
            return
        self.close()
        self._index, self._began, self.resets = index, time.monotonic(), 0
        self.progress.phase(self.phase.name, self.phase.expected)
        self._begun.set()

    def close(self) -> None:
        """Note the time of the present phase."""
        if self._index >= 0:
            self.timings[self.phase.name] = round(self.elapsed, 2)

    def expect_power_off(self) -> None:
        """From now on a guest that shuts itself down does what it should."""
        self.powering_off = True

    def saw(self, line: str) -> None:
        """Take a console line: it may begin a phase, or be a beacon that is new."""
        for index, phase in enumerate(self.phases):
            if index > self._index and phase.begins and re.search(phase.begins, line):
                self._enter(index)
        if (beacon := parse_beacon(line)) and beacon.text not in self._news:
            self._news.add(beacon.text)
            self.resets = 0

    def reset(self, limits: Limits) -> int:
        """Take a reset; gives how many there were without anything new."""
        now = time.monotonic()
        if now - self._last_reset >= limits.burst:
            self._last_reset = now
            self.resets += 1
            self.progress.event("guest reset")
        return self.resets

    async def new_phase(self) -> None:
        """Wait until another phase begins."""
        self._begun.clear()
        await self._begun.wait()

    def fault(self, fault: Fault, what: str, hint: str = "") -> MachineFault:
        """The error for ``fault``: ``NAME: WHAT, in phase PHASE``."""
        name = self.machine.spec.name
        where = f" (phase {self.phase.name}, after {human_seconds(self.elapsed)})"
        first, _, rest = what.partition("\n")
        message = f"{name}: {first}{where}" + (f"\n{rest}" if rest else "")
        return MachineFault(fault, message, self.machine, hint)


async def answer_cd_prompt(machine: Machine) -> None:
    """Press the space bar when, and only when, the CD asks for a key; again while it keeps asking.

    A key pressed at any other time may open a boot menu that nobody leaves.
    """
    answered, answered_dots = -1, 0
    async for _ in machine.console.changes():
        for number, text in machine.console.numbered(max(answered, 0)):
            # The prompt goes on asking by adding dots to its line.
            dots = text.count(".")
            more = number == answered and dots >= answered_dots + DOTS_BEFORE_ANOTHER_PRESS
            if CD_PROMPT.search(text) and (number > answered or more):
                answered, answered_dots = number, dots
                await machine.press("spc")


async def _lines(watcher: Watcher) -> None:
    console = watcher.machine.console
    mark = 0
    async for _ in console.changes():
        for line in console.since(mark):
            watcher.saw(line)
            if NOTHING_BOOTS.search(line):
                raise watcher.fault(Fault.NOTHING_BOOTS, f"nothing to boot from: {line!r}")
        mark = console.count


async def _events(watcher: Watcher, limits: Limits) -> None:
    machine = watcher.machine
    with machine.listen("RESET", "GUEST_PANICKED", "BLOCK_IO_ERROR") as events:
        async for event in events:
            if event["event"] == "GUEST_PANICKED":
                raise watcher.fault(Fault.PANIC, "the guest's system panicked")
            if event["event"] == "BLOCK_IO_ERROR":
                _check_disk_error(watcher, dict(event))
                continue
            if watcher.reset(limits) >= limits.resets:
                what = f"boot loop: {watcher.resets} resets without anything new"
                raise watcher.fault(Fault.BOOT_LOOP, what)


def _check_disk_error(watcher: Watcher, event: dict[str, Any]) -> None:
    data = event["data"]
    if data.get("action") != "stop":  # the guest was told, and goes on
        watcher.progress.event(f"a disk failed: {data.get('reason')}")
    elif data.get("nospace"):
        hint = "free space where the image is built, then run it again"
        raise watcher.fault(Fault.DISK_ERROR, "the host's disk is full", hint)
    else:
        raise watcher.fault(Fault.DISK_ERROR, f"a disk failed: {data.get('reason')}")


async def _process(watcher: Watcher) -> None:
    machine = watcher.machine
    await machine.process.wait()
    await machine.monitor.drained()
    end = machine.ending()
    if machine.stopping or (end.clean and watcher.powering_off):
        return
    if end.clean:
        raise watcher.fault(Fault.POWERED_OFF, "the guest powered off before its work was done")
    raise watcher.fault(Fault.QEMU_DIED, f"QEMU ended: {machine.how_it_died()}")


async def _sidecars(watcher: Watcher) -> None:
    async def one(name: str, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        await asyncio.sleep(SETTLING)
        if watcher.machine.alive:
            raise watcher.fault(Fault.SIDECAR_DIED, f"{name} ended: {ending(code)}")

    await asyncio.gather(*(one(side.name, side.process) for side in watcher.machine.sidecars))


async def _deadlines(watcher: Watcher) -> None:
    while True:
        left = watcher.phase.deadline - watcher.elapsed
        try:
            async with asyncio.timeout(max(left, 0)):
                await watcher.new_phase()
        except TimeoutError:
            what = f"not done within {human_seconds(watcher.phase.deadline)}"
            raise watcher.fault(Fault.PHASE_TOO_LONG, what, _last(watcher)) from None


def _last(watcher: Watcher) -> str:
    """The most telling of what the guest said."""
    console = watcher.machine.console
    lines, beacons = console.since(0), console.beacons
    if not lines:
        return "the console is empty"
    last = f"the console's last line is {lines[-1]!r}"
    return f"the last beacon was {beacons[-1].text!r}; {last}" if beacons else last


async def _progress(watcher: Watcher, limits: Limits) -> None:
    """Look at disk, console and screen; nothing new in any of them for too long is a fault."""
    machine = watcher.machine
    seen: tuple[int, int] = (0, 0)
    moved = shot = time.monotonic()
    phase = ""
    while machine.alive:
        now = time.monotonic()
        written = await machine.disk_written()
        if (look := (written, machine.console.received)) != seen:
            seen, moved = look, now
        if watcher.phase.name != phase or now - shot >= limits.screen:
            shot, phase = now, watcher.phase.name
            if await machine.screenshot(phase):
                moved = now
        if now - moved >= limits.idle:
            what = f"nothing has moved for {human_seconds(now - moved)}: disk, console, screen"
            raise watcher.fault(Fault.NO_PROGRESS, what, _last(watcher))
        watcher.progress.update(f"{human_bytes(written)} written")
        await asyncio.sleep(limits.look)


async def _while_alive(machine: Machine, work: Awaitable[None]) -> None:
    """A monitor that is gone is not news when QEMU is: :func:`_process` says what happened."""
    try:
        await work
    except MachineFault:
        raise
    except PipelineError:
        await asyncio.sleep(SETTLING)
        if machine.alive and not machine.stopping:
            raise


@asynccontextmanager
async def watch(
    machine: Machine,
    phases: Sequence[Phase],
    progress: Progress,
    limits: Limits | None = None,
    also: Sequence[Callable[[Machine], Awaitable[None]]] = (),
) -> AsyncIterator[Watcher]:
    """Watch ``machine`` while the block runs; ``also`` are jobs beside it (the CD prompt …)."""
    watcher = Watcher(machine, phases, progress)
    watcher.enter(phases[0].name)
    limits = limits or Limits()
    jobs: list[Awaitable[None]] = [
        _lines(watcher),
        _events(watcher, limits),
        _process(watcher),
        _sidecars(watcher),
        _deadlines(watcher),
        _while_alive(machine, _progress(watcher, limits)),
        *(_while_alive(machine, job(machine)) for job in also),
    ]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_as_coroutine(job)) for job in jobs]
            yield watcher
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    finally:
        watcher.close()


async def _as_coroutine(job: Awaitable[None]) -> None:
    await job


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one failure to show: what the watch saw explains what the work in the block suffered."""
    flat = [
        _first(failure) if isinstance(failure, BaseExceptionGroup) else failure
        for failure in failures.exceptions
    ]
    faults = [failure for failure in flat if isinstance(failure, MachineFault)]
    return (faults or flat)[0]
