"""Mistakes put into correct answer files: what a mutation is, and the changes they are made of."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.answers.findings import Finding
from pipeline.answers.validate import validate
from pipeline.definitions.model import Firmware, Machine, Release
from tests.unit.answers import samples

Change = Callable[[str], str]
LONG = "x" * 300


@dataclass(frozen=True, slots=True)
class Mutation:
    """A kind of mistake: the rule that must find it, the file it is put into, and how."""

    kind: str
    rule: str
    base: str
    change: Change

    def findings(self) -> list[Finding]:
        """What lint says of the mutated file."""
        return _findings(self.mutated())

    def mutated(self) -> str:
        """The file with the mistake in it."""
        original = bases()[self.base]
        mutated = self.change(original)
        assert mutated != original, f"{self.kind}: the mutation changes nothing"
        return mutated

    def caught(self) -> bool:
        """Whether the rule that should find it did."""
        return any(finding.rule == self.rule for finding in self.findings())


@functools.cache
def _findings(text: str) -> list[Finding]:
    return validate(text.encode(), "mutated.xml")


@functools.cache
def bases() -> dict[str, str]:
    """The correct files that mistakes are put into."""
    uefi = samples.image(Release.WINDOWS_11)
    bios = samples.image(Release.SERVER_2022, Machine(firmware=Firmware.BIOS))
    domain = (samples.FOREIGN / "server-domain.xml").read_text()
    client = (samples.FOREIGN / "client-bios.xml").read_text()
    return {
        "uefi": samples.answers(uefi)["autounattend.xml"],
        "bios": samples.answers(bios)["autounattend.xml"],
        "oobe": samples.answers(uefi)["unattend-oobe.xml"],
        "domain": domain,
        "client": client,
    }


def swap(old: str, new: str, which: int = 0) -> Change:
    """Put ``new`` where the ``which``-th ``old`` stands."""

    def change(text: str) -> str:
        parts = text.split(old)
        assert len(parts) > which + 1, f"the file has no {old!r} number {which}"
        return old.join(parts[: which + 1]) + new + old.join(parts[which + 1 :])

    return change


def drop(old: str, which: int = 0) -> Change:
    """Remove the ``which``-th ``old``."""
    return swap(old, "", which)


def element(name: str, new: str, which: int = 0) -> Change:
    """Replace the ``which``-th element ``name``, whatever it holds."""

    def change(text: str) -> str:
        found = list(re.finditer(rf"<{name}(?: [^>]*)?>.*?</{name}>", text, re.DOTALL))
        assert len(found) > which, f"the file has no element {name} number {which}"
        start, end = found[which].span()
        return text[:start] + new + text[end:]

    return change


def within(name: str, change: Change, which: int = 0) -> Change:
    """Apply ``change`` inside the ``which``-th element ``name``."""

    def outer(text: str) -> str:
        found = list(re.finditer(rf"<{name}(?: [^>]*)?>.*?</{name}>", text, re.DOTALL))
        start, end = found[which].span()
        return text[:start] + change(text[start:end]) + text[end:]

    return outer


def again(name: str, which: int = 0) -> Change:
    """Write the ``which``-th element ``name`` twice."""

    def change(text: str) -> str:
        found = list(re.finditer(rf"<{name}(?: [^>]*)?>.*?</{name}>", text, re.DOTALL))
        end = found[which].end()
        return text[:end] + found[which][0] + text[end:]

    return change


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(text: str) -> str:
        for one in changes:
            text = one(text)
        return text

    return change


def in_pass(old: str, new: str) -> Change:
    """Give a pass another name."""
    return swap(f'pass="{old}"', f'pass="{new}"')
