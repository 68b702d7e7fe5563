"""install: Windows Setup, headless, from the medium and the disc of answers onto the base disk.

In: the ISO, ``cidata.iso``. Out: ``disk.qcow2``, the build's key, and in the receipt the guest's
host key. Ends when SSH answers with the build's own key and the guest has powered itself off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import write_bytes
from pipeline.machine import image as qemu_img
from pipeline.machine.accelerator import choose
from pipeline.machine.loop import run
from pipeline.machine.machine import Machine
from pipeline.machine.qemu import ask_qemu
from pipeline.machine.spec import MachineSpec
from pipeline.machine.watch import Phase, answer_cd_prompt
from pipeline.stages import artifacts
from pipeline.stages.build import Build, Made, Work
from pipeline.stages.cidata import DISC, KEY
from pipeline.stages.session import DISK, Access, Patience, hardware, session


def course(patience: Patience) -> list[Phase]:
    """Setup's way, as its passes announce themselves on COM1."""
    return [
        patience.phase("firmware", 10, alone=True),
        patience.phase("windowsPE", 60, r"^GOLDEN pass windowsPE", alone=True),
        patience.phase("specialize", 45, r"^GOLDEN pass specialize", alone=True),
        patience.phase("oobeSystem", 45, r"^GOLDEN pass oobeSystem", alone=True),
        patience.phase("bootstrap", 20, r"^GOLDEN step bootstrap 1/"),
        patience.phase("ssh", 15, r"^GOLDEN plan bootstrap", ssh=True),
        patience.phase("power off", 15),
    ]


async def refuse_failed_bootstrap(machine: Machine) -> None:
    """End at once when the first logon says that it failed: SSH will never answer.

    A restart that it asks for is none either: nobody logs on a second time to go on with the plan.
    """
    ended = r"GOLDEN (?:(?:step|plan) bootstrap .*failed.*|plan bootstrap reboot)"
    found = await machine.console.wait_for(ended, 86400)
    raise PipelineError(
        f"{machine.spec.name}: the first logon failed: {found[0]}",
        hint="see com1.log for the step; the plan is bootstrap.json",
    )


def _machine(work: Work) -> MachineSpec:
    build = work.build
    disk = work.folder / DISK
    qemu_img.create(disk, build.image.machine.disk)
    medium = artifacts.require(build.medium, build.workspace)
    discs = (medium, work.upstream("cidata") / DISC)
    # No other disk: Windows numbers disks in the order in which their drivers start, and disk 0 is
    # what the answer file makes partitions on.
    return replace(hardware(build, disk), cdroms=discs, boot_cd=medium)


async def _install(work: Work) -> tuple[str, Mapping[str, float]]:
    spec = _machine(work)
    access = Access(work.build.image.user, work.upstream("cidata") / KEY, None)
    also = (answer_cd_prompt, refuse_failed_bootstrap)
    way = course(Patience.of(work.build))
    async with session(work, spec, access, way, also) as guest:
        await guest.power_off()
    return guest.guest.host_key, guest.watcher.timings


def make(work: Work) -> Made:
    """Install, and keep the key that opens what was installed."""
    host_key, timings = run(_install(work))
    for name, mode in ((KEY, 0o600), (f"{KEY}.pub", 0o644)):
        key = (work.upstream("cidata") / name).read_bytes()
        write_bytes(work.folder / name, key, mode=mode)
    return Made(
        (DISK, KEY, f"{KEY}.pub"),
        facts={"host_key": host_key},
        timings=timings,
        tools=tools(work.build),
    )


def tools(build: Build) -> Mapping[str, str]:
    """The versions of what ran the machine."""
    workspace = build.workspace
    return {"qemu": ask_qemu(workspace).version, "accelerator": choose(workspace).name}
