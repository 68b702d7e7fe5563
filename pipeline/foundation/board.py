"""The live lines at the bottom of a terminal, one per job, whichever process each job runs in.

Goes in: what a job does now (:class:`Entry`), and lines that scroll. Comes out: what the terminal
shows. All processes on one terminal keep their entries in one small file; whoever has news locks
it, writes its own entry and draws all of them. Between two drawings the cursor rests on an empty
line above the live lines, so a drawing needs to know nothing of the one before, and a line that
anybody else prints scrolls like the rest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from pipeline.foundation.units import human_seconds

LARGEST = 1 << 16


# What the jobs look like: one string without a newline for each line, none wider than the terminal.
Draw = Callable[[Sequence["Entry"]], list[str]]


@dataclass(slots=True)
class Entry:
    """A job: its process, what it does, since when (monotonic seconds), what it said last."""

    pid: int
    job: str
    started: float
    phase_started: float
    phase: str = ""
    expected: float | None = None
    detail: str = ""
    event: str = ""

    def begin(self, phase: str, expected: float | None) -> None:
        """Another phase begins."""
        self.phase, self.expected, self.detail = phase, expected, ""
        self.phase_started = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the phase began."""
        return time.monotonic() - self.phase_started

    def times(self) -> str:
        """``1:05 of about 10:00``."""
        usual = f" of about {human_seconds(self.expected)}" if self.expected else ""
        return human_seconds(self.spent) + usual

    def status(self) -> str:
        """Everything in one plain line."""
        last = f"; last: {self.event}" if self.event else ""
        return f"{self.phase} {self.times()} {self.detail}".strip() + last


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _path(stream: TextIO) -> Path:
    try:
        name = os.ttyname(stream.fileno()).strip("/").replace("/", "-")
    except (OSError, ValueError):
        name = f"process-{os.getpid()}"
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"golden-{os.getuid()}" / f"{name}.board"


def _open_ours(path: Path) -> int:
    """Open a file in a folder of ours; raises :class:`OSError` when it is somebody else's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.lstat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, "not our folder", os.fspath(path.parent))
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


class Board:
    """The live lines of one terminal."""

    def __init__(self, stream: TextIO, draw: Draw, path: Path | None = None) -> None:
        self.stream = stream
        self.draw = draw
        self.path = path or _path(stream)

    def paint(self, mine: Entry, *scrolled: str, gone: bool = False) -> None:
        """Draw all jobs with ``mine`` as it is now (or without it), after ``scrolled`` lines."""
        with self._entries() as entries:
            others = [entry for entry in entries if entry.pid != mine.pid and _alive(entry.pid)]
            entries[:] = sorted([*others, *([] if gone else [mine])], key=lambda e: e.started)
            with contextlib.suppress(OSError, ValueError):  # the terminal was closed
                self._show(entries, scrolled)

    def _show(self, entries: Sequence[Entry], scrolled: Sequence[str]) -> None:
        above = "".join(f"{line}\n" for line in scrolled)
        lines = self.draw(entries) if entries else []
        below = "".join(f"\n{line}" for line in lines)
        below += f"\r\x1b[{len(lines)}A" if lines else ""
        self.stream.write(f"\r\x1b[J{above}{below}")
        self.stream.flush()

    @contextlib.contextmanager
    def _entries(self) -> Iterator[list[Entry]]:
        """The entries of all processes, ours to change until the block ends."""
        try:
            handle = _open_ours(self.path)
        except OSError:  # no place for it: this job alone is drawn
            yield []
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            entries = _parse(os.pread(handle, LARGEST, 0))
            yield entries
            if not entries:
                self.path.unlink(missing_ok=True)
            text = json.dumps([asdict(entry) for entry in entries]).encode()
            with contextlib.suppress(OSError):  # a full disk
                os.ftruncate(handle, 0)
                os.pwrite(handle, text, 0)
        finally:
            os.close(handle)


def _parse(data: bytes) -> list[Entry]:
    try:
        return [Entry(**item) for item in json.loads(data)]
    except (ValueError, TypeError):
        return []
