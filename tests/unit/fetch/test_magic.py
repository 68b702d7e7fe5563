"""What a file must begin with, whatever pieces it arrives in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.definitions.model import Kind
from pipeline.inputs.magic import FIRST_DESCRIPTOR, HEAD, SECTOR, Sniffer, described, web_page


def iso(*names: bytes) -> bytes:
    """An image whose volume recognition sequence holds these descriptors."""
    sectors = b"".join((b"\x00" + name + b"\x01").ljust(SECTOR, b"\0") for name in names)
    return bytes(FIRST_DESCRIPTOR) + sectors + bytes(SECTOR)


PAGE = b"\n\xef\xbb\xbf<!-- x --><HTML lang='en'><head><TITLE>\n Just a&nbsp;moment...\n</title>"
RIGHT = [
    (Kind.ISO, iso(b"CD001")),
    (Kind.ISO, iso(b"CD001", b"BEA01", b"NSR02", b"TEA01")),
    (Kind.ISO, iso(b"BEA01", b"NSR02")),
    (Kind.ISO, iso(b"BEA01", b"BOOT2", b"NSR03")),
    (Kind.MSI, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    (Kind.MSU, b"MSCF\0\0\0\0"),
    (Kind.MSU, b"MSWIM\0\0\0\xd0"),
    (Kind.FILE, b""),
    (Kind.FILE, PAGE),
]
WRONG = [
    (Kind.ISO, b""),
    (Kind.ISO, bytes(FIRST_DESCRIPTOR)),
    (Kind.ISO, iso()),
    (Kind.ISO, iso(b"BEA01", b"TEA01")),
    (Kind.ISO, iso(*[b"BEA01"] * 40)),
    (Kind.ISO, iso(b"BEA01", b"CD002")),
    (Kind.ISO, PAGE),
    (Kind.ISO, b"CD001" * 20000),
    (Kind.MSI, b"MSCF"),
    (Kind.MSI, b"\xd0\xcf\x11"),
    (Kind.MSI, PAGE),
    (Kind.MSU, b"\xd0\xcf\x11\xe0"),
    (Kind.MSU, b"MSWIM\0\0\1"),
]


def judged(kind: Kind, data: bytes, sizes: list[int]) -> str:
    """Feed the data in pieces of these sizes, the rest at once."""
    sniffer = Sniffer(kind)
    for size in sizes:
        if complaint := sniffer.feed(data[:size]):
            return complaint
        data = data[size:]
    return sniffer.feed(data) or sniffer.finish()


pieces = st.lists(st.integers(1, 40000), max_size=8) | st.just([1] * 50)


@given(case=st.sampled_from(RIGHT), sizes=pieces)
def test_right_in_any_pieces(case: tuple[Kind, bytes], sizes: list[int]) -> None:
    assert judged(*case, sizes) == ""


@given(case=st.sampled_from(WRONG), sizes=pieces)
def test_wrong_in_any_pieces(case: tuple[Kind, bytes], sizes: list[int]) -> None:
    complaint = judged(*case, sizes)
    assert f" instead of an {case[0].upper()} (" in complaint
    assert complaint == judged(*case, [])


def test_wrong_is_said_before_the_end() -> None:
    assert "unknown data" in Sniffer(Kind.ISO).feed(iso(b"XXXXX"))
    assert "web page" in Sniffer(Kind.ISO).feed(PAGE)


def test_no_more_than_the_head_is_kept() -> None:
    sniffer = Sniffer(Kind.ISO)
    sniffer.feed(bytes(FIRST_DESCRIPTOR))
    sniffer.feed(bytes(10 * HEAD))
    assert len(sniffer._head) <= HEAD


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (PAGE, 'a web page titled "Just a moment..." (a bot check or a sign-in)'),
        (b"<body>", "a web page (a bot check or a sign-in)"),
        (b"<?xml version='1.0'?><!DOCTYPE html>", "a web page (a bot check or a sign-in)"),
        (b"<?xml version='1.0'?><Error><Code>AuthenticationFailed", "XML text"),
        (b'{"message": "Not Found"}', "JSON text"),
        (b"\x1f\x8b\x08", "gzip data"),
        (b"MZ\x90", "a Windows program"),
        (b"MSCF", "a cabinet"),
        (b"\0\1\2", "unknown data"),
        (b"", "an empty file"),
    ],
)
def test_described(head: bytes, words: str) -> None:
    assert described(head) == words


def test_a_title_can_not_command_the_terminal() -> None:
    assert web_page(b"<html><title>\x1b[2Jx</title>") == 'a web page titled "?[2Jx"'


def test_a_title_is_one_short_line() -> None:
    assert len(web_page(b"<html><title>" + b"long\n" * 100 + b"</title>")) < 120
