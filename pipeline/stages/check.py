"""check: every declared state, asserted after a restart, on a throw-away overlay.

In: the provisioned disk. Out: ``checks.json`` and ``junit.xml``. The checks of a step are the step
itself in Test mode; on top of them a file goes both ways through virtio-fs with a real virtiofsd.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.waiting import wait_until_async
from pipeline.guest import checks
from pipeline.guest.checks import Result
from pipeline.guest.ssh import Guest
from pipeline.machine.loop import run
from pipeline.machine.spec import Share
from pipeline.stages.build import Made, Work
from pipeline.stages.jobs import look
from pipeline.stages.reading import took
from pipeline.stages.session import (
    Patience,
    build_access,
    hardware,
    overlay,
    phases,
    session,
)

SHARE_AT = "/Z:"
MOUNTED_WITHIN = 120.0


async def round_trip(guest: Guest, folder: Path) -> str:
    """A file from the host to the guest and one back, through the shared ``folder``."""
    sent, returned = secrets.token_hex(16), secrets.token_hex(16)
    (folder / "from-host.txt").write_text(sent)
    path = f"{SHARE_AT}/from-host.txt"
    await wait_until_async(
        f"the share at {SHARE_AT}", lambda: guest.exists(path), MOUNTED_WITHIN, every=1.0
    )
    if (seen := (await guest.get(path)).decode(errors="replace")) != sent:
        raise PipelineError(f"the guest read {seen!r} from the share, the host wrote {sent!r}")
    await guest.put(returned.encode(), f"{SHARE_AT}/from-guest.txt")
    file = folder / "from-guest.txt"
    back = file.read_bytes().decode(errors="replace") if file.exists() else ""
    if back != returned:
        raise PipelineError(f"the host read {back!r} from the share, the guest wrote {returned!r}")
    return f"a file each way through {SHARE_AT}"


async def _check(work: Work) -> tuple[Sequence[Result], Mapping[str, float]]:
    folder = work.folder / "share"
    folder.mkdir()
    spec = hardware(work.build, overlay(work, "provision"), Share(folder))
    looking = Patience.of(work.build).phase("checks", 20)
    async with session(work, spec, build_access(work), phases(work, looking)) as guest:
        guest.watcher.enter("checks")
        results = [
            await checks.run_check(
                "virtio-fs", "round-trip", lambda: round_trip(guest.guest, folder)
            )
        ]
        for plan in ("bootstrap", "provision"):
            results += checks.of_plan(plan, await look(work, guest.guest, plan, looking.deadline))
        await guest.power_off()
    return results, guest.watcher.timings


def make(work: Work) -> Made:
    """Run all checks; raises with those that failed."""
    results, timings = run(_check(work))
    return concluded(work, results, timings)


def concluded(
    work: Work, results: Sequence[Result], timings: Mapping[str, float] | None = None
) -> Made:
    """Keep the results, as outputs and as evidence; raises with those that failed."""
    names = checks.save(work.folder, results)
    checks.save(work.evidence, results)
    checks.require(work.build.image.name, results)
    return Made(names, facts=checks.summary(results), timings=timings or took(work.evidence))
