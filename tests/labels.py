"""The labels of a disc, read from its volume descriptors and by nothing of ours.

ISO 9660 keeps one in the primary descriptor; Joliet has a descriptor of its own, and where it is
there Windows shows its label and never looks at the other.
"""

from __future__ import annotations

from pathlib import Path

SECTOR = 2048
FIRST = 16  # the sector of the first descriptor
PRIMARY, SUPPLEMENTARY, LAST = 1, 2, 255
JOLIET = (b"%/@", b"%/C", b"%/E")  # the escape sequences of its three levels


def labels(path: Path) -> dict[str, str]:
    """The label by the side that has it: ``iso9660``, and ``joliet`` where the disc has that."""
    found: dict[str, str] = {}
    with path.open("rb") as stream:
        stream.seek(FIRST * SECTOR)
        while (descriptor := stream.read(SECTOR))[0] != LAST:
            assert descriptor[1:6] == b"CD001"
            if descriptor[0] == PRIMARY:
                found["iso9660"] = _text(descriptor, "ascii")
            elif descriptor[0] == SUPPLEMENTARY and descriptor[88:91] in JOLIET:
                found["joliet"] = _text(descriptor, "utf-16-be")
    return found


def _text(descriptor: bytes, encoding: str) -> str:
    return descriptor[40:72].decode(encoding).rstrip(" \0")
