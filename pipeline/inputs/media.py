"""Windows media: which editions an ISO offers.

Goes in: a Windows ISO, as a path or a seekable stream. Comes out: a :class:`Medium`, read in place
from the header and XML of ``sources/install.wim``, ``install.esd`` or a split ``install.swm``; the
edition that an image asks for; and every difference from what a pin claims the medium to hold.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.definitions.model import MediaFacts
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import human_bytes
from pipeline.inputs.iso import Iso, Source, open_iso
from pipeline.inputs.wim import Wim, WimImage, read_header, read_wim

KINDS = ("install.wim", "install.esd", "install.swm")


@dataclass(frozen=True, slots=True)
class Medium:
    """What a Windows ISO holds. Where its images differ in a fact, the first one's stands."""

    name: str
    label: str
    kind: str
    architecture: str
    build: str
    languages: tuple[str, ...]
    images: tuple[WimImage, ...]


def read_medium(source: Source, name: str = "") -> Medium:
    """Read the editions of a Windows ISO; ``name`` is what errors call it (a path names itself)."""
    with open_iso(source, name) as iso:
        kind = _kind(iso)
        path = f"sources/{kind}"
        called = f"{iso.name}: {path}"
        with iso.open(path) as stream:
            wim = read_wim(stream, called)
        _check_parts(iso, kind, wim, called)
        if not wim.images:
            raise PipelineError(f"{called}: holds no image at all")
        return _medium(iso, kind, wim)


def _medium(iso: Iso, kind: str, wim: Wim) -> Medium:
    first = wim.images[0]
    languages = dict.fromkeys(language for image in wim.images for language in image.languages)
    return Medium(
        name=iso.name,
        label=iso.label,
        kind=kind,
        architecture=first.architecture,
        build=first.build,
        languages=tuple(languages),
        images=wim.images,
    )


def _kind(iso: Iso) -> str:
    for kind in KINDS:
        if iso.exists(f"sources/{kind}"):
            return kind
    if any(iso.exists(f"x64/sources/{kind}") for kind in KINDS):
        hint = "it is a medium for two architectures; get the one for x64 alone"
    else:
        there = ", ".join(sorted({path.split("/")[0] for path in iso.files()})[:12])
        hint = f"is it a Windows installation medium? its root holds: {there or 'nothing'}"
    expected = ", ".join(KINDS[:-1])
    raise PipelineError(
        f"{iso.name} ({iso.label}): no sources/{expected} or {KINDS[-1]} on the disc", hint=hint
    )


def _check_parts(iso: Iso, kind: str, wim: Wim, called: str) -> None:
    """A WIM in one piece must be whole; of a split one all parts must be there and belong to it."""
    if kind != "install.swm":
        if wim.parts != 1:
            raise PipelineError(f"{called}: is part {wim.part} of {wim.parts} of a split WIM")
        return
    if wim.part != 1:
        raise PipelineError(f"{called}: is part {wim.part} instead of the first one")
    names = {number: f"sources/install{number}.swm" for number in range(2, wim.parts + 1)}
    missing = [name for name in names.values() if not iso.exists(name)]
    if missing:
        raise PipelineError(
            f"{called}: was split into {wim.parts} parts, missing: {', '.join(missing)}"
        )
    for number, name in names.items():
        with iso.open(name) as stream:
            header = read_header(stream, f"{iso.name}: {name}")
        if (header.identity, header.part, header.parts) != (wim.identity, number, wim.parts):
            raise PipelineError(
                f"{iso.name}: {name} is not part {number} of {wim.parts} of {called}"
            )


def find_edition(medium: Medium, name: str) -> WimImage:
    """The image whose NAME is ``name``, as Windows Setup compares it.

    A wrong name lists what there is, and recognises a display name, an edition id or an index.
    """
    for image in medium.images:
        if image.name == name:
            return image
    listed = "\n".join(f"    {image.index}  {image.name}" for image in medium.images)
    raise PipelineError(
        f"{medium.name} has no edition {name!r}; it holds:\n{listed}", hint=_meant(medium, name)
    )


def _meant(medium: Medium, name: str) -> str:
    """What a wrong edition name probably stands for."""
    folded = name.strip().casefold()
    for what, field in (
        ("in another spelling of", "name"),
        ("the DISPLAYNAME of", "display_name"),
        ("the DESCRIPTION of", "description"),
        ("the EDITIONID of", "edition_id"),
        ("the index of", "index"),
    ):
        found = [i for i in medium.images if str(getattr(i, field)).strip().casefold() == folded]
        if found:
            names = " or ".join(repr(image.name) for image in found)
            return f"{name!r} is {what} {names}: write that name"
    near = difflib.get_close_matches(name, [image.name for image in medium.images], n=1)
    return f"did you mean {near[0]!r}?" if near else "use one of these names"


def check_against(medium: Medium, facts: MediaFacts) -> list[str]:
    """Every difference between what a pin claims and what the medium holds, as sentences."""
    differences = [
        f"{what} is {found or 'not told'}, the pin says {claimed}"
        for what, found, claimed in (
            ("the build", medium.build, facts.build),
            ("the architecture", medium.architecture, facts.architecture),
        )
        if found != claimed
    ]
    if facts.language.casefold() not in (known.casefold() for known in medium.languages):
        found = ", ".join(medium.languages) or "not told"
        differences.append(f"the language is {found}, the pin says {facts.language}")
    differences += _edition_differences(medium, facts)
    evaluation = [image.name for image in medium.images if image.evaluation]
    if facts.evaluation_days is None and evaluation:
        differences.append(f"{evaluation[0]!r} is an evaluation, the pin names no evaluation_days")
    if facts.evaluation_days is not None and not evaluation:
        differences.append("no edition is an evaluation, but the pin names evaluation_days")
    return differences


def _edition_differences(medium: Medium, facts: MediaFacts) -> list[str]:
    found = {image.name: image.index for image in medium.images}
    claimed = {edition.name: edition.index for edition in facts.editions}
    return [
        *(f"the edition {name!r} is not there" for name in claimed if name not in found),
        *(f"the edition {name!r} is not in the pin" for name in found if name not in claimed),
        *(
            f"the edition {name!r} has index {found[name]}, the pin says {index}"
            for name, index in claimed.items()
            if found.get(name, index) != index
        ),
    ]


def describe(medium: Medium) -> str:
    """The medium as a small table for people."""
    rows = [("index", "name", "edition id", "type", "size")]
    rows += [
        (str(i.index), i.name, i.edition_id, i.installation_type, human_bytes(i.size))
        for i in medium.images
    ]
    head = [
        ("medium", medium.name),
        ("label", medium.label),
        ("build", f"{medium.build} {medium.architecture}"),
        ("language", ", ".join(medium.languages)),
        ("file", f"sources/{medium.kind}"),
    ]
    lines = [f"{key:<9} {value}" for key, value in head]
    return "\n".join([*lines, "", *_table(rows)]) + "\n"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def as_json(medium: Medium) -> dict[str, Any]:
    """The medium as plain data; its keys stay as they are."""
    return asdict(medium) | {"images": [asdict(image) for image in medium.images]}


def as_facts(medium: Medium, evaluation_days: int | None = None) -> dict[str, Any]:
    """The medium as the ``media:`` part of a pin, to paste or write into it."""
    language = medium.images[0].default_language or next(iter(medium.languages), "")
    facts: dict[str, Any] = {
        "build": medium.build,
        "architecture": medium.architecture,
        "language": language,
        "editions": [{"index": image.index, "name": image.name} for image in medium.images],
    }
    return facts if evaluation_days is None else facts | {"evaluation_days": evaluation_days}
