"""cidata: the disc that answers Setup's questions, and the credentials of this build.

In: rendered answers, the drivers that this Windows needs, agent, payloads. Out: ``cidata.iso`` (mode
0600, it holds the build's password), the build's key pair. The same credentials give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.answers.plans import recipe_identity
from pipeline.foundation.files import canonical_json
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
        "bootstrap": recipe_identity(render.bootstrap(build)),
        "payloads": payloads.identities(build, render.bootstrap(build)),
        "drivers": {
            "disc": artifacts.identity(build.pins[drivers.pin]),
            "release": str(build.image.release),
            "names": list(drivers.setup),
        },
        "agent": render.guest_script(build.workspace.templates, "agent.ps1"),
    }


def make(work: Work) -> Made:
    """Generate credentials and write the disc."""
    from pipeline.answers.credentials import Credentials, substitute
    from pipeline.answers.disc import write_disc
    from pipeline.guest.keys import make_key_pair

    build = work.build
    public = make_key_pair(work.folder / KEY)
    answers = {
        "autounattend.xml": (work.upstream("render") / "autounattend.xml").read_bytes(),
        **_bootstrap(build),
    }
    files: dict[str, bytes | Path] = {**substitute(answers, Credentials.generate(public))}
    files |= payloads.files(build, render.bootstrap(build), "golden/payload")
    files |= _drivers(build)
    files["golden/agent.ps1"] = build.workspace.templates / "guest" / "agent.ps1"
    write_disc(work.folder / DISC, LABEL, files, private=True)
    return Made((DISC, KEY, f"{KEY}.pub"))


def _bootstrap(build: Build) -> dict[str, bytes]:
    plan = payloads.resolved(build, render.bootstrap(build))
    return {"golden/bootstrap.json": canonical_json(plan) + b"\n"}


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
    artifacts=lambda build: (build.image.drivers.pin, *payloads.pins(render.bootstrap(build))),
)
