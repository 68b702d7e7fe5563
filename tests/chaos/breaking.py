"""Ways to break things for one run, as context managers that mend them again."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.foundation.process import run
from pipeline.rehearsal import loader
from pipeline.rehearsal.windows_disc import LABEL
from tests.chaos.room import Room

SECTOR = 2048
BOOT_RECORD = 17 * SECTOR
EFI_ENTRY = 96  # the boot catalog's second section: its header is at 64
ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
SETTINGS = "::/EFI/Microsoft/Boot/standin.cfg"


def _word(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 4], "little")


@contextmanager
def medium_with(room: Room, fault: str) -> Iterator[None]:
    """The medium with a fault baked in: its UEFI boot image is replaced where it lies."""
    images = room.scratch / "loader"
    loader.build(room.packages, images, LABEL, fault)
    new = (images / "efisys.bin").read_bytes()
    with room.part("windows").open("r+b") as medium:
        medium.seek(BOOT_RECORD)
        catalog = _word(medium.read(SECTOR), 0x47) * SECTOR
        medium.seek(catalog)
        place = _word(medium.read(SECTOR), EFI_ENTRY + 8) * SECTOR
        medium.seek(place)
        old = medium.read(len(new))
        assert old[510:512] == new[510:512] == b"\x55\xaa", "no boot image where one should be"
        medium.seek(place)
        medium.write(new)
    try:
        yield
    finally:
        with room.part("windows").open("r+b") as medium:
            medium.seek(place)
            medium.write(old)
        shutil.rmtree(images)


def _esp(disk: Path) -> int:
    """Where the EFI system partition of a raw disk begins."""
    with disk.open("rb") as stream:
        stream.seek(1024)
        table = stream.read(128 * 128)
    for entry in (table[n : n + 128] for n in range(0, len(table), 128)):
        if entry[:16] == ESP.bytes_le:
            return int.from_bytes(entry[32:40], "little") * 512
    raise AssertionError(f"{disk} has no EFI system partition")


@contextmanager
def installed_with(room: Room, fault: str) -> Iterator[None]:
    """The installed system with a fault: the settings of its boot loader say so."""
    folder = room.folder("install")
    disk, raw, settings = folder / "disk.qcow2", room.scratch / "raw", room.scratch / "standin.cfg"
    run(["qemu-img", "convert", "-O", "raw", disk, raw], deadline=120)
    where = f"{raw}@@{_esp(raw)}"
    room.packages.run("bin/mcopy", "-n", "-i", where, SETTINGS, settings)
    lines = settings.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("set faults=")]
    settings.write_text("\n".join([f'set faults="{fault}"', *kept, ""]))
    room.packages.run("bin/mcopy", "-o", "-i", where, settings, SETTINGS)
    with _instead_of(room, disk) as new:
        run(["qemu-img", "convert", "-O", "qcow2", raw, new], deadline=120)
        raw.unlink()
        settings.unlink()
        with _noted(folder / "receipt.json", new):
            yield


@contextmanager
def _instead_of(room: Room, path: Path) -> Iterator[Path]:
    """Another file in a file's place."""
    aside = room.scratch / f"aside-{path.name}"
    path.rename(aside)
    try:
        yield path
    finally:
        aside.replace(path)


@contextmanager
def _noted(receipt: Path, disk: Path) -> Iterator[None]:
    """The receipt believes in the disk that is there."""
    text = receipt.read_text()
    status = receipt.stat()
    document = json.loads(text)
    for output in document["outputs"]:
        if output["path"] == disk.name:
            output["size"] = disk.stat().st_size
    receipt.write_text(json.dumps(document))
    try:
        yield
    finally:
        receipt.write_text(text)
        os.utime(receipt, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """A text with something else in it."""
    text, status = path.read_text(), path.stat()
    assert old in text, f"{path} does not hold {old!r}"
    path.write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        path.write_text(text)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextmanager
def flipped(path: Path, inside: bytes) -> Iterator[None]:
    """A file with one bit flipped in the middle of the bytes ``inside``."""
    data, status = path.read_bytes(), path.stat()
    place = data.find(inside) + len(inside) // 2
    assert inside in data, f"{path} does not hold what should be flipped"
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(bytes([data[place] ^ 1]))
    try:
        yield
    finally:
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def path_without(room: Room, *programs: str) -> str:
    """A PATH on which these programs are not."""
    folder = room.scratch / f"without-{'-'.join(programs)}"
    if not folder.exists():
        folder.mkdir()
        for place in os.environ["PATH"].split(os.pathsep):
            for program in Path(place).glob("*") if place else ():
                if program.name not in programs and not (folder / program.name).is_symlink():
                    (folder / program.name).symlink_to(program.absolute())
    return str(folder)


@contextmanager
def small_disk(room: Room, size: str) -> Iterator[Path]:
    """The output on a file system of its own, of this size; a copy of what is there."""
    place = room.scratch / "small disk"
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={size}", "golden-chaos", place], deadline=10)
    try:
        output = place / "output"
        shutil.copytree(room.workspace.output / "build", output / "build")
        for name in ("accelerator.json", "qemu.json"):
            shutil.copy2(room.workspace.output / name, output / name)
        room.environment["GOLDEN_OUTPUT"] = str(output)
        yield place
    finally:
        room.environment.pop("GOLDEN_OUTPUT", None)
        run(["umount", place], deadline=10)
        place.rmdir()


def resize(place: Path, size: str) -> None:
    """Give a small disk another size."""
    run(["mount", "-o", f"remount,size={size}", place], deadline=10)
