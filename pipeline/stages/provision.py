"""provision: the image's plan, over SSH, on an overlay of the base disk.

In: the base disk, the plan with its payloads. Out: ``disk.qcow2``, an overlay. A change of a step
runs this again and never the installation.

The machine has what a consumer's may have: Windows binds a driver, and makes the driver's service,
only for a device that it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.foundation.units import Size
from pipeline.guest import provision as apply
from pipeline.guest.agent import KEPT, keep_results
from pipeline.machine import image as qemu_img
from pipeline.machine.loop import run
from pipeline.machine.spec import MachineSpec, Share
from pipeline.stages.build import Made, Work
from pipeline.stages.jobs import bundle
from pipeline.stages.session import (
    DISK,
    Patience,
    build_access,
    hardware,
    overlay,
    phases,
    session,
)

# With a disk on the other bus vioscsi is bound as well as viostor, and the image boots on either.
SECOND_DISK = Size(64 << 20)


def _machine(work: Work) -> MachineSpec:
    second, share = work.folder / "second.qcow2", work.folder / "share"
    qemu_img.create(second, SECOND_DISK)
    share.mkdir()  # empty; the virtio-fs service depends on the service of its device's driver
    spec = hardware(work.build, overlay(work, "install"), Share(share))
    return replace(spec, scsi_disk=second)


async def _provision(work: Work) -> Mapping[str, float]:
    spec = _machine(work)
    steps = Patience.of(work.build).phase("steps", 60, r"^GOLDEN step provision 1/")
    way = phases(work, steps)
    async with session(work, spec, build_access(work), way) as guest:
        guest.watcher.enter("steps")
        done = await apply.provision(
            guest.machine,
            guest.guest,
            bundle(work, "provision"),
            work.progress,
            apply.Patience(run=steps.deadline, restart=way[0].deadline),
        )
        await guest.power_off()
    keep_results(work.folder, done.results)
    return guest.watcher.timings


def make(work: Work) -> Made:
    """Apply the plan; the agent's results are kept beside the disk."""
    timings = run(_provision(work))
    return Made((DISK, KEPT), timings=timings)
