"""Progress as people and logs see it.

Goes in: events of a long job (phase begins, so much is done, something happened). Comes out: one
live line per job on a terminal, plain heartbeat lines elsewhere. Jobs only know the
:class:`Progress` interface; :func:`reporter` picks the one that fits where we run.
"""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO

from pipeline.foundation.units import human_seconds

HEARTBEAT = 30.0


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
    """Plain lines: each phase and event, and a heartbeat every 30 s; for CI and log files."""

    def __init__(self, job: str, stream: TextIO | None = None) -> None:
        self.job = job
        self.stream = stream or sys.stdout
        self.started = self.phase_started = self.last = time.monotonic()
        self.name = ""
        self.expected: float | None = None

    def _say(self, text: str) -> None:
        self.last = time.monotonic()
        elapsed = human_seconds(self.last - self.started)
        print(f"{self.job} [{elapsed}] {text}", file=self.stream, flush=True)

    def phase(self, name: str, expected: float | None = None) -> None:
        """See :class:`Progress`."""
        self.name, self.expected, self.phase_started = name, expected, time.monotonic()
        self._say(f"{name} (usually {human_seconds(expected)})" if expected else name)

    def _status(self, detail: str) -> str:
        spent = human_seconds(time.monotonic() - self.phase_started)
        usual = f" of about {human_seconds(self.expected)}" if self.expected else ""
        return f"{self.name} {spent}{usual} {detail}".strip()

    def update(self, detail: str) -> None:
        """See :class:`Progress`."""
        if time.monotonic() - self.last >= HEARTBEAT:
            self._say(f"... {self._status(detail)}")

    def event(self, text: str) -> None:
        """See :class:`Progress`."""
        self._say(text)

    def done(self, text: str = "") -> None:
        """See :class:`Progress`."""
        self._say(f"done {text}".strip())


class Live(Lines):
    """One line that is rewritten in place, for a terminal; events scroll above it."""

    PERIOD = 0.2

    def update(self, detail: str) -> None:
        """See :class:`Progress`."""
        now = time.monotonic()
        if now - self.last >= self.PERIOD:
            self.last = now
            elapsed = human_seconds(now - self.started)
            text = f"{self.job} [{elapsed}] {self._status(detail)}"
            print(f"\r\x1b[K{text[:110]}", end="", file=self.stream, flush=True)

    def _say(self, text: str) -> None:
        print("\r\x1b[K", end="", file=self.stream)
        super()._say(text)


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


def reporter(job: str) -> Progress:
    """The progress that fits where we run: live on a terminal, lines elsewhere."""
    return Live(job) if sys.stdout.isatty() else Lines(job)
