"""Reading files from the disk of a machine that has ended, without mounting it and without root.

Goes in: a disk image, paths in its largest partition, and a scratch folder. Comes out: those files
that are there. qemu-img copies that partition alone, and only what was ever written to it; 7z reads
NTFS (and what else there is) from the copy, also when the guest was cut off.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.process import run
from pipeline.machine import image

SECTOR = 512
HEAD = 1 << 20
COPYING, READING = 300.0, 60.0
ENTRIES = 128


@dataclass(frozen=True, slots=True)
class Partition:
    """Where a partition lies, in bytes."""

    offset: int
    size: int


def partitions(head: bytes) -> list[Partition]:
    """The partitions that the first mebibyte of a disk names; GPT, else MBR."""
    found = list(_gpt(head) if head[SECTOR : SECTOR + 8] == b"EFI PART" else _mbr(head))
    return [partition for partition in found if partition.size > 0]


def _gpt(head: bytes) -> Iterator[Partition]:
    table, count, size = struct.unpack_from("<QII", head, SECTOR + 72)
    for number in range(min(count, ENTRIES)):
        entry = head[table * SECTOR + number * size :][:size]
        if len(entry) >= 48 and any(entry[:16]):
            first, last = struct.unpack_from("<QQ", entry, 32)
            yield Partition(first * SECTOR, (last - first + 1) * SECTOR)


def _mbr(head: bytes) -> Iterator[Partition]:
    if head[510:512] != b"\x55\xaa":
        return
    for number in range(4):
        kind, first, count = struct.unpack_from("<4xB3xII", head, 446 + 16 * number)
        if kind:
            yield Partition(first * SECTOR, count * SECTOR)


def _copy(disk: Path, form: str, part: Partition, target: Path) -> None:
    node = {
        "driver": "raw",
        "offset": part.offset,
        "size": part.size,
        "file": {"driver": form, "file": {"driver": "file", "filename": str(disk)}},
    }
    source = f"json:{json.dumps(node)}"
    run(["qemu-img", "convert", "-O", "raw", source, target], deadline=COPYING)


def _written(disk: Path) -> int:
    """The bytes that a disk and the disks below it take on the host."""
    known = image.info(disk)
    below = (disk.parent / known.backing).resolve() if known.backing else None
    return known.actual_size + (_written(below) if below else 0)


def read_files(disk: Path, form: str, paths: Sequence[str], scratch: Path) -> list[Path]:
    """Copy the files at ``paths`` (globs, ``/`` between names) below ``scratch``, which is ours.

    Raises :class:`PipelineError` when that is not possible here.
    """
    if shutil.disk_usage(scratch.parent).free < 2 * _written(disk):
        raise PipelineError(f"there is no room to read the files of {disk}")
    scratch.mkdir(exist_ok=True)
    try:
        _copy(disk, form, Partition(0, HEAD), scratch / "head.raw")
        found = partitions((scratch / "head.raw").read_bytes())
        if not found:
            raise PipelineError(f"{disk} has no partitions")
        copy = scratch / "partition.raw"
        _copy(disk, form, max(found, key=lambda part: part.size), copy)
        files = scratch / "files"
        run(["7z", "x", "-y", "-ssc-", f"-o{files}", copy, *paths], deadline=READING, ok=(0, 1))
    finally:
        for name in ("head.raw", "partition.raw"):
            (scratch / name).unlink(missing_ok=True)
    return sorted(path for path in files.rglob("*") if path.is_file())
