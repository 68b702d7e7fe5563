"""The guest's own account of what went wrong: the logs of Setup, sysprep, servicing and the agent.

Goes in: a guest that answers, and a folder. Comes out: copies in that folder, their ends only where
they are large. None of these logs holds a secret: answer files are left where they are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.guest.ssh import FOLDER, Guest

LARGEST = 1 << 20
FILES = (
    "/C:/Windows/Panther/setupact.log",
    "/C:/Windows/Panther/setuperr.log",
    "/C:/Windows/Panther/UnattendGC/setupact.log",
    "/C:/Windows/Panther/UnattendGC/setuperr.log",
    "/C:/$WINDOWS.~BT/Sources/Panther/setupact.log",
    "/C:/$WINDOWS.~BT/Sources/Panther/setuperr.log",
    "/C:/Windows/System32/Sysprep/Panther/setupact.log",
    "/C:/Windows/System32/Sysprep/Panther/setuperr.log",
    "/C:/Windows/Logs/CBS/CBS.log",
    "/C:/Windows/Logs/DISM/dism.log",
    "/C:/Windows/INF/setupapi.dev.log",
)
FOLDERS = (f"{FOLDER}/log",)


def kept_as(path: str) -> str:
    """The name of a copy: ``/C:/Windows/Panther/setuperr.log`` is ``Windows-Panther-setuperr.log``.

    One flat folder is what people look through.
    """
    return path.removeprefix("/C:/").replace("/", "-").replace("$", "").replace("~", "")


def on_disk() -> list[str]:
    """The same logs as globs below the system drive, for reading them from its disk."""
    listed = [f"{folder}/*.log" for folder in FOLDERS]
    return [path.removeprefix("/C:/") for path in (*listed, *FILES)]


def keep_ends(files: Iterable[Path], below: Path, folder: Path) -> list[Path]:
    """Copy the ends of files that lie ``below`` as on the system drive into ``folder``."""
    kept = []
    for path in files:
        with path.open("rb") as stream:
            stream.seek(max(path.stat().st_size - LARGEST, 0))
            name = kept_as(f"/C:/{path.relative_to(below).as_posix()}")
            kept.append(_keep(folder / name, stream.read()))
    return kept


async def bring_logs(guest: Guest, folder: Path, seconds: float) -> list[Path]:
    """Copy the logs that are there into ``folder``, for at most so many seconds.

    A log that can't be read is passed over: what matters is the failure that one wants to explain.
    """
    brought: list[Path] = []
    with contextlib.suppress(PipelineError, TimeoutError):
        async with asyncio.timeout(seconds):
            for path in await _there(guest):
                with contextlib.suppress(PipelineError):
                    content = await guest.tail(path, LARGEST)
                    brought.append(_keep(folder / kept_as(path), content))
    return brought


def _keep(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


async def _there(guest: Guest) -> list[str]:
    listed = [f"{folder}/{name}" for folder in FOLDERS for name in await guest.names(folder)]
    return [*_logs(listed), *FILES]


def _logs(paths: list[str]) -> Iterator[str]:
    yield from (path for path in paths if path.endswith((".log", ".json", ".jsonl", ".txt")))
