"""The one thing we want of a kernel module's ELF file: which other modules it needs."""

from __future__ import annotations

import struct

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")


def section(data: bytes, name: bytes) -> bytes:
    """The content of a section of a 64-bit little-endian ELF file; empty when there is none."""
    if data[:6] != b"\x7fELF\x02\x01":
        return b""
    header = _HEADER.unpack_from(data)
    table, size, count, names = header[6], header[11], header[12], header[13]
    sections = [_SECTION.unpack_from(data, table + number * size) for number in range(count)]
    strings = sections[names][4]
    for entry in sections:
        start = strings + entry[0]
        if data[start : data.index(b"\0", start)] == name:
            return data[entry[4] : entry[4] + entry[5]]
    return b""


def depends(module: bytes) -> list[str]:
    """The names of the modules that must be loaded before this one."""
    for line in section(module, b".modinfo").split(b"\0"):
        if line.startswith(b"depends="):
            return [name.replace("-", "_") for name in line[8:].decode().split(",") if name]
    return []
