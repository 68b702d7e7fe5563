"""Ways for a person into a machine that stays up: its screen and a monitor, on unix sockets.

Goes in: the machine's runtime folder, which is its owner's alone. Comes out: words for QEMU's
command line. The sockets are there from the start, because QEMU can't add a screen later, and go
with the folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.machine.spec import option


@dataclass(frozen=True, slots=True)
class Doors:
    """The sockets of the screen (VNC) and of a monitor (QMP) beside the one that watches."""

    vnc: Path
    qmp: Path

    @classmethod
    def within(cls, runtime: Path) -> Doors:
        """The doors of the machine with this runtime folder."""
        return cls(runtime / "vnc.sock", runtime / "qmp.sock")

    def words(self) -> list[str]:
        """What opens them."""
        return [
            "-vnc", f"unix:{option(self.vnc)}",
            "-chardev", f"socket,id=door,path={option(self.qmp)},server=on,wait=off",
            "-mon", "chardev=door,mode=control",
        ]  # fmt: skip
