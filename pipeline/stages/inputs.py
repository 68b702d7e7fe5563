"""What goes into each stage: one function a stage, pure and quick.

In: a build and the ids of the stages before. Out: JSON-able data whose digest is the stage's id,
and which a receipt keeps so that ``golden plan`` can name the very input that changed. No artifact
is needed to compute them: one is known by its pin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.definitions.identity import identity
from pipeline.definitions.model import FirstBoot
from pipeline.foundation.files import sha256_bytes, sha256_file
from pipeline.publishing import consumers
from pipeline.publishing.version import CONVERT_OPTIONS
from pipeline.stages import artifacts, payloads, rendering
from pipeline.stages.build import Build

Ids = Mapping[str, str]
Inputs = dict[str, Any]

# What first boot needs in the sealed machine; the last one is run at the end of Setup.
FIRST_BOOT = {
    FirstBoot.GOLDEN: ("firstboot.ps1", "SetupComplete.cmd"),
    FirstBoot.CLOUDBASE_INIT: ("firstboot.ps1", "cloudbase-complete.cmd"),
}
SYSPREP_SECONDS = 1800


def media(build: Build, _: Ids) -> Inputs:
    """The medium, what is claimed of it, and the edition wanted."""
    return {
        "medium": artifacts.identity(build.medium),
        "claims": identity(build.facts),
        "edition": build.image.edition,
    }


def render(build: Build, _: Ids) -> Inputs:
    """The templates, and everything that the definitions say."""
    from pipeline.answers.plans import recipe_identity
    from pipeline.answers.render import sources

    return {
        "image": identity(build.image),
        "facts": identity(build.facts),
        "templates": {p.name: sha256_file(p) for p in sources(build.workspace.templates)},
        "bootstrap": recipe_identity(rendering.bootstrap(build)),
        "provision": recipe_identity(rendering.provision(build)),
    }


def cidata(build: Build, _: Ids) -> Inputs:
    """The rendered bytes (not the templates), drivers, agent and payloads."""
    drivers = build.image.drivers
    return {
        "autounattend.xml": sha256_bytes(rendering.answer_files(build)["autounattend.xml"]),
        "bootstrap": payloads.identity(build, rendering.bootstrap(build)),
        "drivers": {
            "disc": artifacts.identity(build.pins[drivers.pin]),
            "release": str(build.image.release),
            "names": list(drivers.setup),
        },
        "agent": sha256_file(rendering.guest_script(build, "agent.ps1")),
    }


def install(build: Build, ids: Ids) -> Inputs:
    """The disc of answers, the medium, and the hardware."""
    return {
        "cidata": ids["cidata"],
        "medium": artifacts.identity(build.medium),
        "machine": identity(build.image.machine),
        "devices": ["virtio-blk"],
    }


def provision(build: Build, ids: Ids) -> Inputs:
    """The base disk, the plan with its payloads, the agent."""
    return {
        "install": ids["install"],
        "provision": payloads.identity(build, rendering.provision(build)),
        "agent": sha256_file(rendering.guest_script(build, "agent.ps1")),
        "devices": ["virtio-blk", "virtio-scsi", "virtio-fs"],
    }


def check(_: Build, ids: Ids) -> Inputs:
    """The provisioned disk."""
    return {"provision": ids["provision"]}


def seal(build: Build, ids: Ids) -> Inputs:
    """The provisioned disk, the scripts, the answer file of the first boot."""
    scripts = {n: sha256_file(rendering.guest_script(build, n)) for n in seal_scripts(build)}
    return {
        "provision": ids["provision"],
        "scripts": scripts,
        "unattend-oobe.xml": sha256_bytes(rendering.answer_files(build)["unattend-oobe.xml"]),
        "config": seal_config(build),
    }


def seal_scripts(build: Build) -> tuple[str, ...]:
    """The script that seals, and what stays for first boot."""
    return ("seal.ps1", *FIRST_BOOT[build.image.first_boot])


def seal_config(build: Build) -> Inputs:
    """``seal.json`` of the guest contract."""
    service = build.image.first_boot
    return {
        "schema": 1,
        "user": build.image.user,
        "generalise": True,
        "timeout_seconds": SYSPREP_SECONDS,
        "first_boot": {"service": str(service), "files": list(FIRST_BOOT[service])},
    }


def prove(_: Build, ids: Ids) -> Inputs:
    """The sealed disk."""
    return {"seal": ids["seal"]}


def publish(build: Build, ids: Ids) -> Inputs:
    """The stages that it shows, the form it takes, and the files for those who use it."""
    shown = ("install", "provision", "check", "seal", "prove")
    return {
        **{stage: ids[stage] for stage in shown},
        "title": build.image.title,
        "format": list(CONVERT_OPTIONS),
        "consumers": consumers.identity(build.workspace.templates),
        "evaluation_days": build.facts.evaluation_days,
    }
