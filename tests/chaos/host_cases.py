"""Faults of the host: programs that die or are missing, full disks, leftovers, clocks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.definitions.loader import load
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.waiting import wait_until
from pipeline.machine.boot import boot
from pipeline.stages.build import Build
from pipeline.stages.session import hardware
from tests.chaos.breaking import path_without, resize, small_disk
from tests.chaos.case import TPM_IMAGE, Case, Seen
from tests.chaos.leftovers import processes
from tests.chaos.room import Room

STARTED = "machine started"
YEAR = 366 * 86400


def needs_root() -> str:
    """Whether file systems can be mounted here."""
    return "" if os.geteuid() == 0 else "needs root, to mount a small file system"


def _victim(room: Room, program: str, stage: str) -> int:
    """The process of ``program`` that serves the stage's machine."""
    work = str(room.work(stage))

    def look() -> int:
        for line in processes([work]):
            number, words = re.fullmatch(r"process (\d+): (.*)", line).groups()  # type: ignore[union-attr]
            if Path(words.split()[0]).name.startswith(program):
                return int(number)
        return 0

    return wait_until(f"{program} is running", look, 60)


def _killed(room: Room, program: str, stage: str, after: str) -> Seen:
    """Kill a program while its stage runs."""
    run = room.start(stage)
    run.wait_line(after)
    os.kill(_victim(room, program, stage), signal.SIGKILL)
    struck = time.monotonic()
    run.end()
    return Seen(run.sentence(), run.seconds_to_sentence(struck))


def _missing(room: Room, program: str, stage: str) -> Seen:
    """Run without a program on PATH."""
    begun = time.monotonic()
    run = room.start(stage, PATH=path_without(room, program))
    run.end()
    return Seen(run.sentence(), run.seconds_to_sentence(begun))


def _full_before(room: Room) -> Seen:
    """There is not enough room for what the stage may write."""
    with small_disk(room, "300m"):
        begun = time.monotonic()
        run = room.start("provision")
        run.end()
        return Seen(run.sentence(), run.seconds_to_sentence(begun))


def _full_during(room: Room) -> Seen:
    """Somebody else takes the room while the guest writes."""
    with small_disk(room, "2g") as place:
        run = room.start("provision")
        run.wait_line(STARTED)
        resize(place, str(shutil.disk_usage(place).used + (256 << 10)))
        struck = time.monotonic()
        run.end()
        return Seen(run.sentence(), run.seconds_to_sentence(struck))


def _port_taken(room: Room) -> Seen:
    """An instance shall have a port that somebody else listens on; builds let the kernel choose."""
    build = Build.of(room.image, load(room.workspace), room.workspace)
    spec = hardware(build, room.folder("install") / "disk.qcow2")
    evidence = room.scratch / "port"

    async def start(port: int) -> str:
        async with boot(replace(spec, ssh_port=port), room.workspace, evidence) as machine:
            await machine.kill()
        return ""

    def attempt(port: int) -> str:
        try:
            return asyncio.run(start(port))
        except PipelineError as error:
            return str(error)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        begun = time.monotonic()
        said = attempt(taken.getsockname()[1])
        seconds = time.monotonic() - begun
    shutil.rmtree(evidence)
    return Seen(said, round(seconds, 1))


def _stale(room: Room) -> Seen:
    """What a host that lost its power leaves: work folder, lock file, socket, runtime folder."""
    work = room.work("provision")
    (work / "evidence").mkdir(parents=True)
    (work / "disk.qcow2").write_bytes(b"QFI\xfb half a disk")
    (room.workspace.locks / f"{room.image}.lock").write_text("process 4194303, since 00:00:00\n")
    base = room.runtime / f"golden-{os.getuid()}"
    stale = base / "m-stale"
    stale.mkdir(parents=True)
    base.chmod(0o700)
    (stale / "owner").touch()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale / "fs"))
    run = room.start("provision")
    code = run.end()
    return Seen("the run succeeds" if code == 0 else run.sentence())


def _two_builds(room: Room) -> Seen:
    """A second build of an image that is being built."""
    first = room.start("provision")
    first.wait_line(STARTED)
    second = room.start("provision")
    begun = time.monotonic()
    noticed = second.wait_line("waiting: ")
    said = next(line for _, line in second.lines if "waiting: " in line)
    codes = first.end(), second.end()
    said = said[said.index("waiting: ") :]
    worked = "both succeed" if codes == (0, 0) else second.sentence()
    return Seen(f"{said}\n{worked}", round(noticed - begun, 1))


def _clock_jumps(room: Room, seconds: int) -> Seen:
    """The host's clock is set while a machine runs."""
    offset = room.scratch / "offset"
    offset.write_text("0")
    run = room.start("provision", CHAOS_CLOCK=str(offset))
    run.wait_line(STARTED)
    part = offset.with_suffix(".new")
    part.write_text(str(seconds))
    part.replace(offset)
    code = run.end()
    written = (
        json.loads((room.folder("provision") / "receipt.json").read_text()) if not code else {}
    )
    said = "the run succeeds" if code == 0 else run.sentence()
    year = time.gmtime(time.time() + seconds).tm_year
    if not str(written.get("finished_at")).startswith(str(year)):
        said += f"\nthe clock was not believed: {written.get('finished_at')}"
    return Seen(said)


def _case(
    name: str, stage: str, what: str, says: str, play: Callable[[Room], Seen], **more: object
) -> Case:
    return Case(name, stage, what, says, play, **more)  # type: ignore[arg-type]


CASES = (
    _case(
        "qemu-killed", "install", "QEMU is killed during Setup", "QEMU ended: .*SIGKILL",
        partial(_killed, program="qemu", stage="install", after="pass windowsPE"),
    ),
    _case(
        "qemu-missing", "install", "QEMU is not installed", "qemu-system-x86_64 is not installed",
        partial(_missing, program="qemu-system-x86_64", stage="install"),
    ),
    _case(
        "swtpm-missing", "install", "swtpm is not installed, and the image's machine has a TPM",
        "swtpm is not installed",
        partial(_missing, program="swtpm", stage="install"),
        image=TPM_IMAGE,
    ),
    _case(
        "swtpm-killed", "install", "swtpm is killed while the machine runs",
        "swtpm ended: .*SIGKILL",
        partial(_killed, program="swtpm", stage="install", after=STARTED),
        image=TPM_IMAGE,
    ),
    _case(
        "virtiofsd-killed", "check", "virtiofsd is killed while the guest uses the share",
        "virtiofsd ended: ",
        partial(_killed, program="virtiofsd", stage="check", after=STARTED),
    ),
    _case(
        "disk-full-before", "provision", "the host's disk has not the room that a stage may need",
        "provision:rehearsal.* (room|space|free)", _full_before, needs=needs_root,
    ),
    _case(
        "disk-full", "provision", "the host's disk becomes full while the guest writes",
        "the host's disk is full", _full_during, needs=needs_root,
    ),
    _case(
        "port-taken", "provision", "the port that an instance shall have is taken",
        "port|Could not set up host forwarding", _port_taken,
    ),
    _case(
        "stale-socket-and-lock", "provision",
        "a lost host left a work folder, a lock file, a socket and a runtime folder",
        "the run succeeds", _stale, succeeds=True,
    ),
    _case(
        "two-builds", "provision", "the same image is built twice at once",
        "waiting: rehearsal is being built by process .*\nboth succeed", _two_builds, succeeds=True,
    ),
    _case(
        "clock-jumps-ahead", "provision", "the host's clock jumps a year ahead during a stage",
        "^the run succeeds$", partial(_clock_jumps, seconds=YEAR), succeeds=True,
    ),
    _case(
        "clock-jumps-back", "provision", "the host's clock jumps a year back during a stage",
        "^the run succeeds$", partial(_clock_jumps, seconds=-YEAR), succeeds=True,
    ),
)  # fmt: skip
