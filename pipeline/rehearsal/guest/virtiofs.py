"""The host's shared folder, mounted at Z: as the virtio-fs service of Windows does.

Older kernels do not tell a share's tag, so it is asked of the device itself: its own configuration
begins with the tag, 36 bytes. The way in is virtio's "PCI configuration access": a small window in
the PCI configuration space, open also while a driver holds the device's memory.
"""

from __future__ import annotations

from pathlib import Path

from . import drivers, linux
from .machine import Machine

DEVICE = "0x105a"
VENDOR_CAPABILITY = 9
DEVICE_CONFIGURATION = 4
CONFIGURATION_ACCESS = 5
TAG_BYTES = 36
SHARE = Path("/Z:")


class NoShare(Exception):
    """There is nothing to mount, or it cannot be mounted."""


def _device() -> Path:
    for path in sorted(Path("/sys/bus/pci/devices").iterdir()):
        if (path / "device").read_text().strip() == DEVICE:
            return path
    raise NoShare("the machine has no virtio-fs device")


def present() -> bool:
    """Whether the machine has such a device."""
    try:
        return _device().exists()
    except (NoShare, FileNotFoundError):
        return False


def capability(config: bytes, kind: int) -> int:
    """Where virtio's capability of this kind lies in the PCI configuration space."""
    position = config[0x34]
    while position:
        if config[position] == VENDOR_CAPABILITY and config[position + 3] == kind:
            return position
        position = config[position + 1]
    raise NoShare(f"the virtio-fs device has no capability {kind}")


def tag(device: Path) -> str:
    """The share's tag."""
    config = (device / "config").read_bytes()
    place, window = (
        capability(config, DEVICE_CONFIGURATION),
        capability(config, CONFIGURATION_ACCESS),
    )
    bar, offset = config[place + 4], int.from_bytes(config[place + 8 : place + 12], "little")
    read = b""
    with (device / "config").open("r+b", buffering=0) as space:
        for byte in range(offset, offset + TAG_BYTES):
            for field, value in ((4, bytes([bar])), (8, word(byte)), (12, word(1))):
                space.seek(window + field)
                space.write(value)
            space.seek(window + 16)
            read += space.read(1)
    return read.split(b"\0")[0].decode()


def word(value: int) -> bytes:
    """A 32-bit little-endian number."""
    return value.to_bytes(4, "little")


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
