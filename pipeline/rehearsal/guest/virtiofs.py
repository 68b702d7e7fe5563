"""The host's shared folder, mounted at Z: as the virtio-fs service of Windows does.

Linux of this age does not tell a share's tag, so it is read from the device itself: virtio's "device
configuration" lies in one of the PCI device's memory windows and begins with the tag, 36 bytes.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from . import drivers, linux
from .machine import Machine

DEVICE = "0x105a"
VENDOR_CAPABILITY = 9
DEVICE_CONFIGURATION = 4
TAG_BYTES = 36
SHARE = Path("/Z:")


class NoShare(Exception):
    """There is nothing to mount, or it cannot be mounted."""


def _device() -> Path:
    for path in sorted(Path("/sys/bus/pci/devices").iterdir()):
        if (path / "device").read_text().strip() == DEVICE:
            return path
    raise NoShare("the machine has no virtio-fs device")


def configuration(config: bytes) -> tuple[int, int]:
    """The memory window and the offset in it where the device's own configuration lies."""
    position = config[0x34]
    while position:
        kind, following = config[position], config[position + 1]
        if kind == VENDOR_CAPABILITY and config[position + 3] == DEVICE_CONFIGURATION:
            offset = int.from_bytes(config[position + 8 : position + 12], "little")
            return config[position + 4], offset
        position = following
    raise NoShare("the virtio-fs device has no configuration")


def tag(device: Path) -> str:
    """The share's tag."""
    window, offset = configuration((device / "config").read_bytes())
    handle = os.open(device / f"resource{window}", os.O_RDONLY)
    try:
        page = offset - offset % mmap.PAGESIZE
        with mmap.mmap(handle, mmap.PAGESIZE, prot=mmap.PROT_READ, offset=page) as memory:
            start = offset - page
            # One byte at a time: devices answer only to the accesses that they know.
            read = bytes(memory[start + n] for n in range(TAG_BYTES))
    finally:
        os.close(handle)
    return read.split(b"\0")[0].decode()


def mount(machine: Machine) -> None:
    """Mount the share at Z:; needs the driver and WinFsp, as on Windows."""
    device = _device()
    stored = (d for d in drivers.stored(machine.c) if d.name == "viofs")
    if not any(drivers.bind(driver, machine.release) for driver in stored):
        raise NoShare("no viofs driver for this release is in the driver store")
    linux.load("fuse", "virtiofs")
    try:
        linux.mount(tag(device), SHARE, "virtiofs")
    except linux.Failed as error:
        SHARE.rmdir()
        raise NoShare(str(error)) from None
