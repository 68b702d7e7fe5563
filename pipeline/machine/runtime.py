"""A short-lived folder for one machine, outside the output folder, whose path is short.

A unix socket's path ends at 108 bytes, and ``output/`` may lie anywhere. The folder's owner holds a
lock in it, which the kernel releases when the owner dies in whatever way; so a folder whose lock is
free is stale, and the next machine removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.locks import lock

LONGEST = 60  # leaves room for the names below within 108 bytes
LOCK = "owner"


def base() -> Path:
    """The folder of all runtime folders: the user's runtime folder, else the temporary one."""
    name = f"golden-{os.getuid()}"
    for candidate in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108
        if candidate and len(candidate) <= LONGEST and os.access(candidate, os.W_OK | os.X_OK):
            return Path(candidate) / name
    raise PipelineError("no folder with a short path can be written; set TMPDIR")


def _private(folder: Path) -> None:
    """Make ``folder`` ours alone; a folder or link that somebody else put there is refused."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if status.st_uid != os.getuid() or folder.is_symlink() or status.st_mode & 0o077:
        raise PipelineError(f"{folder} is not a private folder of this user", hint="remove it")


def _hold(folder: Path) -> int | None:
    """The lock of a folder; None when a living owner has it. FileNotFoundError: it is gone."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def sweep(where: Path) -> list[Path]:
    """Remove the folders whose owner is gone; returns them. The caller holds the common lock."""
    removed = []
    for folder in sorted(path for path in where.iterdir() if path.is_dir()):
        try:
            handle = _hold(folder)
        except FileNotFoundError:  # its owner has just ended, and removed it
            continue
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)
            removed.append(folder)
    return removed


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """A private folder for one machine; gone afterwards, and swept by others if we are killed."""
    where = base()
    _private(where)
    with lock(where / "lock"):
        sweep(where)
        folder = Path(tempfile.mkdtemp(prefix="m", dir=where))
        handle = _hold(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)
