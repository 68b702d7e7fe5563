"""The boot loader of an installed stand-in: its files, the MBR, and the entry in the firmware."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import uuid
from pathlib import Path

from . import linux

# On the medium: what Windows keeps in C:\Windows\Boot.
SOURCE = "boot/standin"
EFI_FOLDER = "EFI/Microsoft/Boot"
LOADER = r"\EFI\Microsoft\Boot\bootmgfw.efi"
VARIABLES = Path("/sys/firmware/efi/efivars")
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
PERSISTENT = struct.pack("<I", 7)  # non-volatile, boot services, run time
SET_FLAGS = 0x40086602  # FS_IOC_SETFLAGS
TITLE = "Windows Boot Manager"


def _copy_system(medium: Path, target: Path, settings: dict[str, str]) -> None:
    """Kernel, first file system and the loader's settings."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("vmlinuz", "initramfs"):
        shutil.copyfile(medium / SOURCE / name, target / name)
    lines = [f'set {name}="{value}"\n' for name, value in settings.items()]
    (target / "standin.cfg").write_text("".join(lines))


def install_uefi(medium: Path, esp: Path, settings: dict[str, str]) -> None:
    """Fill the EFI system partition: Windows' own path and the fallback path."""
    _copy_system(medium, esp / EFI_FOLDER, settings)
    shutil.copyfile(medium / SOURCE / "disk.efi", esp / EFI_FOLDER / "bootmgfw.efi")
    (esp / "EFI/Boot").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(medium / SOURCE / "disk.efi", esp / "EFI/Boot/bootx64.efi")


def install_bios(medium: Path, system: Path, disk: str, settings: dict[str, str]) -> None:
    """Fill the active partition, and put the loader before the first partition.

    The MBR's boot code names the loader's first sector, and that sector names where the rest lies.
    """
    _copy_system(medium, system / "Boot", settings)
    code = bytearray((medium / SOURCE / "boot.img").read_bytes()[:440])
    core = bytearray((medium / SOURCE / "core.img").read_bytes())
    code[0x5C:0x64] = struct.pack("<Q", 1)
    core[0x1F4:0x1FC] = struct.pack("<Q", 2)
    if len(core) > 2047 * 512:
        raise linux.Failed("the boot loader does not fit before the first partition")
    with Path(f"/dev/{disk}").open("r+b", buffering=0) as device:
        device.write(code)
        device.seek(512)
        device.write(core + b"\0" * (-len(core) % 512))
        os.fsync(device.fileno())


def load_option(number: int, start: int, size: int, unique: uuid.UUID) -> bytes:
    """An EFI_LOAD_OPTION that starts our loader from a GPT partition."""
    drive = struct.pack("<BBHIQQ", 4, 1, 42, number, start, size) + unique.bytes_le + b"\x02\x02"
    name = (LOADER + "\0").encode("utf-16-le")
    path = struct.pack("<BBH", 4, 4, 4 + len(name)) + name
    nodes = drive + path + b"\x7f\xff\x04\x00"
    return struct.pack("<IH", 1, len(nodes)) + (TITLE + "\0").encode("utf-16-le") + nodes


def _variable(name: str) -> Path:
    return VARIABLES / f"{name}-{GLOBAL}"


def _write(name: str, data: bytes) -> None:
    path = _variable(name)
    if path.exists():
        with path.open("rb") as stream:  # the kernel keeps variables from being deleted by mistake
            fcntl.ioctl(stream, SET_FLAGS, struct.pack("l", 0))
    path.write_bytes(PERSISTENT + data)


def register(disk: str, number: int) -> None:
    """Make our loader the firmware's first choice; an older entry of that title is used again."""
    place = Path(f"/sys/block/{disk}") / Path(linux.partition(disk, number)).name
    start, size = (int((place / name).read_text()) for name in ("start", "size"))
    text = linux.run("sfdisk", "--part-uuid", f"/dev/{disk}", str(number)).strip()
    option = load_option(number, start, size, uuid.UUID(text))
    entry = _entry()
    _write(f"Boot{entry:04X}", option)
    order = _order()
    _write(
        "BootOrder",
        b"".join(struct.pack("<H", n) for n in [entry, *(n for n in order if n != entry)]),
    )


def _order() -> list[int]:
    path = _variable("BootOrder")
    data = path.read_bytes()[4:] if path.exists() else b""
    return [value for (value,) in struct.iter_unpack("<H", data)]


def _entry() -> int:
    title = (TITLE + "\0").encode("utf-16-le")
    used = {}
    for path in VARIABLES.glob(f"Boot[0-9A-F][0-9A-F][0-9A-F][0-9A-F]-{GLOBAL}"):
        used[int(path.name[4:8], 16)] = path.read_bytes()
    ours = (number for number, data in sorted(used.items()) if data[10:].startswith(title))
    return next(ours, next(n for n in range(0x10000) if n not in used))
