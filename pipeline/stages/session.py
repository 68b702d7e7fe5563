"""A machine of a stage: booted, watched, reached over SSH, and stopped in order.

What the disk stages have in common. They boot a disk of this build with the hardware that the image
declares and no network but the host's way in, talk to the guest with one key, and power it off from
inside: a guest that has to be cut off leaves a disk that nobody trusts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.guest.login import GuestUnreachable
from pipeline.guest.power import power_off
from pipeline.guest.ssh import Guest, connect
from pipeline.machine import image as qemu_img
from pipeline.machine.boot import boot
from pipeline.machine.machine import Machine
from pipeline.machine.spec import MachineSpec, Share
from pipeline.machine.watch import SETTLING, Limits, Phase, Watcher, watch
from pipeline.stages.build import Build, Work
from pipeline.stages.cidata import KEY
from pipeline.stages.failure import after_failure, read_from_disk
from pipeline.stages.keep import wanted
from pipeline.stages.reading import note_phases

DISK = "disk.qcow2"
GOES_DOWN_WITHIN = 15.0

Job = Callable[[Machine], Awaitable[None]]


def _patience_wanted() -> float:
    """The number in ``GOLDEN_PATIENCE``; 1 when there is none."""
    text = os.environ.get("GOLDEN_PATIENCE") or "1"
    try:
        times = float(text)
    except ValueError:
        times = 0
    if not 0 < times < 1000:
        raise PipelineError(
            f"GOLDEN_PATIENCE is {text!r}, not a number above 0", hint="2 waits twice as long"
        )
    return times


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take: ``factor`` for slow hosts, ``idle`` seconds without any news.

    After ``quiet`` seconds in which a guest that is left alone does nothing, it waits for somebody.
    """

    factor: float
    idle: float
    quiet: float

    @classmethod
    def of(cls, build: Build) -> Patience:
        """Windows takes hours under emulation, minutes with KVM; a rehearsal is always quick.

        ``GOLDEN_PATIENCE`` multiplies all of it: 2 on a slow host.
        """
        times = _patience_wanted()
        if build.image.rehearsal:
            return cls(0.25 * times, 150 * times, 60 * times)
        from pipeline.machine.accelerator import choose

        kvm = choose(build.workspace).name == "kvm"
        return cls((1.0 if kvm else 8.0) * times, 1800 * times, 60 * times)

    def phase(
        self, name: str, minutes: float, begins: str = "", *, alone: bool = False, ssh: bool = False
    ) -> Phase:
        """A phase that takes at most so many minutes on a host with KVM."""
        return Phase(name, minutes * 60 * self.factor, begins, alone=alone, ssh=ssh)


@dataclass(frozen=True, slots=True)
class Access:
    """How to log in: a user, a private key, and the host key that must answer (if it is known)."""

    user: str
    key: Path
    host_key: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """A guest one is logged in to, on its machine, under watch."""

    machine: Machine
    guest: Guest
    watcher: Watcher

    async def power_off(self) -> None:
        """Power off from inside; raises when the guest had to be cut off."""
        self.watcher.enter("power off")
        self.watcher.expect_power_off()
        seconds = self.watcher.phase.deadline / 3
        ending = await self.machine.shutdown(lambda: power_off(self.guest), seconds)
        if not ending.clean:
            raise PipelineError(
                f"{self.machine.spec.name} did not power off and was cut off by {ending.rung}",
                hint="its file systems may be damaged, so the disk was not kept; see com1.log",
            )


def hardware(build: Build, disk: Path, share: Share | None = None) -> MachineSpec:
    """The machine that the image declares, around ``disk``."""
    machine = build.image.machine
    return MachineSpec(
        name=build.image.name,
        firmware=machine.firmware,
        cpus=machine.cpus,
        memory=machine.memory,
        disk=disk,
        share=share,
        tpm=machine.tpm,
        secure_boot=machine.secure_boot,
        throwaway=True,
    )


def build_access(work: Work) -> Access:
    """The build's own key, and the host key that install saw."""
    host_key = str(work.facts("install")["host_key"])
    return Access(work.build.image.user, work.upstream("install") / KEY, host_key)


def overlay(work: Work, stage: str, name: str = DISK) -> Path:
    """A new disk in the work folder on top of another stage's disk, which stays as it is."""
    disk = work.folder / name
    qemu_img.overlay(disk, work.upstream(stage) / DISK)
    return disk


def phases(work: Work, *middle: Phase) -> list[Phase]:
    """Boot, what is done then, power off."""
    patience = Patience.of(work.build)
    return [patience.phase("boot", 15, ssh=True), *middle, patience.phase("power off", 15)]


@contextlib.asynccontextmanager
async def watched(
    work: Work,
    spec: MachineSpec,
    course: Sequence[Phase],
    also: Sequence[Job] = (),
    *,
    part: str = "",
    access: Access | None = None,
) -> AsyncIterator[tuple[Machine, Watcher]]:
    """Boot ``spec`` and watch its course, without logging in.

    When that fails, ``access`` is how its logs are brought, and the machine may stay up.
    """
    patience = Patience.of(work.build)
    limits = Limits(idle=patience.idle, quiet=patience.quiet)
    evidence = work.evidence / part
    try:
        async with boot(
            spec, work.build.workspace, evidence, work.progress, reachable=wanted()
        ) as machine:
            try:
                async with watch(machine, course, work.progress, limits, also) as watcher:
                    yield machine, watcher
                note_phases(evidence, watcher.phase.name, watcher.timings)
            except PipelineError as error:
                note_phases(evidence, watcher.phase.name, watcher.timings)
                await after_failure(work, machine, access, error)
                raise
    except PipelineError:
        read_from_disk(work, spec, evidence)
        raise


@contextlib.asynccontextmanager
async def session(
    work: Work,
    spec: MachineSpec,
    access: Access,
    course: Sequence[Phase],
    also: Sequence[Job] = (),
    *,
    part: str = "",
    after: str = "",
) -> AsyncIterator[Session]:
    """Boot ``spec``, watch its course, and log in within the deadlines of its phases.

    ``part`` is a folder of its own for the evidence, where a stage boots more than one machine.
    Nobody knocks before the guest has said a line on COM1 that matches ``after``.
    """
    deadline = sum(phase.deadline for phase in course)
    async with watched(work, spec, course, also, part=part, access=access) as (machine, watcher):
        if after:
            await machine.console.wait_for(after, deadline)
        async with connect(
            machine.ssh_port,
            access.user,
            access.key,
            access.host_key,
            deadline,
            tell=watcher.no_login,
        ) as guest:
            try:
                yield Session(machine, guest, watcher)
            except GuestUnreachable:
                await _last_word(machine)
                raise


async def _last_word(machine: Machine) -> None:
    """A guest that goes down breaks the connection first: let the watch tell why it went."""
    if await machine.ended(GOES_DOWN_WITHIN):
        await asyncio.sleep(SETTLING)
