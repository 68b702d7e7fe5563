"""Windows Installer packages, compound files and cabinets as the stand-in reads them.

``small.msi`` was written by wixl 0.101 from the rehearsal's WinFsp package.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.rehearsal import installers
from pipeline.rehearsal.guest import cab
from pipeline.rehearsal.guest.cab import BadCabinet
from pipeline.rehearsal.guest.msi import BadPackage, Package

SMALL = (Path(__file__).parent / "small.msi").read_bytes()


def test_properties() -> None:
    properties = Package(SMALL).properties
    assert properties["ProductVersion"] == "2.2.26215"
    assert properties["ProductCode"] == installers.code(installers.WINFSP, "2.2.26215")
    assert properties["ProductName"] == installers.WINFSP.name


def test_features() -> None:
    assert Package(SMALL).features == ["F.User"]


def test_files_at_their_places() -> None:
    files = Package(SMALL).files()
    assert sorted(files) == [f"Program Files/WinFsp/{name}" for name in installers.WINFSP.files]
    for name, data in files.items():
        assert data == b"MZ the stand-in's place holder for " + name.split("/")[-1].encode() + b"\n"


def test_a_table_that_is_not_there() -> None:
    assert Package(SMALL).table("NoSuchTable") == []


@pytest.mark.parametrize("data", [b"", b"<html>", SMALL[:8], SMALL[:2048]])
def test_what_is_no_package(data: bytes) -> None:
    with pytest.raises(BadPackage, match="not a Windows Installer package"):
        Package(data)


@settings(max_examples=150)
@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255))
def test_damage_never_ends_in_a_hang_or_an_unknown_error(position: int, value: int) -> None:
    data = SMALL[:position] + bytes([value]) + SMALL[position + 1 :]
    with contextlib.suppress(BadPackage):
        Package(data).files()


def cabinet(content: dict[str, bytes], *, kind: int = 1) -> bytes:
    """A cabinet of one folder, in blocks of 32 KiB."""
    data = b"".join(content.values())
    pieces = [data[n : n + 32768] for n in range(0, len(data), 32768)]
    blocks, before = b"", b""
    for piece in pieces:
        worker = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=before[-32768:])
        packed = b"CK" + worker.compress(piece) + worker.flush() if kind else piece
        blocks += struct.pack("<IHH", 0, len(packed), len(piece)) + packed
        before += piece
    members, offset = b"", 0
    for name, body in content.items():
        members += struct.pack("<IIHHHH", len(body), offset, 0, 0, 0, 32) + name.encode() + b"\0"
        offset += len(body)
    start = 36 + 8 + len(members)
    head = struct.pack("<4sIIIIIBBHHHHH", b"MSCF", 0, 0, 0, 44, 0, 3, 1, 1, len(content), 0, 0, 0)
    return head + struct.pack("<IHH", start, len(pieces), kind) + members + blocks


@pytest.mark.parametrize("kind", [0, 1])
@given(st.dictionaries(st.text("abc.", min_size=1), st.binary(max_size=99), min_size=1))
def test_cabinets(kind: int, content: dict[str, bytes]) -> None:
    assert cab.extract(cabinet(content, kind=kind)) == content


def test_blocks_refer_to_the_block_before() -> None:
    content = {"large": bytes(range(256)) * 400}
    assert cab.extract(cabinet(content)) == content


def test_lzx_is_said_not_to_be_read() -> None:
    with pytest.raises(BadCabinet, match="LZX"):
        cab.extract(
            cabinet({"a": b"x"}).replace(struct.pack("<HH", 1, 1), struct.pack("<HH", 1, 3))
        )
