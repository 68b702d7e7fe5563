"""The first process of the guest: file systems, then Setup or the installed system."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from . import linux

LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "fd/0",
    "/dev/stdout": "fd/1",
    "/dev/stderr": "fd/2",
}


def _file_systems() -> None:
    for kind, target in (
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
    ):
        linux.mount(kind, target, kind)
    linux.mount("devpts", "/dev/pts", "devpts", "ptmxmode=666")
    for link, target in LINKS.items():
        if not os.path.lexists(link):
            Path(link).symlink_to(target)


def bugcheck(code: str, explanation: str) -> None:
    """The stop page: the reason on COM1 and on the screen, and the machine halts there."""
    linux.serial(f"STAND-IN stopped: {code} {explanation}")
    _last_log()
    linux.draw(":(", "Your device ran into a problem.", "", f"Stop code: {code}", explanation)
    linux.hold()


def _last_log() -> None:
    for line in linux.LOG.read_text().splitlines()[-12:] if linux.LOG.exists() else []:
        linux.serial(f"STAND-IN   {line}")


def crash(code: str, explanation: str) -> None:
    """Stop as a system does whose pvpanic driver tells the host of it."""
    linux.serial(f"STAND-IN stopped: {code} {explanation}")
    _last_log()
    linux.draw(":(", "Your device ran into a problem.", "", code, explanation)
    linux.load("pvpanic_mmio", "pvpanic_pci")
    Path("/proc/sysrq-trigger").write_text("c")
    linux.hold()


def main() -> None:
    """Never returns: a first process that ends takes the kernel with it."""
    try:
        _file_systems()
        if linux.command_line().get("standin.phase") == "setup":
            from . import setup

            setup.main()
        else:
            from . import windows

            windows.main()
    except BaseException:
        text = traceback.format_exc()
        for line in text.splitlines():
            linux.serial(f"STAND-IN {line}")
        try:
            crash("STAND_IN_BUG", text.strip().splitlines()[-1])
        finally:
            sys.stdout.flush()
            linux.hold()
