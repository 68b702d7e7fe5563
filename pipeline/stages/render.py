"""render: answer files and plans from definitions and templates, validated.

Everything here is computed from files of the checkout: nothing is downloaded, and nothing rendered
holds a secret (``answers.credentials`` says how those get onto the disc).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from pipeline.answers.plans import Plan, bootstrap_plan, provision_plan, recipe_identity
from pipeline.definitions.model import Image, MediaFacts
from pipeline.foundation.files import canonical_json, sha256_bytes, sha256_file, write_bytes
from pipeline.stages.build import Build, Made, Stage, Work
from pipeline.stages.receipts import Inputs

REVISION = 1
PRODUCTS = ("autounattend.xml", "unattend-oobe.xml", "bootstrap.json", "provision.json")


@functools.cache
def _rendered(image: Image, facts: MediaFacts, templates: Path) -> dict[str, bytes]:
    from pipeline.answers.credentials import Credentials
    from pipeline.answers.render import render

    return render(image, facts, Credentials.placeholder(), templates)


def answer_files(build: Build) -> dict[str, bytes]:
    """The answer files, with placeholders for credentials."""
    return _rendered(build.image, build.facts, build.workspace.templates)


def bootstrap(build: Build) -> Plan:
    """The plan that makes the guest reachable."""
    return bootstrap_plan(build.image)


def provision(build: Build) -> Plan:
    """The plan that makes the guest what the image declares."""
    return provision_plan(build.image)


def digest(data: bytes) -> str:
    """What stands for a small file in a stage's inputs."""
    return sha256_bytes(data)


def guest_script(build: Build, name: str) -> Path:
    """A script that the guest runs."""
    return build.workspace.templates / "guest" / name


def inputs(build: Build, _: Mapping[str, str]) -> Inputs:
    """The templates, and everything that the definitions say."""
    from pipeline.answers.render import sources
    from pipeline.definitions.identity import identity

    templates = build.workspace.templates
    return {
        "revision": REVISION,
        "image": identity(build.image),
        "facts": identity(build.facts),
        "templates": {path.name: sha256_file(path) for path in sources(templates)},
        "bootstrap": recipe_identity(bootstrap(build)),
        "provision": recipe_identity(provision(build)),
    }


def make(work: Work) -> Made:
    """Write the files; raises with every problem that validation found, by file and line."""
    from pipeline.answers.validate import require_valid

    build = work.build
    files = answer_files(build)
    for name, data in files.items():
        require_valid(data, f"{build.image.name}/{name}")
    plans = {"bootstrap.json": bootstrap(build), "provision.json": provision(build)}
    for name, plan in plans.items():
        files[name] = canonical_json(recipe_identity(plan)) + b"\n"
    for name in PRODUCTS:
        write_bytes(work.folder / name, files[name])
    return Made(PRODUCTS)


STAGE = Stage(
    name="render",
    title="rendering answers",
    inputs=inputs,
    make=make,
    stands_on=("media",),
    products=PRODUCTS,
)
