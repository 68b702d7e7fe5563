"""Progress as people and logs see it.

Goes in: events of a long job (phase begins, so much is done, something happened). Comes out: one
live line per job on a terminal (``board``), plain lines with a heartbeat elsewhere. Jobs only know
the :class:`Progress` interface; :func:`reporter` picks the one that fits where we run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from pipeline.foundation.board import Board, Entry
from pipeline.foundation.units import human_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

HEARTBEAT = 30.0
BAR = 10


class Progress(Protocol):
    """What a long job tells."""

    def phase(self, name: str, expected: float | None = None) -> None:
        """A phase begins; ``expected`` is its usual length in seconds."""

    def update(self, detail: str) -> None:
        """The newest detail of this phase; may be called many times a second."""

    def event(self, text: str) -> None:
        """Something worth a line of its own."""

    def done(self, text: str = "") -> None:
        """The job ended well."""


class Lines:
    """Plain lines: each phase and event, and a heartbeat every 30 s; for CI and log files.

    The heart beats in a thread of its own, so that it also does while a program runs that says
    nothing. ``close`` stops it when the job does not come to its ``done``.
    """

    BEAT = 1.0

    def __init__(self, job: str, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        now = time.monotonic()
        self.entry = Entry(os.getpid(), job, now, now)
        self.last = now
        self._lock = threading.RLock()
        self._closed = threading.Event()
        heart = (weakref.ref(self), self._closed, self.BEAT)
        threading.Thread(target=_beat, args=heart, daemon=True, name=f"heart of {job}").start()

    def phase(self, name: str, expected: float | None = None) -> None:
        """See :class:`Progress`."""
        with self._lock:
            self.entry.begin(name, expected)
            self._say(f"{name} (usually {human_seconds(expected)})" if expected else name)

    def update(self, detail: str) -> None:
        """See :class:`Progress`."""
        with self._lock:
            self.entry.detail = detail
            self.beat()

    def event(self, text: str) -> None:
        """See :class:`Progress`."""
        with self._lock:
            self.entry.event = text
            self._say(text)

    def done(self, text: str = "") -> None:
        """See :class:`Progress`."""
        with self._lock:
            self._say(f"done {text}".strip())
            self.close()

    def close(self) -> None:
        """No heartbeat and no live line any more; the job ended in whatever way."""
        self._closed.set()

    def beat(self) -> None:
        """A sign of life, if it is time for one."""
        with self._lock:
            if not self._closed.is_set() and time.monotonic() - self.last >= HEARTBEAT:
                self._say(f"... {self.entry.status()}")

    def _say(self, text: str) -> None:
        self.last = time.monotonic()
        print(self._stamped(text), file=self.stream, flush=True)

    def _stamped(self, text: str) -> str:
        return f"{self.entry.job} [{human_seconds(time.monotonic() - self.entry.started)}] {text}"


def _beat(lines: weakref.ref[Lines], closed: threading.Event, every: float) -> None:
    while not closed.wait(every):
        if (alive := lines()) is None:
            return
        with contextlib.suppress(OSError, ValueError):  # nobody listens any more
            alive.beat()
        del alive


class Live(Lines):
    """One line that is rewritten in place, for a terminal; events scroll above it.

    Jobs in several processes share the terminal through a :class:`Board`.
    """

    PERIOD = 0.2

    def __init__(self, job: str, stream: TextIO | None = None) -> None:
        super().__init__(job, stream)
        self.board = Board(self.stream, self._draw)

    def beat(self) -> None:
        """Draw the line anew, if it is time for that."""
        with self._lock:
            if not self._closed.is_set() and time.monotonic() - self.last >= self.PERIOD:
                self.last = time.monotonic()
                self.board.paint(self.entry)

    def close(self) -> None:
        """See :class:`Lines`."""
        with self._lock:
            if not self._closed.is_set():
                super().close()
                self.board.paint(self.entry, gone=True)

    def _say(self, text: str) -> None:
        self.last = time.monotonic()
        self.board.paint(self.entry, self._stamped(text))

    def _draw(self, entries: Sequence[Entry]) -> list[str]:
        from rich.console import Console

        console = Console(file=self.stream, highlight=False)
        shown = entries[: max(console.height - 3, 1)]
        with console.capture() as captured:
            console.print(_table(shown))
        return captured.get().rstrip("\n").split("\n")


def _table(entries: Sequence[Entry]) -> RenderableType:
    """Job, phase, bar, times, detail, and as much of the last event as there is room for."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1), expand=True)
    for ratio in (None, None, None, None, None, 1):
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=ratio)
    for entry in entries:
        part = min(entry.spent / entry.expected, 1.0) if entry.expected else 0.0
        bar = ProgressBar(total=1.0, completed=part, width=BAR) if entry.expected else ""
        words = [Text(entry.job, "bold"), Text(entry.phase, "cyan"), bar, Text(entry.times())]
        table.add_row(*words, Text(entry.detail), Text(entry.event, "dim"))
    return table


class Silent:
    """No progress at all; for tests and ``--json``."""

    def phase(self, name: str, expected: float | None = None) -> None:
        """See :class:`Progress`."""

    def update(self, detail: str) -> None:
        """See :class:`Progress`."""

    def event(self, text: str) -> None:
        """See :class:`Progress`."""

    def done(self, text: str = "") -> None:
        """See :class:`Progress`."""


class Expecting:
    """Tells another progress how long each phase usually takes, as ``usual`` knows from before."""

    def __init__(self, progress: Progress, usual: Mapping[str, float]) -> None:
        self._progress = progress
        self._usual = usual
        self.update = progress.update
        self.event = progress.event
        self.done = progress.done

    def phase(self, name: str, expected: float | None = None) -> None:
        """See :class:`Progress`."""
        self._progress.phase(name, expected or self._usual.get(name))


_reporters: weakref.WeakSet[Lines] = weakref.WeakSet()


def reporter(job: str) -> Progress:
    """The progress that fits where we run: live on a terminal, lines elsewhere."""
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and "CI" not in os.environ
    made = Live(job) if terminal else Lines(job)
    _reporters.add(made)
    return made


def close_all() -> None:
    """Take away the live lines and heartbeats of jobs that ended without a word."""
    for each in list(_reporters):
        each.close()
