"""The outputs of a stage as one compressed file, and back again without trusting it.

In: a folder and what is expected of its files (name, size, digest). Out: ``tar`` in ``zstd``. Going
back, every byte is held against what is expected before the folder is anybody's: an archive can
write no other name, no longer file and no other content.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import replacing, sha256_file

# Level 3 packs a disk as fast as a network takes it; more costs time for a few per cent.
LEVEL = 3
CHUNK = 1 << 20
LARGEST_WINDOW = 1 << 27
"""Bytes of memory that an archive may ask for to be unpacked."""


class ArchiveRefused(PipelineError):
    """An archive does not hold what it should."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file that belongs into the archive; ``path`` is a bare name."""

    path: str
    size: int
    sha256: str


def pack(folder: Path, members: Sequence[Member], target: Path) -> None:
    """Write ``members`` from ``folder`` into ``target``; raises when one is not what it should be.

    What goes out is checked as what comes in: a disk that was damaged here must not spread.
    """
    import zstandard

    for member in members:
        _require(member, (folder / member.path).stat().st_size, sha256_file(folder / member.path))
    packer = zstandard.ZstdCompressor(level=LEVEL, threads=-1)
    with (
        replacing(target) as part,
        part.open("wb") as raw,
        packer.stream_writer(raw) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for member in members:
            _add(tar, folder / member.path, member)


def _add(tar: tarfile.TarFile, path: Path, member: Member) -> None:
    """No owner, no time: equal files make equal archives."""
    entry = tarfile.TarInfo(member.path)
    entry.size, entry.mode = member.size, path.stat().st_mode & 0o777
    with path.open("rb") as source:
        tar.addfile(entry, source)


def unpack(archive: Path, members: Sequence[Member], folder: Path) -> None:
    """Write ``members`` into the empty ``folder``; raises :class:`ArchiveRefused`."""
    import zstandard

    missing = {member.path: member for member in members}
    unpacker = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    try:
        with (
            archive.open("rb") as raw,
            unpacker.stream_reader(raw) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for entry in tar:
                _extract(tar, entry, missing.pop(entry.name, None), folder)
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise ArchiveRefused(f"{archive.name} is damaged: {error}") from error
    if missing:
        raise ArchiveRefused(f"{archive.name} lacks {', '.join(sorted(missing))}")


def _extract(
    tar: tarfile.TarFile, entry: tarfile.TarInfo, member: Member | None, folder: Path
) -> None:
    source = tar.extractfile(entry) if entry.isreg() else None
    if member is None or source is None or entry.size != member.size:
        raise ArchiveRefused(
            f"the archive holds {entry.name!r} ({entry.size} bytes), which differs"
        )
    path = folder / member.path
    # A key among the files is nobody else's from its first byte on.
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as target:
        _require(member, entry.size, _copy(source, target))
    path.chmod(entry.mode & 0o777)


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    """Copy and hash in one go; runs of zero bytes become holes."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        if chunk.count(0) == len(chunk):
            target.seek(len(chunk), 1)
        else:
            target.write(chunk)
    target.truncate()
    return digest.hexdigest()


def _require(member: Member, size: int, sha256: str) -> None:
    if (size, sha256) != (member.size, member.sha256):
        raise ArchiveRefused(
            f"{member.path} has {size} bytes and SHA-256 {sha256}, expected {member.size} bytes "
            f"and {member.sha256}"
        )
