"""What an image's guest is told: answer files and plans, computed from the checkout alone.

Nothing here is downloaded, and nothing holds a secret: credentials are placeholders until the disc
is written (``answers.credentials``).
"""

from __future__ import annotations

import functools
from pathlib import Path

from pipeline.answers.planning import Plan
from pipeline.answers.plans import bootstrap_plan, provision_plan
from pipeline.definitions.model import Image, MediaFacts
from pipeline.stages.build import Build


@functools.cache
def _rendered(image: Image, facts: MediaFacts, templates: Path) -> dict[str, bytes]:
    from pipeline.answers.credentials import Credentials
    from pipeline.answers.render import render

    return render(image, facts, Credentials.placeholder(), templates)


def answer_files(build: Build) -> dict[str, bytes]:
    """The answer files, with placeholders for credentials."""
    return dict(_rendered(build.image, build.facts, build.workspace.templates))


def bootstrap(build: Build) -> Plan:
    """The plan that makes the guest reachable."""
    return bootstrap_plan(build.image)


def provision(build: Build) -> Plan:
    """The plan that makes the guest what the image declares."""
    return provision_plan(build.image)


def guest_script(build: Build, name: str) -> Path:
    """A script that the guest runs."""
    return build.workspace.templates / "guest" / name
