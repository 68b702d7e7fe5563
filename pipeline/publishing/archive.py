"""The outputs of a stage as one compressed file, and back again without trusting it.

In: a folder and what is expected of its files (name, size, digest). Out: ``tar`` in ``zstd``. Going
back, every byte is held against what is expected before the folder is anybody's: an archive can
write no other name, no longer file and no other content.

An archive of ours has plain headers only, one block a file. What has others is refused unread: an
extended header may claim any length, and a library that follows it takes that much memory.
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
from pipeline.foundation.files import replacing, sha256_file, sync

# Level 3 packs a disk as fast as a network takes it; more costs time for a few per cent.
LEVEL = 3
CHUNK = 1 << 20
BLOCK = tarfile.BLOCKSIZE
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
        # The form whose plain header has room for the size of any disk.
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as tar,
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
        with archive.open("rb") as raw, unpacker.stream_reader(raw) as stream:
            while entry := _entry(stream):
                _extract(stream, entry, missing.pop(entry.name, None), folder)
    except (zstandard.ZstdError, tarfile.TarError, EOFError, ValueError) as error:
        raise ArchiveRefused(f"{archive.name} is damaged: {error}") from error
    if missing:
        raise ArchiveRefused(f"{archive.name} lacks {', '.join(sorted(missing))}")


def _entry(stream: IO[bytes]) -> tarfile.TarInfo | None:
    """The next header; None at the end, which is a block of zeros."""
    block = _exactly(stream, BLOCK)
    if not any(block):
        return None
    return tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = b""
    while len(data) < count and (more := stream.read(count - len(data))):
        data += more
    if len(data) < count:
        raise EOFError("it ends too early")
    return data


def _extract(
    stream: IO[bytes], entry: tarfile.TarInfo, member: Member | None, folder: Path
) -> None:
    plain = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
    if member is None or not plain or entry.size != member.size:
        raise ArchiveRefused(
            f"the archive holds {entry.name!r} ({entry.size} bytes), which differs"
        )
    path = folder / member.path
    # A key among the files is nobody else's from its first byte on.
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as target:
        _require(member, entry.size, _copy(stream, target, member.size))
    _exactly(stream, -member.size % BLOCK)
    path.chmod(entry.mode & 0o777)
    sync(path)  # a receipt will say that it is there


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> str:
    """Copy ``size`` bytes and hash them in one go; runs of zero bytes become holes."""
    digest, left = hashlib.sha256(), size
    while left:
        chunk = _exactly(source, min(CHUNK, left))
        left -= len(chunk)
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
