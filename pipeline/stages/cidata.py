"""cidata: the disc that answers Setup's questions, and the credentials of this build.

In: rendered answers, the drivers that this Windows needs, agent, payloads. Out: ``cidata.iso``
(mode 0600, it holds the build's password), the build's key pair. The same credentials give the
same bytes.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.answers.credentials import Credentials, substitute
from pipeline.answers.disc import write_disc
from pipeline.guest.keys import make_key_pair
from pipeline.inputs.drivers import read_drivers
from pipeline.stages import artifacts, payloads, rendering
from pipeline.stages.build import Build, Made, Work

LABEL = "GOLDEN"
DISC = "cidata.iso"
KEY = "build-key"


def make(work: Work) -> Made:
    """Generate credentials and write the disc."""
    build = work.build
    public_key = make_key_pair(work.folder / KEY)
    plan = payloads.resolved(build, rendering.bootstrap(build))
    answers = {
        "autounattend.xml": (work.upstream("render") / "autounattend.xml").read_bytes(),
        "golden/bootstrap.json": plan.json(),
    }
    files: dict[str, bytes | Path] = {
        **substitute(answers, Credentials.generate(public_key)),
        **{f"golden/payload/{name}": data for name, data in plan.payloads.items()},
        **_drivers(build),
        "golden/agent.ps1": rendering.guest_script(build, "agent.ps1"),
    }
    write_disc(work.folder / DISC, LABEL, files, private=True)
    return Made((DISC, KEY, f"{KEY}.pub"))


def _drivers(build: Build) -> dict[str, bytes | Path]:
    """Just the drivers that this release needs; Setup scans ``$WinPEDriver$`` on any medium."""
    image = build.image
    disc = artifacts.require(build.pins[image.drivers.pin], build.workspace)
    found = read_drivers(disc, image.release, build.facts.architecture, image.drivers.setup)
    return {
        f"$WinPEDriver$/{driver.name}/{name}": data
        for driver in found
        for name, data in driver.files.items()
    }
