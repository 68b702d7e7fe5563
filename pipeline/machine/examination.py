"""What a host must have to build images: each thing looked at by using it.

Goes in: a workspace. Comes out: per thing a function that says what it found, or raises what is
missing with the package that brings it. The order is the order of the report.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.foundation.errors import MissingRequirement, PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import find_program, run
from pipeline.foundation.units import human_bytes
from pipeline.machine.accelerator import choose
from pipeline.machine.firmware import find_firmware
from pipeline.machine.qemu import ask_qemu
from pipeline.machine.remember import PACKAGES as QEMU_PACKAGES
from pipeline.machine.remember import install_hint
from pipeline.machine.runtime import runtime_folder
from pipeline.machine.sidecars import (
    SWTPM_PACKAGES,
    choose_sandbox,
    speaks_rust,
    virtiofsd_binary,
)

SMALLEST_DISK = 4 << 30  # a rehearsal and what it is made from
# The medium, the disks of all stages, and a finished version beside the last one.
WINDOWS_DISK = 60 << 30
WINDOWS_MEMORY = 6 << 30
YEARS = 365 * 86400.0
# What every machine of ours has; the package is that of QEMU itself.
DEVICES = (
    "virtio-blk-pci",
    "virtio-scsi-pci",
    "virtio-net-pci",
    "virtio-rng-pci",
    "ide-cd",
    "scsi-hd",
    "pvpanic",
    "VGA",
)
ONE_NAME = ("apt-get install", "dnf install", "zypper install", "pacman -S")

# Returns what was found, and raises a PipelineError when it is missing.
Look = Callable[[Workspace], str]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing a build needs: ``state`` is ok, warning (some images can't be built) or missing."""

    name: str
    state: str
    found: str
    hint: str = ""


def _packages(apt: str, dnf: str, zypper: str, pacman: str) -> str:
    names = (apt, dnf, zypper, pacman)
    return install_hint(
        {tool: f"{tool} {name}" for tool, name in zip(ONE_NAME, names, strict=True)}
    )


def _qemu(workspace: Workspace) -> str:
    qemu = ask_qemu(workspace)
    return f"{qemu.binary} {qemu.version}, aio {qemu.aio}"


def _features(workspace: Workspace) -> str:
    qemu = ask_qemu(workspace)
    lacking = [name for name in DEVICES if name not in qemu.devices]
    if lacking:
        raise MissingRequirement(
            f"{qemu.binary} lacks {', '.join(lacking)}", hint=install_hint(QEMU_PACKAGES)
        )
    return f"{len(qemu.devices)} devices, among them all that a machine has"


def _vhost_user(workspace: Workspace) -> str:
    ask_qemu(workspace).require("vhost-user-fs-pci", "QEMU built with vhost-user")
    return "vhost-user-fs-pci"


def _accelerator(workspace: Workspace) -> str:
    found = choose(workspace)
    return f"{found.name}, probe {found.seconds:.2f} s ({found.note})"


def _kvm(workspace: Workspace) -> str:
    found = choose(workspace)
    if found.name != "kvm":
        raise PipelineError(
            f"not usable ({found.note}): Windows takes hours under emulation",
            hint="enable virtualisation in the firmware or for this virtual machine, and let this "
            "user open /dev/kvm (group kvm)",
        )
    return "usable"


def _zstd(_: Workspace) -> str:
    program = find_program("qemu-img", hint=install_hint(QEMU_PACKAGES))
    with tempfile.TemporaryDirectory(prefix="golden-doctor-") as folder:
        raw = Path(folder) / "probe.raw"
        raw.touch()
        os.truncate(raw, 1 << 20)
        options = ["-c", "-o", "compression_type=zstd", "-f", "raw", "-O", "qcow2"]
        run(
            [program, "convert", *options, raw, raw.with_suffix(".qcow2")],
            deadline=20,
            hint="this qemu-img was built without zstd: " + install_hint(QEMU_PACKAGES),
        )
    return f"{program} writes zstd"


def _virtiofsd(_: Workspace) -> str:
    binary = virtiofsd_binary()
    rust = speaks_rust(binary)
    with runtime_folder() as runtime:
        sandbox = asyncio.run(choose_sandbox(binary, rust=rust, runtime=runtime))
    return f"{binary}, {'the Rust' if rust else 'the C'} one, sandbox {sandbox}"


def _setpriv(_: Workspace) -> str:
    packages = _packages("util-linux", "util-linux", "util-linux", "util-linux")
    return str(find_program("setpriv", hint=packages))


def _ports(_: Workspace) -> str:
    """A guest is reached through a port of the loopback; it must be possible to take one."""
    try:
        with socket.socket() as server, socket.socket() as client:
            server.bind(("127.0.0.1", 0))
            server.listen(1)
            client.connect(server.getsockname())
    except OSError as error:
        raise PipelineError(
            f"no port of 127.0.0.1 can be used: {error}",
            hint="see the firewall's rules for lo, and this container's network",
        ) from error
    return "127.0.0.1 can be listened on"


def _disk(workspace: Workspace, needed: int | None = None, what: str = "the smallest image") -> str:
    workspace.output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(workspace.output).free
    if free < (needed := needed or SMALLEST_DISK):
        raise PipelineError(
            f"{human_bytes(free)} free in {workspace.output}; {what} needs about "
            f"{human_bytes(needed)}",
            hint="point GOLDEN_OUTPUT and GOLDEN_CACHE at a larger disk",
        )
    return f"{human_bytes(free)} free in {workspace.output}"


def _windows_disk(workspace: Workspace) -> str:
    return _disk(workspace, WINDOWS_DISK, "a Windows image")


def _memory(_: Workspace) -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total < WINDOWS_MEMORY:
        raise PipelineError(
            f"{human_bytes(total)}; a machine with Windows has 4 GiB for itself",
            hint="give this host more memory, or a server image less (machine.memory)",
        )
    return human_bytes(total)


def _clock(workspace: Workspace) -> str:
    """Certificates and the guest's own clock need a date that is about right."""
    newest = max(path.stat().st_mtime for path in workspace.root.iterdir() if path.is_file())
    now = time.time()
    if not newest - 86400 < now < newest + 10 * YEARS:
        raise PipelineError(
            f"it says {time.strftime('%Y-%m-%d', time.gmtime(now))}, while the sources are of "
            f"{time.strftime('%Y-%m-%d', time.gmtime(newest))}",
            hint="set the clock (timedatectl set-ntp true): downloads over TLS will fail else",
        )
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))


def _swtpm(_: Workspace) -> str:
    hint = "Windows 11 images need it; " + install_hint(SWTPM_PACKAGES)
    return str(find_program("swtpm", hint=hint))


def _secure_boot(_: Workspace) -> str:
    return str(find_firmware(secure_boot=True).code)


def _offline(_: Workspace) -> str:
    packages = _packages("p7zip-full", "p7zip-plugins", "p7zip-full", "p7zip")
    hint = "reads Setup's logs from the disk of a machine that no longer answers; " + packages
    return str(find_program("7z", hint=hint))


NEEDED: dict[str, Look] = {
    "qemu": _qemu,
    "qemu features": _features,
    "shared folders": _vhost_user,
    "accelerator": _accelerator,
    "qemu-img": _zstd,
    "uefi firmware": lambda _: str(find_firmware(secure_boot=False).code),
    "virtiofsd": _virtiofsd,
    "setpriv": _setpriv,
    "ports": _ports,
    "disk": _disk,
}
WANTED: dict[str, Look] = {
    "kvm": _kvm,
    "secure boot firmware": _secure_boot,
    "swtpm": _swtpm,
    "7z": _offline,
    "disk for Windows": _windows_disk,
    "memory": _memory,
    "clock": _clock,
}
