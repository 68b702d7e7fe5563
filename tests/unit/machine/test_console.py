"""The serial port as text: escape sequences, any chunking, prompts, beacons, waiting."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.foundation.waiting import Timeout
from pipeline.machine.console import Beacon, Console, parse_beacon, parse_boot

OVMF = (
    b"\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2J\x1b[01;01H\x1b[0m\x1b[37m\x1b[40m"
    b'BdsDxe: loading Boot0001 "UEFI Misc Device" from PciRoot(0x0)\r\n'
    b"\x1b[02;03HPress any key to boot from CD or DVD..."
)
PIECES = st.lists(
    st.sampled_from(
        [
            b"\x1b[2J", b"\x1b[01;01H", b"\x1b[0m", b"\x1bc", b"\x1b(B", b"\x1b]0;title\x07",
            b"\x1b[", b"\x1b", b"GOLDEN pass specialize", b"\r\n", b"\n", b"\r", b"\0",
            "päss€".encode(), b"\xff\xfe", b"\xe2\x82", b"12;3H", b" ", b"text", b"\t",
        ]
    ),
    max_size=25,
)  # fmt: skip


def fed(*chunks: bytes) -> Console:
    console = Console()
    for chunk in chunks:
        console.feed(chunk)
    return console


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(PIECES, st.lists(st.integers(min_value=0), max_size=12))
def test_any_chunking_gives_the_same_text(pieces: list[bytes], places: list[int]) -> None:
    data = b"".join(pieces)
    whole, parts = fed(data), fed(*cut(data, places))
    assert list(parts.lines) == list(whole.lines)
    assert parts.partial == whole.partial


@given(st.binary(max_size=200))
def test_no_control_character_is_left(data: bytes) -> None:
    console = fed(data)
    for line in [*console.lines, console.partial]:
        assert all(character == "\t" or character.isprintable() for character in line)


def test_firmware_text_loses_its_sequences_and_the_prompt_is_seen() -> None:
    console = fed(OVMF)
    assert list(console.lines) == ['BdsDxe: loading Boot0001 "UEFI Misc Device" from PciRoot(0x0)']
    assert console.partial == "Press any key to boot from CD or DVD..."


def test_text_at_two_places_of_the_screen_is_two_lines() -> None:
    assert list(fed(b"\x1b[1;1Hone\x1b[5;1Htwo\n").lines) == ["one", "two"]


def test_colours_do_not_break_a_line() -> None:
    assert list(fed(b"\x1b[32mgre\x1b[0men\n").lines) == ["green"]


def test_a_sequence_that_was_cut_off_does_not_eat_the_next_line() -> None:
    assert list(fed(b"\x1b[2\nGOLDEN pass specialize\r\n").lines) == ["GOLDEN pass specialize"]
    assert list(fed(b"\x1b\x1b[2Jtext\n").lines) == ["text"]


def test_a_guest_that_never_ends_its_line_costs_no_memory() -> None:
    console = fed(*[b"x" * 1000] * 50)
    assert len(console.partial) < 5000
    assert len(console.lines) > 5


def test_beacons_are_the_lines_that_start_with_the_word() -> None:
    console = fed(b"noise\r\nGOLDEN pass windowsPE \r\nnot GOLDEN pass\r\nGOLDEN step p 1/2 a ok\n")
    assert console.beacons == (
        Beacon(("pass", "windowsPE")),
        Beacon(("step", "p", "1/2", "a", "ok")),
    )
    assert console.beacons[0].text == "pass windowsPE"
    assert parse_beacon("GOLDENROD") is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            'BdsDxe: starting Boot0001 "UEFI QEMU DVD-ROM QM00001 " from PciRoot(0x0)',
            "the firmware boots the CD (UEFI QEMU DVD-ROM QM00001)",
        ),
        (
            'BdsDxe: starting Boot0004 "Windows Boot Manager" from HD(1,GPT,7C0C,0x800,0x82000)',
            "the firmware boots a disk (Windows Boot Manager)",
        ),
        ("Booting from DVD/CD...", "the firmware boots the CD (DVD/CD)"),
        ("Booting from Hard Disk...", "the firmware boots a disk (Hard Disk)"),
        ("Booting from Hard Disk..", "the firmware boots a disk (Hard Disk)"),
        ('BdsDxe: loading Boot0001 "UEFI Misc Device" from PciRoot(0x0)', ""),
        ("Booting from here on is easy", ""),
    ],
)
def test_what_the_firmware_boots_is_read(line: str, told: str) -> None:
    assert parse_boot(line) == told


def test_a_beacon_right_after_a_prompt_is_one_all_the_same() -> None:
    console = fed(b"Press any key to boot from CD or DVD.....GOLDEN pass windowsPE\r\n")
    assert list(console.lines) == [
        "Press any key to boot from CD or DVD.....",
        "GOLDEN pass windowsPE",
    ]
    assert console.beacons == (Beacon(("pass", "windowsPE")),)
    console.feed(b"GOLDEN plan x failed GOLDEN pass y\r\n")
    assert console.count == 3


def test_a_beacon_is_not_seen_before_it_is_complete() -> None:
    console = fed(b"GOLDEN step p 1/1 a fai")
    assert console.since(0) == []
    console.feed(b"led\r\n")
    assert console.since(0) == ["GOLDEN step p 1/1 a failed"]


def test_numbers_of_lines_count_also_those_no_longer_kept() -> None:
    console = Console()
    console.lines = type(console.lines)(maxlen=2)
    console.feed(b"a\nb\nc\nd\npart")
    assert console.count == 4
    assert console.numbered(0) == [(2, "c"), (3, "d"), (4, "part")]
    assert console.numbered(3) == [(3, "d"), (4, "part")]
    assert console.since(4) == ["part"]


async def _wait(console: Console, feed: bytes, pattern: str, since: int = 0) -> str:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(console.wait_for(pattern, 30, since=since))
        await asyncio.sleep(0)
        for index in range(len(feed)):
            console.feed(feed[index : index + 1])
            await asyncio.sleep(0)
    return waiting.result()[0]


def test_waiting_sees_a_prompt_without_its_newline() -> None:
    assert asyncio.run(_wait(Console(), OVMF, "Press any key")) == "Press any key"


def test_waiting_looks_at_the_past_unless_told_otherwise() -> None:
    console = fed(b"login: \n")
    assert asyncio.run(_wait(console, b"", "login")) == "login"
    assert asyncio.run(_wait(console, b"second login:", "[a-z]+ login", console.count)) == (
        "second login"
    )


def test_waiting_in_vain_says_the_last_line() -> None:
    with pytest.raises(Timeout, match="last line: 'Booting"):
        asyncio.run(fed(b"Booting from Hard Disk...\n").wait_for("never", 0.01))


def test_a_closed_port_ends_the_waiting_at_once() -> None:
    async def closing() -> None:
        console = fed(b"half a li")
        waiting = asyncio.create_task(console.wait_for("never", 600))
        await asyncio.sleep(0)
        console.close()
        with pytest.raises(Timeout, match="closed; last line: 'half a li'"):
            await waiting

    asyncio.run(closing())
