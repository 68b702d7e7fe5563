"""What is done with a machine whose stage has failed.

Its logs are brought into the evidence while it still answers, and it stays up when that was asked.
Logs of one that did not answer are read from its disk when it has ended.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.progress import Progress
from pipeline.guest.login import HostKeyChanged, KeyRefused
from pipeline.guest.logs import bring_logs, keep_ends, on_disk
from pipeline.guest.ssh import connect
from pipeline.machine.faults import GUEST_RUNS_ON, MachineFault
from pipeline.machine.machine import Machine
from pipeline.machine.offline import read_files
from pipeline.machine.spec import MachineSpec
from pipeline.stages import keep
from pipeline.stages.build import Work

if TYPE_CHECKING:
    from pipeline.stages.session import Access

LOGIN_SECONDS = 5.0
LOGS_SECONDS = 60.0
LOGS = "guest-logs"


async def after_failure(
    work: Work, machine: Machine, access: Access | None, error: PipelineError
) -> None:
    """Bring what the guest can tell; keep the machine if that is wanted."""
    if not machine.alive:
        return
    if access and _answers(error):
        await _bring(machine, access, work.progress)
    if keep.wanted():
        await keep.keep(
            work.build.workspace,
            _kept(work, machine, access, error),
            machine.process,
            work.progress,
        )


def read_from_disk(work: Work, spec: MachineSpec, evidence: Path) -> None:
    """Bring the logs of a machine that has ended and gave none while it ran, where that works."""
    target = evidence / LOGS
    if target.exists() or not spec.disk.exists():
        return
    scratch = work.folder / "offline"
    try:
        found = read_files(spec.disk, spec.disk_format, on_disk(), scratch)
        kept = keep_ends(found, scratch / "files", target)
    except PipelineError as error:
        work.progress.event(f"no logs from the guest's disk: {error.message.splitlines()[0]}")
    else:
        work.progress.event(f"{len(kept)} logs read from the guest's disk")


def _answers(error: PipelineError) -> bool:
    """Whether it is worth trying to log in after this."""
    if isinstance(error, KeyRefused | HostKeyChanged):
        return False
    return not isinstance(error, MachineFault) or error.fault in GUEST_RUNS_ON


async def _bring(machine: Machine, access: Access, progress: Progress) -> None:
    door = (machine.ssh_port, access.user, access.key, access.host_key)
    with contextlib.suppress(PipelineError):
        async with connect(*door, LOGIN_SECONDS, grace=0) as guest:
            brought = await bring_logs(guest, machine.evidence / LOGS, LOGS_SECONDS)
            progress.event(f"{len(brought)} logs brought from the guest")


def _kept(work: Work, machine: Machine, access: Access | None, error: PipelineError) -> keep.Kept:
    doors = machine.doors
    way_in = access and keep.ssh_command(machine.ssh_port, access.user, access.key)
    return keep.Kept(
        image=work.build.image.name,
        stage=work.folder.name.split(".")[1],
        why=error.message,
        evidence=str(machine.evidence),
        ssh=way_in or "",
        vnc=f"vncviewer {doors.vnc}" if doors else "",
        qmp=f"qmp-shell {doors.qmp}" if doors else "",
    )
