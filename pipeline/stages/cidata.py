"""cidata: the disc that answers Setup's questions, and the credentials of this build.

In: rendered answers, the drivers that this Windows needs, agent, payloads. Out: ``cidata.iso``
(mode 0600, it holds the build's password), the build's key pair. The same credentials give the
same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.foundation.files import sha256_file
from pipeline.stages import artifacts, payloads, render
from pipeline.stages.build import Build, Made, Stage, Work
from pipeline.stages.receipts import Inputs

REVISION = 1
LABEL = "GOLDEN"
DISC = "cidata.iso"
KEY = "build-key"


def inputs(build: Build, _: Mapping[str, str]) -> Inputs:
    """The rendered bytes (not the templates), drivers, agent and payloads."""
    drivers = build.image.drivers
    return {
        "revision": REVISION,
        "autounattend.xml": render.digest(render.answer_files(build)["autounattend.xml"]),
        "bootstrap": payloads.identity(build, render.bootstrap(build)),
        "drivers": {
            "disc": artifacts.identity(build.pins[drivers.pin]),
            "release": str(build.image.release),
            "names": list(drivers.setup),
        },
        "agent": sha256_file(render.guest_script(build, "agent.ps1")),
    }


def make(work: Work) -> Made:
    """Generate credentials and write the disc."""
    from pipeline.answers.credentials import Credentials, substitute
    from pipeline.answers.disc import write_disc
    from pipeline.guest.keys import make_key_pair

    build = work.build
    public_key = make_key_pair(work.folder / KEY)
    plan = payloads.resolved(build, render.bootstrap(build))
    answers = {
        "autounattend.xml": (work.upstream("render") / "autounattend.xml").read_bytes(),
        "golden/bootstrap.json": plan.json(),
    }
    files: dict[str, bytes | Path] = {
        **substitute(answers, Credentials.generate(public_key)),
        **{f"golden/payload/{name}": data for name, data in plan.payloads.items()},
        **_drivers(build),
        "golden/agent.ps1": render.guest_script(build, "agent.ps1"),
    }
    write_disc(work.folder / DISC, LABEL, files, private=True)
    return Made((DISC, KEY, f"{KEY}.pub"))


def _drivers(build: Build) -> dict[str, bytes | Path]:
    """Just the drivers that this release needs; Setup scans ``$WinPEDriver$`` on any medium."""
    from pipeline.inputs.drivers import read_drivers

    image = build.image
    disc = artifacts.require(build.pins[image.drivers.pin], build.workspace)
    found = read_drivers(disc, image.release, build.facts.architecture, image.drivers.setup)
    return {
        f"$WinPEDriver$/{driver.name}/{name}": data
        for driver in found
        for name, data in driver.files.items()
    }


STAGE = Stage(
    name="cidata",
    title="building the disc of answers",
    inputs=inputs,
    make=make,
    stands_on=("render",),
    artifacts=lambda build: (build.image.drivers.pin, *render.bootstrap(build).pins()),
)
