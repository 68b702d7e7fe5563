"""What a run left behind: processes, sockets, locks, mounts, loop devices, files.

Everything is looked for by where it lies: below the folders that one room of the suite has.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

# Files that belong to no stage: evidence, answers about the host, doit's memory.
KEPT = ("failures", "locks", "fetch", "cache", "keys", "accelerator.json", "qemu.json", ".doit.db")
PROC = Path("/proc")


def _links(process: Path) -> Iterator[str]:
    with suppress(OSError):
        yield (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    for link in ("cwd", "root", "exe"):
        with suppress(OSError):
            yield str((process / link).readlink())
    with suppress(OSError):
        for handle in (process / "fd").iterdir():
            with suppress(OSError):
                yield str(handle.readlink())


def processes(marks: Sequence[str]) -> list[str]:
    """Processes that name, or hold open, anything below the marks; zombies are nobody's."""
    found = []
    for path in PROC.glob("[0-9]*"):
        if path.name == str(os.getpid()):
            continue
        texts = list(_links(path))
        if any(mark in text for text in texts for mark in marks):
            found.append(f"process {path.name}: {texts[0].strip()[:120]}")
    return found


def sockets(marks: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Sockets with a name below the marks, bound now or left as files."""
    bound = [
        f"socket {line.split()[-1]}"
        for line in (PROC / "net/unix").read_text().splitlines()
        if any(mark in line for mark in marks)
    ]
    files = [f"socket {path}" for folder in folders for path in _walk(folder) if path.is_socket()]
    return bound + files


def locks(folders: Sequence[Path]) -> list[str]:
    """Lock files that somebody still holds."""
    found = []
    for path in (path for folder in folders for path in _walk(folder)):
        if not path.is_file() or path.suffix not in (".lock", "") or path.stat().st_size > 4096:
            continue
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found.append(f"lock {path.name} is held")
        finally:
            os.close(handle)
    return found


def devices(marks: Sequence[str]) -> list[str]:
    """Loop devices and mounts that lie below the marks."""
    loops = Path("/sys/block").glob("loop*/loop/backing_file")
    found = [f"loop device on {p.read_text().strip()}" for p in loops if _marked(p, marks)]
    mounts = (PROC / "self/mounts").read_text().replace(r"\040", " ").splitlines()
    return found + [f"mount {m}" for m in mounts if any(mark in m for mark in marks)]


def _marked(path: Path, marks: Sequence[str]) -> bool:
    return any(mark in path.read_text() for mark in marks)


def _walk(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.rglob("*")) if folder.is_dir() else ()


def tree(output: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every product below ``output``."""
    found = {}
    for path in _walk(output):
        name = str(path.relative_to(output))
        kept = name.split("/", maxsplit=1)[0] in KEPT or path.suffix == ".lock"
        if not kept and not path.is_dir():
            status = path.lstat()
            found[name] = (status.st_size, status.st_mtime_ns)
    return found


def changes(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    """What differs between two trees, in words."""
    new = [f"file {name}" for name in sorted(after.keys() - before.keys())]
    cleared = {name for name in before if ".work/" in name or ".part/" in name}
    gone = [f"{name} is gone" for name in sorted(before.keys() - after.keys() - cleared)]
    both = sorted(before.keys() & after.keys())
    return new + gone + [f"{name} changed" for name in both if before[name] != after[name]]
