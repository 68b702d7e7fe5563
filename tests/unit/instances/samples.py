"""A published version and instances on it, small enough to be made for each test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.definitions.model import Firmware
from pipeline.foundation.files import sha256_file, write_json
from pipeline.foundation.paths import Workspace
from pipeline.foundation.units import Size
from pipeline.instances import instance as records
from pipeline.instances.instance import Home, Instance
from pipeline.machine import image as qemu_img

WINDOWS = Instance(
    name="agent",
    image="windows-11",
    version="26100.1-20261124.1",
    disk=Path("/store/windows-11/26100.1-20261124.1/disk.qcow2"),
    sha256="ab" * 32,
    size=12,
    user="golden",
    rehearsal=False,
    firmware=Firmware.UEFI,
    tpm=True,
    secure_boot=True,
    cpus=2,
    memory=Size(4 << 30),
    created="2026-11-24T12:00:00Z",
)


def workspace(folder: Path) -> Workspace:
    for name in ("root", "out put"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Workspace(folder / "root", folder / "out put", folder / "cache")


def manifest(disk: Path, image: str, version: str, **more: Any) -> dict[str, Any]:
    return {
        "schema": 1, "image": image, "version": version, "title": "A sample", "rehearsal": True,
        "user": "someone", "built_at": "2026-11-24T12:00:00Z",
        "disk": {"file": "disk.qcow2", "size": disk.stat().st_size, "virtual_size": 1 << 20,
                 "sha256": sha256_file(disk)},
        "machine": {"firmware": "uefi", "cpus": 2, "memory": 1 << 30, "tpm": False,
                    "secure_boot": False},
    } | more  # fmt: skip


def publish(
    place: Path, image: str = "sample", version: str = "1.0-20261124.1", **more: Any
) -> Path:
    """A version folder below ``place``; its disk is a few bytes, no real one."""
    folder = place / image / version
    folder.mkdir(parents=True)
    disk = folder / "disk.qcow2"
    disk.write_bytes(b"not a disk: " + version.encode())
    write_json(folder / "manifest.json", manifest(disk, image, version, **more))
    return folder


def publish_real(place: Path) -> Path:
    """The same around a real, empty qcow2."""
    folder = publish(place)
    disk = folder / "disk.qcow2"
    disk.unlink()
    qemu_img.create(disk, Size(1 << 20))
    data = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", data | manifest(disk, "sample", folder.name))
    disk.chmod(0o444)
    return folder


def made(space: Workspace, instance: Instance) -> Home:
    """The instance's folder with its record, and no disk."""
    home = Home(space, instance.name)
    home.folder.mkdir(parents=True)
    records.save(home, instance)
    return home
