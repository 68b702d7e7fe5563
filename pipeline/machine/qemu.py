"""What this QEMU can do, asked of the binary itself, never guessed from a version or distribution.

Comes out: :class:`Qemu`, remembered in the output folder until the binary changes.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import MissingRequirement
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import ProgramFailed, run
from pipeline.machine.accelerator import BOOT_ID, Accelerator
from pipeline.machine.firmware import FirmwareFiles
from pipeline.machine.remember import identity, qemu_binary, remembered

DEADLINE = 20.0


@dataclass(frozen=True, slots=True)
class Qemu:
    """A QEMU binary and its features; ``properties`` are those of the q35 machine."""

    binary: Path
    version: str
    devices: frozenset[str]
    properties: frozenset[str]
    aio: str

    def require(self, device: str, package: str) -> None:
        """Raise :class:`MissingRequirement` when this QEMU lacks ``device``."""
        if device not in self.devices:
            raise MissingRequirement(
                f"{self.binary} {self.version} has no device {device}",
                hint=f"install the package that brings it ({package}), or another QEMU",
            )


@dataclass(frozen=True, slots=True)
class Host:
    """What the command line takes from the host."""

    accelerator: Accelerator
    qemu: Qemu
    firmware: FirmwareFiles | None = None


def _ask(binary: Path, *words: str) -> str:
    return run([binary, *words], deadline=DEADLINE).output


def _aio() -> str:
    """``io_uring`` where both QEMU and the kernel (or a container's filter) allow it."""
    with tempfile.TemporaryDirectory(prefix="golden-probe-") as folder:
        disk = Path(folder) / "aio.img"
        disk.touch()
        os.truncate(disk, 1 << 20)
        argv = ["qemu-img", "bench", "-c", "1", "-s", "512", "-f", "raw"]
        try:
            run([*argv, "-i", "io_uring", disk], deadline=DEADLINE)
        except ProgramFailed:
            return "threads"
    return "io_uring"


def _find(binary: Path) -> dict[str, Any]:
    version = re.search(r"version (\S+)", _ask(binary, "-version"))
    return {
        "version": version[1] if version else "unknown",
        "devices": sorted(set(re.findall(r'name "([^"]+)"', _ask(binary, "-device", "help")))),
        "properties": re.findall(
            r"^  ([\w.-]+)=", _ask(binary, "-machine", "q35,help"), re.MULTILINE
        ),
        "aio": _aio(),
    }


def ask_qemu(workspace: Workspace) -> Qemu:
    """The installed QEMU's features."""
    binary = qemu_binary()
    key = {"qemu": identity(binary), "boot": BOOT_ID.read_text().strip()}
    answer = remembered(workspace.output / "qemu.json", key, lambda: _find(binary))
    return Qemu(
        binary=binary,
        version=answer["version"],
        devices=frozenset(answer["devices"]),
        properties=frozenset(answer["properties"]),
        aio=answer["aio"],
    )
