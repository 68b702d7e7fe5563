"""A cpio archive in the form the kernel unpacks as its first file system ("newc").

Goes in: entries (name, mode, content). Comes out: bytes that are the same for the same entries:
owner root, time 0, numbered in order. It is own code because the kernel's form is twenty lines,
while the cpio program is not everywhere and stamps what it finds on the disk.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_TRAILER = "TRAILER!!!"
_ALIGN = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One member: ``mode`` holds type and permissions; a link's ``data`` is its target."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(name: str, data: bytes, *, executable: bool = False) -> Entry:
    """A regular file."""
    return Entry(name, stat.S_IFREG | (0o755 if executable else 0o644), data)


def folder(name: str, permissions: int = 0o755) -> Entry:
    """A folder; it must come before what it holds."""
    return Entry(name, stat.S_IFDIR | permissions)


def link(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """A device node, for what is needed before devtmpfs is there."""
    return Entry(name, stat.S_IFCHR | permissions, device=(major, minor))


def _padding(length: int) -> bytes:
    return b"\0" * (-length % _ALIGN)


def _member(number: int, entry: Entry) -> Iterator[bytes]:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        number,
        entry.mode,
        0,
        0,
        links,
        0,
        len(entry.data),
        0,
        0,
        *entry.device,
        len(name),
        0,
    )
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    yield header + name + _padding(len(header) + len(name))
    yield entry.data + _padding(len(entry.data))


def archive(entries: Iterable[Entry]) -> bytes:
    """The whole archive, closed by its trailer."""
    members = [*entries, Entry(_TRAILER, 0)]
    return b"".join(part for number, entry in enumerate(members) for part in _member(number, entry))
