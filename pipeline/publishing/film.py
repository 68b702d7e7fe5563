"""The film strip: what the guest's screen showed, small enough to lie inside one HTML file.

In: the evidence folders of the stages. Out: frames in the order they were taken, as data URLs.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH = 480
"""Pixels: readable on a phone, some 10 KB a frame."""
QUALITY = 60
MOST_FRAMES = 24
_SHOT = re.compile(r"(\d{4,})-(.+)\.(png|ppm)")


@dataclass(frozen=True, slots=True)
class Frame:
    """One screenshot: where it was taken, and the picture as a data URL."""

    stage: str
    phase: str
    url: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Shot:
    stage: str
    phase: str
    path: Path


def film_strip(evidence: Sequence[tuple[str, Path]], most: int = MOST_FRAMES) -> list[Frame]:
    """Frames from the evidence folders (with their stage's name), at most ``most`` of them.

    Of too many, those that are dropped lie evenly between the first and the last. A file that is no
    picture (the disk was full when it was written) is left out.
    """
    shots = [shot for stage, folder in evidence for shot in _shots(stage, folder)]
    frames = (_frame(shot) for shot in _spread(shots, most))
    return [frame for frame in frames if frame]


def _shots(stage: str, folder: Path) -> Iterator[_Shot]:
    """Those of the folder itself, then of its parts, each in the order they were taken."""
    found = [
        (path.parent, int(match[1]), _Shot(_name(stage, folder, path), match[2], path))
        for path in folder.rglob("*")
        if (match := _SHOT.fullmatch(path.name))
    ]
    yield from (shot for *_, shot in sorted(found, key=lambda item: item[:2]))


def _name(stage: str, folder: Path, path: Path) -> str:
    part = path.parent.relative_to(folder).as_posix()
    return stage if part == "." else f"{stage}, {part}"


def _spread(shots: Sequence[_Shot], most: int) -> Sequence[_Shot]:
    if len(shots) <= most:
        return shots
    step = (len(shots) - 1) / (most - 1)
    return [shots[round(number * step)] for number in range(most)]


def _frame(shot: _Shot) -> Frame | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(shot.path) as picture:
            small = picture.convert("RGB")
    except (UnidentifiedImageError, OSError):
        return None
    small.thumbnail((WIDTH, WIDTH))
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=QUALITY)
    url = f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Frame(shot.stage, shot.phase, url, *small.size)
