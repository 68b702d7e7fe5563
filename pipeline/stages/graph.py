"""The stages of an image, in the order of the graph.

    media ──┐
    render ─┴► cidata ──► install ──► provision ──► check
                                          └──► seal ──► prove ──► publish

Installed and provisioned disks can be shared between hosts (``layers``). What goes into each stage
is in ``inputs``; how it is made in the module of its name, which is imported only when the stage
runs. A ``revision`` is raised when a stage's code makes something else of the same inputs.
"""

from __future__ import annotations

from pipeline.stages import inputs, rendering, tonight
from pipeline.stages.build import Stage

MEDIA = Stage(
    "media",
    "reading the medium",
    inputs.media,
    products=("medium.json",),
    artifacts=lambda build: (build.image.media,),
)
RENDER = Stage(
    "render",
    "rendering answers",
    inputs.render,
    products=("autounattend.xml", "unattend-oobe.xml", "bootstrap.json", "provision.json"),
)
CIDATA = Stage(
    "cidata",
    "building the disc of answers",
    inputs.cidata,
    stands_on=("render",),
    after=("media",),
    artifacts=lambda build: (build.image.drivers.pin, *rendering.bootstrap(build).pins()),
)
INSTALL = Stage(
    "install",
    "installing Windows",
    inputs.install,
    stands_on=("cidata",),
    after=("media",),
    artifacts=lambda build: (build.image.media,),
    disk_part=1 / 2,
    worn=tonight.installed_too_long_ago,
)
PROVISION = Stage(
    "provision",
    "provisioning",
    inputs.provision,
    stands_on=("install",),
    disks=("install",),
    after=("render",),
    artifacts=lambda build: rendering.provision(build).pins(),
    disk_part=1 / 8,
    worn=tonight.installed_too_long_ago,
)
CHECK = Stage(
    "check",
    "checking",
    inputs.check,
    stands_on=("provision",),
    artifacts=lambda build: (
        *rendering.bootstrap(build).pins(),
        *rendering.provision(build).pins(),
    ),
)
SEAL = Stage(
    "seal",
    "sealing",
    inputs.seal,
    stands_on=("provision",),
    after=("check",),
    disk_part=1 / 8,
    worn=tonight.installed_too_long_ago,
)
PROVE = Stage(
    "prove",
    "proving a clone",
    inputs.prove,
    stands_on=("seal",),
    artifacts=lambda build: rendering.provision(build).pins(),
)
PUBLISH = Stage(
    "publish",
    "publishing",
    inputs.publish,
    stands_on=("seal",),
    after=("check", "prove"),
    artifacts=lambda build: (build.image.drivers.pin,),
    elsewhere=tonight.unpublished,
    disk_part=1 / 4,
)

STAGES = (MEDIA, RENDER, CIDATA, INSTALL, PROVISION, CHECK, SEAL, PROVE, PUBLISH)
