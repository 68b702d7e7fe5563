"""What the tests of answer files look at: the shipped images, rendered, and files by others."""

from __future__ import annotations

import functools
from pathlib import Path

from pipeline.answers.credentials import Credentials
from pipeline.answers.render import render
from pipeline.definitions.loader import load
from pipeline.definitions.model import (
    Definitions,
    Drivers,
    Edition,
    Image,
    Machine,
    MediaFacts,
    Release,
)
from pipeline.foundation.paths import Workspace

FOREIGN = Path(__file__).with_name("foreign")
TEMPLATES = Workspace.default().templates
EDITION = "Windows Sample & Co"
FACTS = MediaFacts("26100", "amd64", "en-US", (Edition(1, EDITION),), 180)


def image(
    release: Release = Release.SERVER_2025,
    machine: Machine | None = None,
    openssh: str | None = None,
    rehearsal: bool = False,
) -> Image:
    """An image made by hand."""
    return Image(
        name="sample",
        title="Sample",
        release=release,
        media="sample-iso",
        edition=EDITION,
        drivers=Drivers("virtio-win"),
        winfsp="winfsp",
        openssh=openssh,
        rehearsal=rehearsal,
        machine=machine or Machine(),
    )


def answers(made: Image | None = None, facts: MediaFacts = FACTS) -> dict[str, str]:
    """The answer files of an image made by hand, as text."""
    files = render(made or image(), facts, Credentials.placeholder(), TEMPLATES)
    return {name: data.decode() for name, data in files.items()}


@functools.cache
def definitions() -> Definitions:
    """The definitions of this checkout, whatever the environment says."""
    return load(Workspace.default(), {})


@functools.cache
def shipped() -> dict[str, tuple[Image, MediaFacts]]:
    """Every shipped image with what its medium is known to hold."""
    found = {}
    for name, defined in definitions().images.items():
        facts = definitions().pins[defined.media].media
        assert facts is not None, defined.media
        found[name] = (defined, facts)
    return found


@functools.cache
def rendered(name: str) -> dict[str, bytes]:
    """The answer files of a shipped image, with placeholders."""
    defined, facts = shipped()[name]
    return render(defined, facts, Credentials.placeholder(), TEMPLATES)


def correct() -> dict[str, bytes]:
    """Every file that is known to be right: all shipped renders, and files written by others."""
    ours = {f"{name}/{file}": data for name in shipped() for file, data in rendered(name).items()}
    others = {f"foreign/{path.name}": path.read_bytes() for path in sorted(FOREIGN.glob("*.xml"))}
    return ours | others
