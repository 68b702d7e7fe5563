"""A machine's course: its phases, the time they take, and what has happened so far.

Goes in: the expected phases, console lines, resets. Comes out: :class:`Watcher`, which knows the
present phase and the time each one took. Nothing here looks at the machine by itself (``watch``).
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.foundation.progress import Progress
from pipeline.foundation.units import human_seconds
from pipeline.machine.console import parse_beacon
from pipeline.machine.faults import Fault, MachineFault
from pipeline.machine.machine import Machine


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a machine's life, which begins when ``begins`` matches a line on the console.

    An empty pattern: it begins by itself when it is the first one, else when the host says so
    (``Watcher.enter``). Phases may be skipped, never gone back to. ``expected`` is its usual length
    in seconds. In a phase that is ``alone`` nobody but the guest works: when it is quiet there, it
    waits for somebody to press a key. One that is ``ssh`` ends when the host has logged in.
    """

    name: str
    deadline: float
    begins: str = ""
    expected: float | None = None
    alone: bool = False
    ssh: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """When to lose patience, and how often to look; seconds."""

    resets: int = 4  # without a phase or beacon that is new
    burst: float = 1.0  # a system tries several ways to restart: their events are one reset
    idle: float = 900.0  # nothing moves, whatever the phase
    quiet: float = 60.0  # nothing moves and the processors rest, in a phase that is alone
    look: float = 2.0
    screen: float = 60.0
    glance: float = 10.0  # at the screen, while nothing else moves


class Clock:
    """Seconds in which this process could see what happens.

    The monotonic clock leaves out the time in which the host slept, and knows nothing of a wall
    clock that is set. A process that was stopped (Ctrl-Z, a frozen container) missed time as well:
    a gap between two looks is taken out, so that no deadline passes unseen.
    """

    GAP = 30.0  # nobody looks as seldom as that

    def __init__(self) -> None:
        self._seen = time.monotonic()
        self._offset = self._wall_offset()
        self._missed = 0.0

    @staticmethod
    def _wall_offset() -> float:
        return time.time() - time.monotonic()

    def now(self) -> float:
        """The time; to be asked for every few seconds."""
        now = time.monotonic()
        if now - self._seen > self.GAP:
            self._missed += now - self._seen
        self._seen = now
        return now - self._missed

    def jump(self) -> float:
        """How far the wall clock has moved against ours since this was last asked; mostly 0."""
        moved, self._offset = self._wall_offset() - self._offset, self._wall_offset()
        return moved if abs(moved) > self.GAP else 0.0


class Watcher:
    """What is known of the machine's course."""

    def __init__(self, machine: Machine, phases: Sequence[Phase], progress: Progress) -> None:
        self.machine = machine
        self.phases = tuple(phases)
        self.progress = progress
        self.clock = Clock()
        self.timings: dict[str, float] = {}
        self.powering_off = False
        self.resets = 0
        self._in_the_way = ""
        self._last_reset = -math.inf
        self._index = -1
        self._began = self.clock.now()
        self._news: set[str] = set()
        self._begun = asyncio.Event()

    @property
    def phase(self) -> Phase:
        """The present phase."""
        return self.phases[self._index]

    @property
    def elapsed(self) -> float:
        """Seconds since the present phase began."""
        return self.clock.now() - self._began

    def enter(self, name: str) -> None:
        """Begin a phase from the host's side (SSH answers, the plan runs …)."""
        names = [phase.name for phase in self.phases]
        self._enter(names.index(name))

    def _enter(self, index: int) -> None:
        if index <= self._index:
            return
        self.close()
        self._index, self._began, self.resets = index, self.clock.now(), 0
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
        now = self.clock.now()
        if now - self._last_reset >= limits.burst:
            self._last_reset = now
            self.resets += 1
            self.progress.event("guest reset")
        return self.resets

    def no_login(self, why: str) -> None:
        """Note what stands in the way of a login for now; nothing when ``why`` is empty."""
        self._in_the_way = why

    def stuck(self, what: str) -> str:
        """``what``, after why nobody could log in where the present phase waits for just that."""
        known = self.phase.ssh and self._in_the_way
        return f"{self._in_the_way}, {what}" if known else what

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

    def last_words(self) -> str:
        """The most telling of what the guest said."""
        console = self.machine.console
        lines, beacons = console.since(0), console.beacons
        if not lines:
            return "the console is empty"
        last = f"the console's last line is {lines[-1]!r}"
        return f"the last beacon was {beacons[-1].text!r}; {last}" if beacons else last
