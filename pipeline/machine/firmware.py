"""UEFI firmware, found by QEMU's own firmware descriptors rather than by guessed paths.

Goes in: what the machine needs (Secure Boot or not). Comes out: :class:`FirmwareFiles`, or
:class:`MissingRequirement` naming the package per distribution. Descriptors are read from the
user's, the host's and the packages' folder; the same file name in a nearer folder replaces the
farther one (an empty file masks it), and names sort by precedence, as QEMU's firmware.json says.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import MissingRequirement
from pipeline.foundation.files import read_json
from pipeline.machine.remember import install_hint

PACKAGES = {
    "apt": "apt-get install ovmf",
    "dnf": "dnf install edk2-ovmf",
    "zypper": "zypper install qemu-ovmf-x86_64",
    "pacman": "pacman -S edk2-ovmf",
}
MACHINE = "pc-q35-0"  # any q35: descriptors say pc-q35-*


@dataclass(frozen=True, slots=True)
class FirmwareFiles:
    """Where the firmware's code and the template of its variables lie, and what it can do."""

    code: Path
    code_format: str
    variables: Path
    variables_format: str
    secure_boot: bool
    enrolled_keys: bool
    smm: bool


def folders() -> tuple[Path, ...]:
    """The folders of descriptors, farthest first."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return (
        Path("/usr/share/qemu/firmware"),
        Path("/etc/qemu/firmware"),
        config / "qemu" / "firmware",
    )


def _descriptors(where: Iterable[Path]) -> list[Any]:
    found = {path.name: path for folder in where for path in sorted(folder.glob("*.json"))}
    return [read_json(found[name]) for name in sorted(found)]


def _fits_machine(descriptor: dict[str, Any]) -> bool:
    return any(
        target.get("architecture") == "x86_64"
        and any(fnmatch.fnmatch(MACHINE, pattern) for pattern in target.get("machines", ()))
        for target in descriptor.get("targets", ())
    )


def _files(descriptor: dict[str, Any]) -> FirmwareFiles | None:
    mapping = descriptor.get("mapping", {})
    if mapping.get("device") != "flash" or mapping.get("mode", "split") != "split":
        return None  # one file for code and variables, or none for variables
    code, variables = mapping["executable"], mapping["nvram-template"]
    features = set(descriptor.get("features", ()))
    return FirmwareFiles(
        code=Path(code["filename"]),
        code_format=code["format"],
        variables=Path(variables["filename"]),
        variables_format=variables["format"],
        secure_boot="secure-boot" in features,
        enrolled_keys="enrolled-keys" in features,
        smm="requires-smm" in features,
    )


def _usable(descriptor: Any) -> FirmwareFiles | None:
    if not isinstance(descriptor, dict) or "uefi" not in descriptor.get("interface-types", ()):
        return None
    if not _fits_machine(descriptor):
        return None
    files = _files(descriptor)
    there = files and files.code.is_file() and files.variables.is_file()
    return files if there else None


def _suits(files: FirmwareFiles, secure_boot: bool) -> bool:
    if secure_boot:  # without enrolled keys nothing would be enforced
        return files.secure_boot and files.enrolled_keys
    # Firmware with SMM costs a mode switch at each variable access, and buys nothing here.
    return not files.enrolled_keys and not files.smm


def find_firmware(secure_boot: bool, where: Iterable[Path] | None = None) -> FirmwareFiles:
    """The first UEFI firmware for x86-64 q35 that does what is asked."""
    usable = [_usable(descriptor) for descriptor in _descriptors(where or folders())]
    for files in usable:
        if files and _suits(files, secure_boot):
            return files
    what = "with Secure Boot and enrolled keys" if secure_boot else "without Secure Boot"
    raise MissingRequirement(
        f"no UEFI firmware {what} for x86_64 q35 is installed", hint=install_hint(PACKAGES)
    )
