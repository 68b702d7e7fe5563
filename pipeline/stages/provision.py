"""provision: the image's plan, over SSH, on an overlay of the base disk.

In: the base disk, the plan with its payloads. Out: ``disk.qcow2``, an overlay. A change of a step
runs this again and never the installation.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.guest import provision as apply
from pipeline.guest.agent import KEPT, keep_results
from pipeline.machine.loop import run
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


async def _provision(work: Work) -> Mapping[str, float]:
    spec = hardware(work.build, overlay(work, "install"))
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
