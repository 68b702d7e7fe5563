"""Reading a log of an instance while it grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.instances import state
from pipeline.instances.instance import Home

CHUNK = 1 << 16
LOOK = 0.2


def _rest() -> None:
    time.sleep(LOOK)


def follow(
    home: Home, path: Path, *, once: bool, pause: Callable[[], None] = _rest
) -> Iterator[bytes]:
    """What the log says, from its beginning; until the instance has stopped unless ``once``.

    A new run begins a new log: it is followed as well, from its beginning. ``pause`` is called
    between two looks.
    """
    at, inode = 0, 0
    while True:
        ended = once or not state.read(home).alive  # asked first: what it said last is read below
        if path.exists():
            with path.open("rb") as stream:
                if (now := path.stat().st_ino) != inode:
                    at, inode = 0, now
                stream.seek(at)
                while data := stream.read(CHUNK):
                    at += len(data)
                    yield data
        if ended:
            return
        pause()
