"""Files are read from the disk of a machine that has ended, through its layers, without root."""

from __future__ import annotations

import os
import struct
import uuid
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.process import run
from pipeline.foundation.units import Size
from pipeline.guest.logs import FILES, keep_ends, on_disk
from pipeline.machine import image, offline
from pipeline.machine.offline import Partition, partitions, read_files
from tests.tools import needs

MIB = 1 << 20


def gpt(*parts: tuple[int, int]) -> bytes:
    """The first mebibyte of a disk with these partitions, in sectors."""
    header = b"EFI PART" + bytes(64) + struct.pack("<QII", 2, 128, 128)
    entries = b"".join(
        uuid.uuid4().bytes + uuid.uuid4().bytes + struct.pack("<QQ", first, first + count - 1)
        + bytes(80)
        for first, count in parts
    )  # fmt: skip
    return bytes(512) + header.ljust(512, b"\0") + entries.ljust(MIB - 1024, b"\0")


def mbr(*parts: tuple[int, int]) -> bytes:
    """The same as MBR."""
    rows = b"".join(struct.pack("<4xB3xII", 7, first, count) for first, count in parts)
    return (bytes(446) + rows.ljust(64, b"\0") + b"\x55\xaa").ljust(MIB, b"\0")


@pytest.mark.parametrize("make", [gpt, mbr])
def test_partitions_are_found(make: object) -> None:
    head = make((2048, 4096), (8192, 100_000))  # type: ignore[operator]
    assert partitions(head) == [
        Partition(MIB, 2 * MIB),
        Partition(4 * MIB, 100_000 * 512),
    ]


@pytest.mark.parametrize("head", [bytes(MIB), os.urandom(400) + bytes(MIB - 400), b"", gpt()])
def test_a_disk_without_partitions_has_none(head: bytes) -> None:
    assert partitions(head) == []


def disk(folder: Path, files: dict[str, str], name: str = "disk.qcow2") -> Path:
    """A qcow2 disk with GPT, a small partition, and a large one with these files."""
    tree = folder / "tree"
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    raw = folder / "raw"
    raw.write_bytes(gpt((2048, 2048), (4096, 16 * 2048)))
    os.truncate(raw, 32 * MIB)
    options = ["-q", "-F", "-t", "ext4", "-E", f"offset={2 * MIB}"]
    run(["mke2fs", *options, "-d", tree, raw, "16M"], deadline=60)
    made = folder / name
    image.convert(raw, made, ())
    return made


@needs("mke2fs", "qemu-img", "7z")
def test_files_are_read_through_a_layer_and_the_copies_are_gone(tmp_path: Path) -> None:
    folder = tmp_path / 'a, "b"'
    folder.mkdir()
    base = disk(
        folder,
        {
            "Windows/Panther/setuperr.log": "No images are available",
            "Windows/Panther/unattend.xml": "<Password>secret</Password>",
            "ProgramData/golden/log/provision.log": "x" * 100,
            "Users/golden/letter.txt": "private",
        },
    )
    layer = folder / "layer.qcow2"
    image.overlay(layer, base)
    scratch = folder / "scratch"
    found = read_files(layer, "qcow2", on_disk(), scratch)
    kept = keep_ends(found, scratch / "files", tmp_path / "logs")
    assert {path.name: path.read_text()[:30] for path in kept} == {
        "Windows-Panther-setuperr.log": "No images are available",
        "ProgramData-golden-log-provision.log": "x" * 30,
    }
    assert [path.name for path in scratch.iterdir()] == ["files"]


@needs("qemu-img")
def test_an_empty_disk_is_said(tmp_path: Path) -> None:
    image.create(tmp_path / "disk", Size(8 * MIB))
    with pytest.raises(PipelineError, match="has no partitions"):
        read_files(tmp_path / "disk", "qcow2", on_disk(), tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


@needs("qemu-img")
def test_without_room_nothing_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image.create(tmp_path / "disk", Size(8 * MIB))
    monkeypatch.setattr(offline, "_written", lambda _: 1 << 62)
    with pytest.raises(PipelineError, match="no room"):
        read_files(tmp_path / "disk", "qcow2", on_disk(), tmp_path / "scratch")


def test_what_is_read_from_a_disk_is_what_is_brought_over_ssh() -> None:
    assert "Windows/Panther/setuperr.log" in on_disk()
    assert "ProgramData/golden/log/*.log" in on_disk()
    assert len(on_disk()) == len(FILES) + 1
    assert not [path for path in on_disk() if path.endswith(".xml")]


def test_only_ends_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.guest.logs.LARGEST", 5)
    log = tmp_path / "files" / "Windows" / "CBS.log"
    log.parent.mkdir(parents=True)
    log.write_text("0123456789")
    (kept,) = keep_ends([log], tmp_path / "files", tmp_path / "logs")
    assert (kept.name, kept.read_text()) == ("Windows-CBS.log", "56789")
