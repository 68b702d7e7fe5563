"""What can go, and how it goes: by its name first, under the lock of whoever might use it.

Goes in: paths with the reason why nobody needs them. Comes out: free space. What turns out to be
in use, or to be needed after all, is left alone.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.locks import at_once, lock_free

DAY = 24 * 3600.0
OLD = DAY
"""Seconds without a change before a leftover is one."""


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Waste:
    """Something that can go, and why."""

    path: Path
    size: int
    why: str
    lock: Path | None = None
    """Held by whoever works with it; so it is, too, while it is removed."""
    still: Callable[[], bool] = field(default=_always, compare=False)
    """Asked again right before it goes: time has passed since the list was made."""

    @property
    def idle(self) -> bool:
        """Whether nobody works with it just now."""
        return self.lock is None or lock_free(self.lock)


def waste(
    path: Path, why: str, lock: Path | None = None, still: Callable[[], bool] = _always
) -> Waste:
    """``path`` with its size."""
    return Waste(path, size(path), why, lock, still)


def untouched(path: Path, seconds: float = OLD) -> bool:
    """Whether nothing of it has changed for so long."""
    return time.time() - changed(path) > seconds


def changed(path: Path) -> float:
    """When something of it changed last; seconds since 1970, 0 when it is gone."""
    return max((one.lstat().st_mtime for one in _tree(path)), default=0.0)


def size(path: Path) -> int:
    """Bytes of all files of it."""
    return sum(one.lstat().st_size for one in _tree(path) if not one.is_dir())


def _tree(path: Path) -> Iterator[Path]:
    if path.exists() or path.is_symlink():
        yield path
    if path.is_dir() and not path.is_symlink():
        yield from path.rglob("*")


def remove(found: Sequence[Waste]) -> None:
    """Remove folders and files; what is in use by now stays.

    Raises :class:`PipelineError` with what could not be removed, after all were tried.
    """
    failed: list[str] = []
    for one in found:
        try:
            with at_once(one.lock) if one.lock else contextlib.nullcontext(True) as free:
                if free and one.still():
                    _remove(one.path)
        except OSError as error:
            failed.append(f"{error.filename or one.path}: {error.strerror or error}")
    if failed:
        said = "\n  ".join(failed)
        raise PipelineError(
            f"{len(failed)} of {len(found)} things could not be removed:\n  {said}",
            hint="no catalog lists them any more; the next golden gc tries again",
        )


def _remove(path: Path) -> None:
    """A folder leaves its name first, so that it is never half there."""
    if path.is_dir() and not path.is_symlink():
        gone = path
        if not path.name.startswith("."):
            gone = path.with_name(f".{path.name}.gone.part")
            shutil.rmtree(gone, ignore_errors=True)  # an earlier removal's, which was killed
            path.rename(gone)
        shutil.rmtree(gone)
    else:
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)  # what is noted of a download
