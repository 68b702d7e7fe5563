"""The Linux beneath the stand-in: programs, modules, mounts, discs, the serial port, the screen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

MODULES = Path("/lib/modules/modules.json")
COM1 = Path("/dev/ttyS0")
SCREEN = Path("/dev/tty0")
# Names in any case, as Windows has them; what cannot be a Windows name is refused.
NTFS_OPTIONS = "ignore_case,windows_names,big_writes,norecover,noatime,umask=0"
PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
LOG = Path("/run/standin.log")


class Failed(Exception):
    """A program of the stand-in's own plumbing did not do its work."""


def log(text: str) -> None:
    """A line for whoever looks into a stand-in that misbehaves; never on COM1."""
    stamp = f"{time.monotonic():8.2f} {text}\n"
    if COM1.exists() and os.access(LOG.parent, os.W_OK) and MODULES.exists():
        with LOG.open("a") as stream:
            stream.write(stamp)


def output() -> TextIO:
    """Where commands write that nobody watches: the log, as the first process' own is COM1."""
    return LOG.open("a")


def run(*argv: str, stdin: str | None = None, ok: Iterable[int] = (0,)) -> str:
    """Run a program to its end; its output, or :class:`Failed` with what it said."""
    done = subprocess.run(
        argv,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=os.environ | {"PATH": PROGRAMS, "LC_ALL": "C"},
    )
    log(f"{' '.join(argv)[:200]} -> {done.returncode}")
    if done.returncode not in ok:
        raise Failed(f"{argv[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def serial(text: str) -> None:
    """One line on COM1."""
    with COM1.open("ab", buffering=0) as port:
        port.write(text.encode("ascii", "replace") + b"\r\n")


def draw(title: str, *lines: str) -> None:
    """A blue page on the screen, as text: what a screenshot will show."""
    page = [
        "\x1b[2J\x1b[H\x1b[44;37m\x1b[J",
        "",
        f"  {title}",
        "",
        *(f"  {line}" for line in lines),
    ]
    try:
        with SCREEN.open("wb", buffering=0) as screen:
            screen.write("\r\n".join(page).encode())
    except OSError:
        log(f"no screen for: {title}")


def hold() -> None:
    """Wait for ever, as a page that waits for a click does."""
    while True:
        time.sleep(3600)


def load(*names: str) -> None:
    """Load kernel modules with all they depend on; one that is absent or built in is passed over.

    One shell loads them all: under emulation every process that is started counts.
    """
    known: dict[str, list[str]] = json.loads(MODULES.read_text())
    loaded = {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}
    wanted = dict.fromkeys(path for name in names for path in known.get(name, []))
    missing = [path for path in wanted if Path(path).stem not in loaded]
    if missing:
        run("sh", "-c", 'for m in "$@"; do insmod $m; done', "load", *missing, ok=range(256))


def mount(source: str, target: str | Path, kind: str, options: str = "") -> None:
    """Mount a file system; the folder is made."""
    Path(target).mkdir(parents=True, exist_ok=True)
    run("mount", "-t", kind, *(("-o", options) if options else ()), source, str(target))


def mount_ntfs(device: str, target: Path) -> None:
    """Mount an NTFS volume for writing; the driver refuses one that is not clean."""
    target.mkdir(parents=True, exist_ok=True)
    run("lowntfs-3g", device, str(target), "-o", NTFS_OPTIONS)


def command_line() -> dict[str, str]:
    """The kernel's parameters; a word without ``=`` has an empty value."""
    words = Path("/proc/cmdline").read_text().split()
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def discs() -> list[str]:
    """The optical drives, in the order of their ports."""
    return sorted(path.name for path in Path("/sys/block").glob("sr*"))


def label(disc: str) -> str:
    """The label of a disc's volume; "" for what is none."""
    try:
        with Path(f"/dev/{disc}").open("rb") as stream:
            stream.seek(16 * 2048)
            descriptor = stream.read(2048)
    except OSError:
        return ""
    is_primary = descriptor[:6] == b"\x01CD001"
    return descriptor[40:72].decode("ascii", "replace").strip() if is_primary else ""


def disks() -> list[str]:
    """The writable disks, in the order Windows numbers them: by their place on the bus."""
    found = [p for p in Path("/sys/block").iterdir() if re.match(r"(vd|sd|nvme)", p.name)]
    return [p.name for p in sorted(found, key=lambda p: (_removable(p), str(p.resolve())))]


def _removable(path: Path) -> bool:
    return (path / "removable").read_text().strip() == "1"


def partition(disk: str, number: int) -> str:
    """The device of a disk's partition."""
    return f"/dev/{disk}{'p' if disk[-1].isdigit() else ''}{number}"


def partitions(disk: str) -> list[str]:
    """The devices of a disk's partitions, by number."""
    found = Path(f"/sys/block/{disk}").glob("*/partition")
    return [f"/dev/{p.parent.name}" for p in sorted(found, key=lambda p: int(p.read_text()))]


def file_system(device: str) -> str:
    """``ntfs``, ``vfat`` or "": what a partition holds, by its first sector."""
    with Path(device).open("rb") as stream:
        sector = stream.read(512)
    if sector[3:11] == b"NTFS    ":
        return "ntfs"
    return "vfat" if sector[82:87] == b"FAT32" or sector[54:57] == b"FAT" else ""


def uefi() -> bool:
    """Whether the firmware that started us is UEFI."""
    return Path("/sys/firmware/efi").is_dir()


def settle(disks_expected: int = 0) -> None:
    """Wait until the drives that are being probed have shown themselves, with their partitions."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        links = [p for p in Path("/sys/class/ata_link").glob("link*") if (p / "sata_spd").exists()]
        attached = [p for p in links if "Gbps" in (p / "sata_spd").read_text()]
        ready = all(partitions(disk) for disk in disks()[:1]) or not disks_expected
        if links and len(discs()) >= len(attached) and len(disks()) >= disks_expected and ready:
            return
        time.sleep(0.05)


def power(action: str) -> None:
    """Sync, then ``reboot`` or ``poweroff`` at once."""
    os.sync()
    run("busybox", action, "-f", ok=range(256))
