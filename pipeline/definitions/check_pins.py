"""Pins checked as wholes: one source, a digest for what comes from elsewhere, sensible facts.

Goes in: the section of a pin. Comes out: entries in the list of problems.
"""

from __future__ import annotations

from collections import Counter

from pipeline.definitions.model import Kind
from pipeline.definitions.nodes import Section
from pipeline.definitions.problems import Problems, quoted

SOURCES = ("urls", "file", "made")


def check_pin(pin: Section, problems: Problems) -> None:
    """Report what is wrong with a pin beyond its single values."""
    sources = [key for key in SOURCES if pin.given(key)]
    if len(sources) != 1:
        seen = " and ".join(sources) or "none of them"
        problems.add(
            pin.place, pin.path, f"expected exactly one of urls, file and made, found {seen}"
        )
    if pin.given("urls") and pin.empty("urls"):
        problems.add(pin.at("urls"), pin.named("urls"), "expected at least one address, found none")
    _digest(pin, sources, problems)
    _media(pin, problems)


def _digest(pin: Section, sources: list[str], problems: Problems) -> None:
    if "made" in sources:
        for key in ("sha256", "size"):
            if pin.given(key):
                text = "leave it out: what this project makes is known by its recipe"
                problems.add(pin.at(key), pin.named(key), text)
    elif sources and not pin.given("sha256"):
        text = "missing; expected the digest of the file, as sha256sum prints it"
        problems.add(pin.place, pin.named("sha256"), text)


def _media(pin: Section, problems: Problems) -> None:
    media = pin.get("media")
    if media is None:
        return
    if pin.get("kind") not in (None, Kind.ISO):
        text = f'expected "iso" for a Windows medium, found {quoted(pin.get("kind"))}'
        problems.add(pin.at("kind"), pin.named("kind"), text)
    editions = media.get("editions")
    if media.empty("editions"):
        problems.add(media.at("editions"), media.named("editions"), "expected at least one edition")
    for key in ("index", "name"):
        counts = Counter(edition.get(key) for edition in editions or ())
        for edition in editions or ():
            if edition.get(key) is not None and counts[edition.get(key)] > 1:
                text = f"two editions have the {key} {quoted(str(edition.get(key)))}"
                problems.add(edition.at(key), edition.named(key), text)
