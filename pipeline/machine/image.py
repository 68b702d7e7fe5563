"""Disk images, through qemu-img: made, layered, looked at, checked, converted.

Files appear by rename. A backing file is always named with its format, since guessing it from
content the guest writes would let the guest name host files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import replacing
from pipeline.foundation.process import ProgramFailed, run
from pipeline.foundation.units import Size, human_bytes

QUICK = 60.0
LONG = 4 * 3600.0
FULL = ("No space left on device", "Disk quota exceeded")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What ``qemu-img info`` says."""

    format: str
    virtual_size: int
    actual_size: int
    backing: str | None
    dirty: bool


@contextlib.contextmanager
def _room(target: Path) -> Iterator[None]:
    """Say in one sentence when the host's disk is full, instead of qemu-img's many."""
    try:
        yield
    except ProgramFailed as error:
        if not any(words in error.message for words in FULL):
            raise
        raise PipelineError(
            f"the host's disk is full: {target} could not be written",
            hint=f"free space in {target.parent}, then run it again",
        ) from error


def create(path: Path, size: Size, *, form: str = "qcow2") -> None:
    """Make an empty disk."""
    with _room(path), replacing(path) as part:
        run(["qemu-img", "create", "-q", "-f", form, part, str(int(size))], deadline=QUICK)


def overlay(path: Path, base: Path, *, size: Size | None = None, absolute: bool = False) -> None:
    """Make a copy-on-write layer over ``base``, named relative to ``path``: both can move together.

    ``size`` makes the layer's disk larger than its base. ``absolute`` names the base by its whole
    path: the layer can move alone.
    """
    whole = base.resolve()
    backing = str(whole) if absolute else os.path.relpath(whole, path.parent.resolve())
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", info(base).format]
    with replacing(path) as part:
        words = [os.fspath(part)] + ([str(int(size))] if size else [])
        run([*argv, *words], deadline=QUICK)


def info(path: Path) -> ImageInfo:
    """Format, sizes, backing file. Works beside a machine that uses the image."""
    if not path.exists():
        raise PipelineError(f"there is no disk image {path}")
    argv = ["qemu-img", "info", "--force-share", "--output=json", os.fspath(path)]
    said = json.loads(run(argv, deadline=QUICK).output)
    return ImageInfo(
        format=said["format"],
        virtual_size=said["virtual-size"],
        actual_size=said.get("actual-size", 0),
        backing=said.get("backing-filename"),
        dirty=bool(said.get("dirty-flag")),
    )


def names_files(path: Path) -> list[str]:
    """The other files that a qcow2 image names as holding its content, as it names them.

    Whoever made the image chose them: QEMU would open them with our rights.
    """
    argv = ["qemu-img", "info", "--force-share", "-f", "qcow2", "--output=json", os.fspath(path)]
    said = json.loads(run(argv, deadline=QUICK).output)
    data_file = said.get("format-specific", {}).get("data", {}).get("data-file")
    return [name for name in (said.get("backing-filename"), data_file) if name]


def check(path: Path) -> None:
    """Raise when the image's own structure is damaged; leaked clusters are only waste."""
    try:
        run(["qemu-img", "check", "-q", path], deadline=LONG, ok=(0, 3, 63))
    except ProgramFailed as error:
        raise PipelineError(
            f"the disk image {path} is damaged", hint=error.message.splitlines()[0], evidence=path
        ) from error


def convert(source: Path, target: Path, options: Sequence[str], *, form: str = "qcow2") -> None:
    """Copy an image with its backing files into one file; ``options`` are qemu-img's."""
    with _room(target), replacing(target) as part:
        argv = ["qemu-img", "convert", *options, "-f", info(source).format, "-O", form]
        run([*argv, source, part], deadline=LONG)


def resize(path: Path, size: Size) -> None:
    """Make a disk larger."""
    run(["qemu-img", "resize", "-q", "-f", info(path).format, path, str(int(size))], deadline=QUICK)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise before ``what`` begins when the filesystem of ``folder`` has less than it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PipelineError(
            f"{what} needs {human_bytes(needed)} in {folder}, where {human_bytes(free)} are free",
            hint="free some space, or set GOLDEN_OUTPUT to a larger disk",
        )
