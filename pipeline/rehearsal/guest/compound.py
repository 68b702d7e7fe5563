"""OLE compound files: a small file system in a file, of which an .msi is one.

Goes in: the file's bytes. Comes out: the streams by name.
"""

from __future__ import annotations

import struct

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
END = 0xFFFFFFFA  # this and above are no sector numbers
STREAM, ROOT = 2, 5


class NotCompound(Exception):
    """Not a compound file, or one that is damaged."""


def _chain(table: list[int], start: int) -> list[int]:
    found: list[int] = []
    while start < END:
        if start >= len(table) or len(found) > len(table):
            raise NotCompound("its chain of sectors is broken")
        found.append(start)
        start = table[start]
    return found


def _numbers(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4]))


def streams(data: bytes) -> dict[str, bytes]:
    """Every stream by its raw name."""
    if data[:8] != MAGIC:
        raise NotCompound("its first bytes are not D0 CF 11 E0")
    shift, small_shift = struct.unpack_from("<HH", data, 30)
    (count,) = struct.unpack_from("<I", data, 44)
    directory, _, limit, small, _, more, _ = struct.unpack_from("<7I", data, 48)
    small_size = 1 << small_shift

    def sector(number: int) -> bytes:
        return data[(number + 1) << shift : (number + 2) << shift]

    tables = _numbers(data[76:512])
    while more < END:
        *numbers, more = _numbers(sector(more))
        tables += numbers
    table = [n for number in tables[:count] if number < END for n in _numbers(sector(number))]

    def read(start: int) -> bytes:
        return b"".join(sector(number) for number in _chain(table, start))

    entries = read(directory)
    small_table = _numbers(read(small))
    found: dict[str, bytes] = {}
    inner = b""
    for position in range(0, len(entries) // 128 * 128, 128):
        entry = entries[position : position + 128]
        (length,) = struct.unpack_from("<H", entry, 64)
        start, total = struct.unpack_from("<IQ", entry, 116)
        total &= 0xFFFFFFFF
        name = entry[: max(length - 2, 0)].decode("utf-16-le")
        if entry[66] == ROOT:
            inner = read(start)
        elif entry[66] == STREAM and total >= limit:
            found[name] = read(start)[:total]
        elif entry[66] == STREAM:
            pieces = _chain(small_table, start) if total else []
            parts = (inner[n * small_size : (n + 1) * small_size] for n in pieces)
            found[name] = b"".join(parts)[:total]
    return found
