"""Locks between processes that no crash leaves behind: ``flock`` ends with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def _holder(handle: int) -> str:
    return os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The lock file, made if need be; closing it ends the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield handle
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    """Whether the lock is ours now; another process may have it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def lock(path: Path, waiting: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the lock file ``path``; while another process has it, say who through ``waiting``.

    ``waiting`` is called once, with the holder's own words (its pid and what it does).
    """
    with _opened(path) as handle:
        if not _taken(handle):
            waiting(_holder(handle))
            fcntl.flock(handle, fcntl.LOCK_EX)
        os.ftruncate(handle, 0)
        started = time.strftime("%H:%M:%S")
        os.pwrite(handle, f"process {os.getpid()}, since {started}\n".encode(), 0)
        yield


def lock_free(path: Path) -> bool:
    """Whether nobody holds the lock file ``path`` just now; one that is not there is held by none.

    A shared lock asks: two that ask at once do not take each other for a holder.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


@contextlib.contextmanager
def at_once(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` if nobody does; gives whether it is held. Never waits."""
    with _opened(path) as handle:
        yield _taken(handle)
