"""seal: clean, remove every build credential, generalise; the guest powers itself off.

In: the provisioned disk, the seal and first-boot scripts. Out: ``disk.qcow2``, an overlay that
knows nothing of its build. Only a guest that says it was generalised and then shuts down is
believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import canonical_json
from pipeline.guest.agent import keep_results, parse_run, require_done
from pipeline.guest.powershell import file_command, windows_path
from pipeline.guest.ssh import FOLDER, Guest
from pipeline.machine.loop import run
from pipeline.stages import rendering
from pipeline.stages.build import Build, Made, Work
from pipeline.stages.inputs import seal_config, seal_scripts
from pipeline.stages.session import (
    DISK,
    Patience,
    Session,
    build_access,
    hardware,
    overlay,
    phases,
    session,
)

OOBE = "unattend-oobe.xml"
SYSPREP_LOG = "/C:/Windows/System32/Sysprep/Panther/setuperr.log"


async def _upload(build: Build, guest: Guest) -> None:
    files: dict[str, bytes | Path] = {
        name: rendering.guest_script(build, name) for name in seal_scripts(build)
    }
    files[OOBE] = rendering.answer_files(build)[OOBE]
    files["seal.json"] = canonical_json(seal_config(build))
    for name, content in files.items():
        await guest.put(content, f"{FOLDER}/{name}")


async def _run(guest: Guest, evidence: Path, deadline: float) -> None:
    """Run the seal script; when it says ``done``, generalising has been handed to a task."""
    script, config_file = (windows_path(f"{FOLDER}/{name}") for name in ("seal.ps1", "seal.json"))
    said = await guest.run(file_command(script, "-Config", config_file), deadline)
    done = parse_run("seal", said)
    keep_results(evidence, done.results)
    require_done(done)


async def _generalised(work: Work, guest: Session) -> None:
    """Wait for the guest's word and its own power-off; bring sysprep's log when it fails."""
    machine, watcher = guest.machine, guest.watcher
    watcher.enter("generalise")
    watcher.expect_power_off()
    deadline = watcher.phase.deadline
    said = await machine.console.wait_for(r"GOLDEN seal (generalised|failed.*)", deadline)
    if said[1] != "generalised":
        with suppress(PipelineError):
            log = await guest.guest.get(SYSPREP_LOG)
            (work.evidence / "setuperr.log").write_bytes(log)
        raise PipelineError(
            f"{work.build.image.name}: sealing {said[1]}",
            hint="setuperr.log is sysprep's own account, com1.log has the steps before",
        )
    watcher.enter("power off")
    ending = await machine.wait_end(watcher.phase.deadline)
    if not ending.clean:
        raise PipelineError(f"{work.build.image.name}: the sealed guest ended with {ending.reason}")


async def _seal(work: Work) -> Mapping[str, float]:
    build = work.build
    patience = Patience.of(build)
    middle = (patience.phase("seal", 45), patience.phase("generalise", 40))
    spec = hardware(build, overlay(work, "provision"))
    async with session(work, spec, build_access(work), phases(work, *middle)) as guest:
        guest.watcher.enter("seal")
        await _upload(build, guest.guest)
        await _run(guest.guest, work.evidence, guest.watcher.phase.deadline)
        await _generalised(work, guest)
    return guest.watcher.timings


def make(work: Work) -> Made:
    """Seal the disk."""
    return Made((DISK,), timings=run(_seal(work)))
