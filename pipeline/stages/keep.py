"""A failed machine that stays up to be looked at: ``GOLDEN_KEEP=1``, or ``golden keep IMAGE``.

Goes in: a machine whose stage has failed. Comes out: the commands that reach it, on the terminal
and in a file under ``output/kept/``, for as long as nobody ends it with Ctrl-C or
``golden keep --end``. The machine stays our child: when this process is killed, the kernel ends the
machine with it, and the file, whose lock is free then, counts for nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.foundation.files import read_json, write_json
from pipeline.foundation.locks import lock_free
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import pasteable
from pipeline.foundation.progress import Progress

LOOK = 0.5
# The variable of the environment that asks for it.
KEEP = "GOLDEN_KEEP"
YES = ("1", "yes", "true", "on")


@dataclass(frozen=True, slots=True)
class Kept:
    """A machine that stays up: what failed, and the commands that lead to it."""

    image: str
    stage: str
    why: str
    evidence: str
    ssh: str = ""
    vnc: str = ""
    qmp: str = ""

    def commands(self) -> list[str]:
        """One line each way in."""
        found = (("SSH", self.ssh), ("screen", self.vnc), ("monitor", self.qmp))
        return [f"{name + ':':<9}{command}" for name, command in found if command]


def wanted() -> bool:
    """Whether failed machines are to stay up: ``GOLDEN_KEEP=1``, and somebody is there to look."""
    return os.environ.get(KEEP, "").lower() in YES and "CI" not in os.environ


def ssh_command(port: int, user: str, key: Path) -> str:
    """The command that logs in to a machine on this host, whatever its host key is."""
    anyone = ("UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "IdentitiesOnly=yes")
    options = [word for option in anyone for word in ("-o", option)]
    return pasteable(["ssh", "-i", key, "-p", str(port), *options, f"{user}@127.0.0.1"])


def _folder(workspace: Workspace) -> Path:
    return workspace.output / "kept"


def kept(workspace: Workspace) -> list[Kept]:
    """The machines that are kept now; what dead processes left is removed."""
    found = []
    for path in sorted(_folder(workspace).glob("*.json")):
        if lock_free(path):  # the process that wrote it keeps nothing any more
            path.unlink(missing_ok=True)
        elif isinstance(said := read_json(path), dict):
            found.append(Kept(**said))
    return found


def ask_to_end(workspace: Workspace, kept: Kept) -> None:
    """Ask the process that keeps the machine to let it go."""
    (_folder(workspace) / f"{kept.image}.end").touch()


@contextlib.contextmanager
def _told(workspace: Workspace, machine: Kept) -> Iterator[Path]:
    """Tell others of the machine; gives the file whose appearance ends it."""
    path = _folder(workspace) / f"{machine.image}.json"
    end = path.with_suffix(".end")
    write_json(path, asdict(machine))
    end.unlink(missing_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield end
    finally:
        path.unlink(missing_ok=True)
        end.unlink(missing_ok=True)
        os.close(handle)


async def keep(
    workspace: Workspace, machine: Kept, process: asyncio.subprocess.Process, progress: Progress
) -> None:
    """Keep a machine until its process ends, somebody asks for its end, or Ctrl-C."""
    task = asyncio.current_task()
    with _told(workspace, machine) as end:
        progress.event(machine.why)
        progress.event("the machine stays up; Ctrl-C or `golden keep --end` ends it")
        for line in machine.commands():
            progress.event(line)
        progress.phase("kept")
        try:
            while process.returncode is None and not end.exists():
                progress.update(machine.ssh)
                await asyncio.sleep(LOOK)
        except asyncio.CancelledError:  # the failure that we kept it for is the news, not this
            if task:
                task.uncancel()
