"""Cabinets: what Windows Installer packs files in.

Goes in: a cabinet's bytes. Comes out: the files by name. Stored and MSZIP folders are read; LZX and
Quantum are said not to be.
"""

from __future__ import annotations

import struct
import zlib

KINDS = {0: "stored", 1: "MSZIP", 2: "Quantum", 3: "LZX"}
PREVIOUS, NEXT, RESERVED = 1, 2, 4


class BadCabinet(Exception):
    """A cabinet that is damaged or packed in a way that is not read here."""


def _text(data: bytes, position: int) -> tuple[str, int]:
    end = data.index(b"\0", position)
    return data[position:end].decode("utf-8", "replace"), end + 1


def _unpacked(data: bytes, position: int, blocks: int, kind: int, reserved: int) -> bytes:
    found = bytearray()
    for _ in range(blocks):
        packed, size = struct.unpack_from("<HH", data, position + 4)
        start = position + 8 + reserved
        block = data[start : start + packed]
        if kind == 1:
            if block[:2] != b"CK":
                raise BadCabinet("a block of the cabinet is damaged")
            # Each block may refer to the 32 KiB before it.
            worker = zlib.decompressobj(-15, zdict=bytes(found[-32768:]))
            block = worker.decompress(block[2:])
        if len(block) != size:
            raise BadCabinet("a block of the cabinet has the wrong size")
        found += block
        position = start + packed
    return bytes(found)


def extract(data: bytes) -> dict[str, bytes]:
    """Every file of a cabinet."""
    try:
        return _extract(data)
    except (LookupError, ValueError, struct.error, zlib.error) as error:
        raise BadCabinet(f"the cabinet is damaged: {error}") from None


def _extract(data: bytes) -> dict[str, bytes]:
    if data[:4] != b"MSCF":
        raise BadCabinet("not a cabinet")
    (files_at,) = struct.unpack_from("<I", data, 16)
    folders, files, flags = struct.unpack_from("<HHH", data, 26)
    position, folder_extra, block_extra = 36, 0, 0
    if flags & RESERVED:
        header_extra, folder_extra, block_extra = struct.unpack_from("<HBB", data, 36)
        position += 4 + header_extra
    if flags & (PREVIOUS | NEXT):
        raise BadCabinet("the cabinet goes on in another")
    content = []
    for _ in range(folders):
        start, blocks, kind = struct.unpack_from("<IHH", data, position)
        if kind & 0xF not in (0, 1):
            raise BadCabinet(f"the stand-in does not read {KINDS.get(kind & 0xF, 'this')} cabinets")
        content.append(_unpacked(data, start, blocks, kind & 0xF, block_extra))
        position += 8 + folder_extra
    found = {}
    for _ in range(files):
        size, offset, folder = struct.unpack_from("<IIH", data, files_at)
        name, files_at = _text(data, files_at + 16)
        found[name] = content[folder][offset : offset + size]
    return found
