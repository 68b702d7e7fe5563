"""``golden doctor``: whether this host can build, and what to install where it can't."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import find_program
from pipeline.foundation.process import run as run_program
from pipeline.foundation.units import human_bytes
from pipeline.machine.accelerator import choose
from pipeline.machine.firmware import find_firmware
from pipeline.machine.qemu import ask_qemu
from pipeline.machine.sidecars import virtiofsd_binary
from pipeline.publishing.version import CONVERT_OPTIONS

WINDOWS_DISK = 40 << 30
WINDOWS_MEMORY = 6 << 30

# Returns what was found, and raises a PipelineError when it is missing.
Look = Callable[[Workspace], str]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing a build needs: ``state`` is ok, warning (some images can't be built) or missing."""

    name: str
    state: str
    found: str
    hint: str = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden doctor``."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the lines; 1 when a build can't work on this host."""
    lines = examine(Workspace.default())
    if args.json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    else:
        for line in lines:
            print(f"{line.state:<8} {line.name:<20} {line.found}")
            if line.hint:
                print(f"{'':<8} {'':<20} hint: {line.hint}")
    return int(any(line.state == "missing" for line in lines))


def examine(workspace: Workspace) -> list[Line]:
    """Look at everything, needed things first."""
    needed = [_look(workspace, name, look, "missing") for name, look in NEEDED.items()]
    return needed + [_look(workspace, name, look, "warning") for name, look in WANTED.items()]


def _look(workspace: Workspace, name: str, look: Look, otherwise: str) -> Line:
    try:
        return Line(name, "ok", look(workspace))
    except PipelineError as error:
        return Line(name, otherwise, error.message.splitlines()[0], error.hint)


def _qemu(workspace: Workspace) -> str:
    qemu = ask_qemu(workspace)
    return f"{qemu.binary} {qemu.version}, {len(qemu.devices)} devices, aio {qemu.aio}"


def _accelerator(workspace: Workspace) -> str:
    found = choose(workspace)
    return f"{found.name}, probe {found.seconds:.2f} s {found.note}".rstrip()


def _kvm(workspace: Workspace) -> str:
    found = choose(workspace)
    if found.name != "kvm":
        raise PipelineError(
            "not usable: Windows takes hours under emulation",
            hint=found.note or "enable virtualisation, and let this user open /dev/kvm",
        )
    return "usable"


def _zstd(_: Workspace) -> str:
    with tempfile.TemporaryDirectory(prefix="golden-doctor-") as folder:
        raw = Path(folder) / "probe.raw"
        raw.touch()
        os.truncate(raw, 1 << 20)
        argv = ["qemu-img", "convert", *CONVERT_OPTIONS, "-f", "raw", "-O", "qcow2"]
        run_program([*argv, raw, raw.with_suffix(".qcow2")], deadline=20)
    return f"{find_program('qemu-img')} writes zstd"


def _disk(workspace: Workspace) -> str:
    workspace.output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(workspace.output).free
    if free < WINDOWS_DISK:
        raise PipelineError(
            f"{human_bytes(free)} free in {workspace.output}; a Windows image needs about "
            f"{human_bytes(WINDOWS_DISK)}",
            hint="point GOLDEN_OUTPUT and GOLDEN_CACHE at a larger disk",
        )
    return f"{human_bytes(free)} free in {workspace.output}"


def _memory(_: Workspace) -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total < WINDOWS_MEMORY:
        raise PipelineError(f"{human_bytes(total)}; Windows 11 needs 4 GiB for itself")
    return human_bytes(total)


NEEDED: dict[str, Look] = {
    "qemu": _qemu,
    "accelerator": _accelerator,
    "qemu-img": _zstd,
    "uefi firmware": lambda _: str(find_firmware(secure_boot=False).code),
    "virtiofsd": lambda _: str(virtiofsd_binary()),
    "setpriv": lambda _: str(find_program("setpriv", hint="install util-linux")),
}
WANTED: dict[str, Look] = {
    "kvm": _kvm,
    "secure boot firmware": lambda _: str(find_firmware(secure_boot=True).code),
    "swtpm": lambda _: str(find_program("swtpm", hint="install swtpm: Windows 11 images need it")),
    "disk": _disk,
    "memory": _memory,
}
