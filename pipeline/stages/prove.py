"""prove: a throw-away clone of the sealed disk boots the way a consumer's does.

In: the sealed disk. Out: ``checks.json`` and ``junit.xml``. The clone gets firmware variables, a
key, a host name and a first-boot disc of its own; the checks show that it obeys them, that it is
still what was declared, and that nothing that the build used opens it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.answers.disc import write_disc
from pipeline.guest import checks
from pipeline.guest.checks import Result
from pipeline.guest.keys import make_key_pair
from pipeline.machine.loop import run
from pipeline.machine.spec import Share
from pipeline.stages.build import Made, Work
from pipeline.stages.check import round_trip
from pipeline.stages.clone import CHECKS, HOST_NAME, INSTANCE, Clone
from pipeline.stages.jobs import look
from pipeline.stages.session import (
    Access,
    Patience,
    Session,
    build_access,
    hardware,
    overlay,
    phases,
    session,
)


def first_boot_disc(path: Path, public_key: str) -> None:
    """A NoCloud disc as a consumer's tool makes it."""
    user_data = f"#cloud-config\nhostname: {HOST_NAME}\nssh_authorized_keys:\n  - {public_key}\n"
    meta_data = f"instance-id: {INSTANCE}\nlocal-hostname: {HOST_NAME}\n"
    files = {"meta-data": meta_data.encode(), "user-data": user_data.encode()}
    write_disc(path, "cidata", files)


async def _all_checks(work: Work, session: Session, share: Path) -> list[Result]:
    guest = session.guest
    clone = Clone(guest, session.machine.ssh_port, build_access(work))
    trip = functools.partial(round_trip, guest, share)
    results = [await checks.run_check("virtio-fs", "round-trip", trip)]
    for check in CHECKS:
        name = check.__name__.replace("_", "-")
        results.append(await checks.run_check("clone", name, functools.partial(check, clone)))
    deadline = session.watcher.phase.deadline
    return results + checks.of_plan("provision", await look(work, guest, "provision", deadline))


async def _prove(work: Work) -> tuple[Sequence[Result], Mapping[str, float]]:
    key, disc, share = (work.folder / name for name in ("consumer-key", "cidata.iso", "share"))
    share.mkdir()
    first_boot_disc(disc, make_key_pair(key))
    spec = hardware(work.build, overlay(work, "seal"), Share(share))
    access = Access(work.build.image.user, key, None)
    way = phases(work, Patience.of(work.build).phase("checks", 20))
    async with session(work, replace(spec, cdroms=(disc,)), access, way) as guest:
        guest.watcher.enter("checks")
        results = await _all_checks(work, guest, share)
        await guest.power_off()
    return results, guest.watcher.timings


def make(work: Work) -> Made:
    """Run all checks on a clone; raises with those that failed."""
    results, timings = run(_prove(work))
    names = checks.save(work.folder, results)
    checks.save(work.evidence, results)
    checks.require(work.build.image.name, results)
    return Made(names, facts=checks.summary(results), timings=timings)
