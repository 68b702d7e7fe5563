"""DiskConfiguration: partitions made and formatted as the answer file says.

Goes in: a disk's settings. Comes out: devices by partition number. What Windows would refuse raises
:class:`Impossible` with its reason.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from . import linux
from .answer import setting, true

GPT = {
    "EFI": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "MSR": "E3C9E316-0B5C-4DB8-817D-F92DF00215AE",
    "Primary": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
}


class Impossible(Exception):
    """Setup cannot partition or format the disk in this way."""


def _check(created: list[dict[str, Any]], gpt: bool) -> None:
    for item in created:
        kind, order = item.get("Type", ""), item["Order"]
        if ("Size" in item) == true(item, "Extend"):
            raise Impossible(f"partition {order}: exactly one of Size and Extend is needed")
        if true(item, "Extend") and item is not created[-1]:
            raise Impossible(f"partition {order} takes the rest of the disk and is not the last")
        if kind not in (GPT if gpt else ("Primary",)):
            style = "GPT" if gpt else "MBR"
            raise Impossible(f"partition {order}: {kind} cannot be made on a disk with {style}")


def _script(created: list[dict[str, Any]], modified: dict[int, dict[str, Any]], gpt: bool) -> str:
    lines = [f"label: {'gpt' if gpt else 'dos'}", "unit: sectors"]
    for number, item in enumerate(created, 1):
        kind = GPT[item["Type"]] if gpt else "7"
        size = f"size={item['Size']}MiB, " if "Size" in item else ""
        active = ", bootable" if true(modified.get(number), "Active") and not gpt else ""
        lines.append(f"{size}type={kind}{active}")
    return "\n".join(lines) + "\n"


def _format(device: str, settings: dict[str, Any]) -> None:
    label = settings.get("Label", "")
    match settings.get("Format"):
        case "FAT32":
            run = ("mkfs.fat", "-F", "32", *(("-n", label.upper()[:11]) if label else ()), device)
        case "NTFS":
            run = ("mkntfs", "-Q", "-q", *(("-L", label) if label else ()), device)
        case None:
            return
        case other:
            raise Impossible(f"the stand-in does not format as {other}")
    linux.run(*run)


def _present(device: str) -> None:
    deadline = time.monotonic() + 10
    while not Path(device).exists():
        if time.monotonic() > deadline:
            raise Impossible(f"{device} did not appear")
        time.sleep(0.05)


def apply(disk: str, settings: dict[str, Any], *, gpt: bool) -> dict[int, str]:
    """Wipe, partition and format one disk; the devices by partition number."""
    created = setting(settings, "CreatePartitions", "CreatePartition", default=[])
    modified = {
        int(item["PartitionID"]): item
        for item in setting(settings, "ModifyPartitions", "ModifyPartition", default=[])
    }
    if created and not true(settings, "WillWipeDisk"):
        raise Impossible("the stand-in adds no partitions to a disk that is not wiped")
    if beyond := [number for number in modified if not 1 <= number <= len(created)]:
        raise Impossible(f"ModifyPartition names partition {beyond[0]}, which is not there")
    _check(created, gpt)
    linux.run(
        "sfdisk", "--wipe", "always", "-q", f"/dev/{disk}", stdin=_script(created, modified, gpt)
    )
    devices = {n: linux.partition(disk, n) for n in range(1, len(created) + 1)}
    for number, device in devices.items():
        _present(device)
        _format(device, modified.get(number, {}))
    return devices
