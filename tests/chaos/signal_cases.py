"""Signals at every stage: what ends the task graph from outside, at the worst of moments."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial

from pipeline.foundation.waiting import wait_until
from tests.chaos.case import Case, Seen
from tests.chaos.held import HELD
from tests.chaos.leftovers import processes
from tests.chaos.room import ORDER, Room
from tests.chaos.running import Running

# Stages that are over before a signal comes: they are held at their end.
QUICK = ("media", "render", "cidata", "publish")
ENDS_WITHIN = 60.0
AGAIN_AFTER = 0.3
WORD = "interrupted; the same command goes on where this one was"
UNREAD = "(nobody reads it)"


def _begun(room: Room, stage: str, *, terminal: bool = False, where: str = "") -> Running:
    """The stage, right in the middle of its work."""
    hold = where or (stage if stage in QUICK else "")
    run = room.start(stage, hold=hold, terminal=terminal)
    run.wait_line(HELD if hold else "machine started")
    return run


def _ended(room: Room, run: Running, struck: float, sentence: str = "") -> Seen:
    """Wait until the run and all that it started are gone."""
    run.end(ENDS_WITHIN)
    wait_until("no process is left", lambda: not processes(room.marks), ENDS_WITHIN)
    return Seen(sentence or run.sentence(), round(time.monotonic() - struck, 1))


def _signal(room: Room, stage: str, number: signal.Signals) -> Seen:
    run = _begun(room, stage)
    return _ended(room, run, run.strike(number))


def _twice(room: Room, stage: str) -> Seen:
    run = _begun(room, stage)
    struck = run.strike(signal.SIGINT)
    time.sleep(AGAIN_AFTER)  # as quickly as somebody presses the keys again
    if run.process.poll() is None:
        run.strike(signal.SIGINT)
    return _ended(room, run, struck)


def _kill(room: Room, stage: str, where: str = "") -> Seen:
    run = _begun(room, stage, where=where)
    return _ended(room, run, run.strike(signal.SIGKILL), UNREAD)


def _hang_up(room: Room, stage: str) -> Seen:
    run = _begun(room, stage, terminal=True)
    return _ended(room, run, run.hang_up(), UNREAD)


def _kill_while_compressing(room: Room) -> Seen:
    run = room.start("publish")
    busy = lambda: [p for p in processes(room.marks) if "qemu-img convert" in p]  # noqa: E731
    wait_until("qemu-img compresses", busy, 60, every=0.02)
    return _ended(room, run, run.strike(signal.SIGKILL), UNREAD)


WAYS: tuple[tuple[str, str, str, Callable[..., Seen]], ...] = (
    ("ctrl-c", "Ctrl-C", WORD, partial(_signal, number=signal.SIGINT)),
    ("ctrl-c-twice", "Ctrl-C, and again at once", WORD, _twice),
    (
        "sigterm",
        "SIGTERM, as from a service manager",
        WORD,
        partial(_signal, number=signal.SIGTERM),
    ),
    ("closed-terminal", "the terminal is closed (SIGHUP)", "", _hang_up),
    ("sigkill", "SIGKILL, as from the out-of-memory killer", "", _kill),
)


def _at(stage: str) -> list[Case]:
    return [
        Case(
            name, stage, what, says, partial(play, stage=stage),
            killed=name == "sigkill",
        )
        for name, what, says, play in WAYS
    ]  # fmt: skip


CASES = (
    *(case for stage in ORDER for case in _at(stage)),
    Case(
        "killed-while-compressing", "publish", "SIGKILL while qemu-img compresses the disk", "",
        _kill_while_compressing, killed=True,
    ),
    Case(
        "killed-before-the-catalog", "publish",
        "SIGKILL between a version's appearance and its line in the catalog", "",
        partial(_kill, stage="publish", where="appear"), killed=True,
    ),
)  # fmt: skip
