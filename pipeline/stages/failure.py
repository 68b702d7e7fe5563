"""What is done with a machine whose stage has failed, before it is ended.

Its logs are brought into the evidence while it still answers, and it stays up when that was asked.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.progress import Progress
from pipeline.guest.login import HostKeyChanged, KeyRefused
from pipeline.guest.logs import bring_logs
from pipeline.guest.ssh import connect
from pipeline.machine.faults import GUEST_RUNS_ON, MachineFault
from pipeline.machine.machine import Machine
from pipeline.stages import keep
from pipeline.stages.build import Work

if TYPE_CHECKING:
    from pipeline.stages.session import Access

LOGIN_SECONDS = 10.0
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
