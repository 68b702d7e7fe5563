"""Watching a machine: the phase it is in, and what went wrong as soon as it does.

    async with watch(machine, phases, progress) as watcher: … (work with the guest) …

Goes in: the phases that are expected and the limits. Comes out: the time each phase took; or one
:class:`MachineFault` that names the fault, raised out of the block, whose work is cancelled.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.process import ending
from pipeline.foundation.progress import Progress
from pipeline.foundation.units import human_bytes, human_seconds
from pipeline.machine.course import Limits, Phase, Watcher
from pipeline.machine.faults import Fault, MachineFault
from pipeline.machine.machine import Machine

__all__ = ["Fault", "Limits", "MachineFault", "Phase", "Watcher", "answer_cd_prompt", "watch"]

CD_PROMPT = re.compile(r"Press any key to boot from (CD|DVD)", re.IGNORECASE)
# OVMF, SeaBIOS, and the shell that OVMF falls back to.
NOTHING_BOOTS = re.compile(
    r"No bootable (option or )?device|No bootable option|UEFI Interactive Shell|^Shell>"
)
DOTS_BEFORE_ANOTHER_PRESS = 2
OUT_OF_MEMORY = "if nobody did that, the host ran out of memory: the kernel's log says so"
# QEMU's death takes monitor and sidecars with it: after this long it shows whose death it was.
SETTLING = 1.0
# A blinking cursor makes two screens of one; more of them are something that moves.
CURSOR = 2
# Of one processor: a guest that waits for a key uses less, one that works or is starved more.
RESTING = 0.1


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
    hint = OUT_OF_MEMORY if end.code == -signal.SIGKILL else ""
    raise watcher.fault(Fault.QEMU_DIED, f"QEMU ended: {machine.how_it_died()}", hint)


async def _sidecars(watcher: Watcher) -> None:
    async def one(name: str, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        await asyncio.sleep(SETTLING)
        if watcher.machine.alive:
            raise watcher.fault(Fault.SIDECAR_DIED, f"{name} ended: {ending(code)}")

    await asyncio.gather(*(one(side.name, side.process) for side in watcher.machine.sidecars))


async def _deadlines(watcher: Watcher, limits: Limits) -> None:
    while (left := watcher.phase.deadline - watcher.elapsed) > 0:
        await _phase_or(min(left, limits.look, watcher.clock.GAP / 4), watcher)
        if jump := watcher.clock.jump():
            watcher.progress.event(f"the host's clock moved by {jump:+.0f} s: no deadline minds")
    what = f"not done within {human_seconds(watcher.phase.deadline)}"
    raise watcher.fault(Fault.PHASE_TOO_LONG, watcher.stuck(what), watcher.last_words())


async def _phase_or(seconds: float, watcher: Watcher) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await watcher.new_phase()


class _Motion:
    """When something last moved: disk, console, screen; and how busy the processors were since."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.machine = watcher.machine
        self.written = 0
        self.shot: Path | None = None
        self._seen: tuple[int, int, int] = (0, 0, 0)
        self._phase = ""
        self._shot_at = self._glanced_at = 0.0
        self._screens: set[str] = set()
        self._moved()

    def _moved(self) -> None:
        self._at = self.watcher.clock.now()
        self._cpu = self.machine.cpu_seconds()
        self._screens.clear()

    async def look(self, limits: Limits) -> float:
        """Look once; gives the seconds for which nothing has moved."""
        now = self.watcher.clock.now()
        read, self.written = await self.machine.disk_traffic()
        look = (read, self.written, self.machine.console.received)
        if look != self._seen:
            self._seen = look
            self._moved()
        phase = self.watcher.phase.name
        if phase != self._phase or now - self._shot_at >= limits.screen:
            self._shot_at, self._phase = now, phase
            if shot := await self.machine.screenshot(phase):
                self.shot = shot
                self._moved()
        elif min(now - self._at, now - self._glanced_at) >= limits.glance:
            self._glanced_at = now
            await self._glance()
        return now - self._at

    async def _glance(self) -> None:
        """A spinner moves as well, although each of its pictures was seen before."""
        self._screens.add(await self.machine.screen())
        if len(self._screens) > CURSOR:
            self._moved()

    def rests(self, still: float) -> bool:
        """Whether the guest's processors did next to nothing meanwhile."""
        now = self.machine.cpu_seconds()
        if now is None or self._cpu is None:
            return False
        return now - self._cpu < still * RESTING


async def _progress(watcher: Watcher, limits: Limits) -> None:
    """Look at disk, console and screen; nothing new in any of them for too long is a fault."""
    motion = _Motion(watcher)
    while watcher.machine.alive:
        still = await motion.look(limits)
        what = f"nothing has moved for {human_seconds(still)}: disk, console, screen"
        if watcher.phase.alone and still >= limits.quiet and motion.rests(still):
            what = f"Setup waits for somebody, or hangs: {what}, and the processors rest"
            raise watcher.fault(Fault.WAITS, what, _what_it_shows(watcher, motion))
        if still >= limits.idle:
            shows = _what_it_shows(watcher, motion)
            raise watcher.fault(Fault.NO_PROGRESS, watcher.stuck(what), shows)
        watcher.progress.update(f"{human_bytes(motion.written)} written")
        await asyncio.sleep(limits.look)


def _what_it_shows(watcher: Watcher, motion: _Motion) -> str:
    screen = f"the screen is {motion.shot.name}; " if motion.shot else ""
    return screen + watcher.last_words()


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
        _deadlines(watcher, limits),
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
