"""prove: throw-away clones of the sealed disk boot the way consumers' machines do.

In: the sealed disk. Out: ``checks.json`` and ``junit.xml``. Each clone gets firmware variables, a
key and a first-boot disc of its own: one as NoCloud tools make it, one as Lima does, and none. The
checks show that the clone obeys its disc, that it is still what was declared, and that nothing that
the build used opens it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.answers.cloudbase import SERVICE_STEP
from pipeline.answers.first_boot import lima_disc, nocloud_disc
from pipeline.definitions.model import FirstBoot
from pipeline.foundation.errors import PipelineError
from pipeline.guest import checks
from pipeline.guest.checks import Result
from pipeline.guest.keys import make_key_pair
from pipeline.guest.login import KeyRefused
from pipeline.guest.ssh import connect
from pipeline.machine.console import FIRST_BOOT_READY
from pipeline.machine.loop import run
from pipeline.machine.spec import MachineSpec, Share
from pipeline.machine.watch import Phase
from pipeline.stages.build import Made, Work
from pipeline.stages.check import concluded, round_trip
from pipeline.stages.clone import (
    CHECKS,
    HOST_NAME,
    INSTANCE,
    LIMA_CHECKS,
    SHARED_CHECKS,
    Clone,
)
from pipeline.stages.jobs import look
from pipeline.stages.session import (
    DISK,
    Access,
    Patience,
    Session,
    build_access,
    hardware,
    overlay,
    phases,
    session,
    watched,
)

LOGIN_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Consumer:
    """One consumer: a work folder, a key and a disc of its own."""

    work: Work
    name: str

    @property
    def key(self) -> Path:
        """The consumer's own private key."""
        return self.work.folder / f"{self.name}-key"

    @property
    def access(self) -> Access:
        """How the consumer logs in: no host key is known before the first time."""
        return Access(self.work.build.image.user, self.key, None)

    def course(self) -> list[Phase]:
        """Boot, look, power off."""
        return phases(self.work, Patience.of(self.work.build).phase("checks", 20))

    def session(
        self, spec: MachineSpec, way: list[Phase]
    ) -> contextlib.AbstractAsyncContextManager[Session]:
        """The consumer logged in to its clone, once first boot has ended.

        sshd answers earlier: while Setup is still at work, with keys that are not there yet, and
        before the restart that a new host name needs.
        """
        return session(self.work, spec, self.access, way, part=self.name, after=FIRST_BOOT_READY)

    def machine(self, disc: Path | None, share: Path | None = None) -> MachineSpec:
        """A clone with the consumer's disc and, if given, a shared folder."""
        disk = overlay(self.work, "seal", f"{self.name}-{DISK}")
        spec = hardware(self.work.build, disk, Share(share) if share else None)
        return replace(spec, cdroms=(disc,) if disc else ())


async def _clone_checks(work: Work, guest: Session, group: str) -> list[Result]:
    clone = Clone(guest.guest, guest.machine.ssh_port, build_access(work))
    chosen = LIMA_CHECKS
    if group == "nocloud":
        chosen = CHECKS if _is_ours(work) else SHARED_CHECKS
    results = []
    for check in chosen:
        name = check.__name__.replace("_", "-")
        results.append(await checks.run_check(group, name, functools.partial(check, clone)))
    return results


async def _nocloud(work: Work) -> list[Result]:
    """All checks of a clone, the virtio-fs round trip, and the plan in Test mode."""
    consumer = Consumer(work, "nocloud")
    disc, share = work.folder / "nocloud.iso", work.folder / "share"
    share.mkdir()
    nocloud_disc(disc, [make_key_pair(consumer.key)], HOST_NAME, INSTANCE)
    spec, way = consumer.machine(disc, share), consumer.course()
    async with consumer.session(spec, way) as guest:
        guest.watcher.enter("checks")
        trip = functools.partial(round_trip, guest.guest, share)
        results = [await checks.run_check("virtio-fs", "round-trip", trip)]
        results += await _clone_checks(work, guest, "nocloud")
        plan = await look(work, guest.guest, "provision", guest.watcher.phase.deadline)
        seen = checks.of_plan("provision", plan)
        # First boot has switched this service on since.
        results += [check for check in seen if check.name != SERVICE_STEP]
        await guest.power_off()
    return results


async def _lima(work: Work) -> list[Result]:
    """What Lima waits for: SSH with its key, and the file that says that booting is done."""
    consumer = Consumer(work, "lima")
    disc = work.folder / "lima.iso"
    lima_disc(disc, [make_key_pair(consumer.key)])
    spec, way = consumer.machine(disc), consumer.course()
    async with consumer.session(spec, way) as guest:
        guest.watcher.enter("checks")
        results = await _clone_checks(work, guest, "lima")
        await guest.power_off()
    return results


async def _without_disc(work: Work) -> list[Result]:
    """Without a disc the clone starts, and nobody can log in."""
    consumer = Consumer(work, "no-disc")
    make_key_pair(consumer.key)
    way = consumer.course()
    async with watched(work, consumer.machine(None), way, part="no-disc") as (machine, watcher):
        await machine.console.wait_for(FIRST_BOOT_READY, way[0].deadline)
        watcher.enter("checks")
        refused = functools.partial(_nobody_logs_in, machine.ssh_port, consumer.access)
        result = await checks.run_check("no-disc", "nobody-logs-in", refused)
        watcher.enter("power off")
        watcher.expect_power_off()
        ending = await machine.shutdown(None, watcher.phase.deadline / 2)
    clean = f"ended by {ending.rung}: {ending.reason}"
    return [result, Result("no-disc", "power-button", ending.clean, clean, 0.0)]


async def _nobody_logs_in(port: int, access: Access) -> str:
    try:
        async with connect(port, access.user, access.key, None, LOGIN_SECONDS):
            pass
    except KeyRefused as refused:
        return refused.message
    raise PipelineError("a key that nobody authorised opens the clone")


def _is_ours(work: Work) -> bool:
    """Whether this project's own service runs at first boot.

    cloudbase-init knows nothing of Lima's disc, and says nothing where there is no disc.
    """
    return work.build.image.first_boot is FirstBoot.GOLDEN


async def _prove(work: Work) -> Sequence[Result]:
    if not _is_ours(work):
        return await _nocloud(work)
    return [*await _nocloud(work), *await _lima(work), *await _without_disc(work)]


def make(work: Work) -> Made:
    """Run all checks on the clones; raises with those that failed."""
    return concluded(work, run(_prove(work)))
