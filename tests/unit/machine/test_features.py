"""Features are what a QEMU says of itself: recorded from 7.2, and as other releases differ."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.definitions.model import Firmware
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import ProgramFailed
from pipeline.foundation.units import Size
from pipeline.machine import qemu
from pipeline.machine.accelerator import Accelerator
from pipeline.machine.command import command
from pipeline.machine.examination import DEVICES
from pipeline.machine.firmware import FirmwareFiles
from pipeline.machine.qemu import Host, Qemu, ask_qemu
from pipeline.machine.spec import MachineSpec, Share, Wiring
from tests.tools import needs

# Debian 12's QEMU, shortened to what matters and what might mislead.
DEVICE_HELP = """\
Controller/Bridge/Hub devices:
name "virtio-scsi-pci", bus PCI, alias "virtio-scsi"
name "virtio-scsi-pci-transitional", bus PCI

Storage devices:
name "ide-cd", bus IDE, desc "virtual IDE CD-ROM"
name "scsi-hd", bus SCSI, desc "virtual SCSI disk"
name "vhost-user-fs-pci", bus PCI
name "virtio-blk-pci", bus PCI, alias "virtio-blk"
name "usb-storage", bus usb-bus

Network devices:
name "virtio-net-pci", bus PCI, alias "virtio-net"

Display devices:
name "VGA", bus PCI

Misc devices:
name "pvpanic", bus ISA
name "pvpanic-pci", bus PCI
name "tpm-crb"
name "virtio-rng-pci", bus PCI, alias "virtio-rng"
name "vmcoreinfo"

USB devices:
name "qemu-xhci", bus PCI
"""
MACHINE_HELP = """\
pc-q35-7.2-machine options:
  acpi=<OnOffAuto>       - Enable ACPI
  confidential-guest-support=<link<confidential-guest-support>> - Set confidential guest scheme
  graphics=<bool>        - Set on/off to enable/disable graphics emulation
  hpet=<bool>            - Enable/disable high precision event timer emulation
  memory-backend=<link<memory-backend>> - Set RAM backendValid value is ID of hostmem based backend
  smm=<OnOffAuto>        - Enable SMM
  x-oem-id=<string>      - Override the default value of field OEMID in ACPI table header.
"""
# The first line of -version in the distributions that are supported, and what each prints above.
RELEASES = {
    "6.2.0": "QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-2ubuntu6.26)",
    "7.2.22": "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)",
    "8.2.2": "QEMU emulator version 8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.10)",
    "9.2.4": "QEMU emulator version 9.2.4 (qemu-9.2.4-1.fc42)",
    "10.0.2": "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1)",
}


def install(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    devices: str = DEVICE_HELP,
    machine: str = MACHINE_HELP,
    aio: str = "io_uring",
) -> Qemu:
    """Ask a QEMU that says these things."""
    binary = tmp_path / "qemu"
    binary.touch()
    said = {"-version": f"{version}\nCopyright\n", "-device": devices, "-machine": machine}
    monkeypatch.setattr(qemu, "qemu_binary", lambda: binary)
    monkeypatch.setattr(qemu, "_ask", lambda _, option, *rest: said[option])
    monkeypatch.setattr(qemu, "_aio", lambda: aio)
    return ask_qemu(Workspace(tmp_path, tmp_path / "output", tmp_path / "cache"))


def argv(what: Qemu, name: str = "kvm") -> list[str]:
    """The command line of a machine with everything."""
    files = FirmwareFiles(Path("/c"), "raw", Path("/v"), "raw", True, True, True)
    folder = Path("/d")
    spec = MachineSpec(
        "win", Firmware.UEFI, 2, Size(4 << 30), folder / "disk", scsi_disk=folder / "second",
        cdroms=(folder / "iso",), removable=(folder / "stick",), share=Share(folder), tpm=True,
        secure_boot=True, throwaway=True,
    )  # fmt: skip
    wires = [f"socket,fd={number}" for number in range(3, 7)]
    wiring = Wiring(wires[0], wires[1], folder / "log", folder / "vars", wires[2], wires[3])
    return command(spec, Host(Accelerator(name, 0.1, ""), what, files), wiring)


def after(words: Sequence[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == option]


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_gets_a_command_line_that_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    found = install(tmp_path, monkeypatch, RELEASES[release])
    assert found.version == release
    words = argv(found)
    devices = {text.split(",")[0] for text in after(words, "-device")}
    assert devices <= found.devices
    assert set(DEVICES) <= devices
    (machine,) = after(words, "-machine")
    name, *properties = machine.split(",")
    assert name == "q35"
    known = found.properties | {"pflash0", "pflash1"}  # these two are not printed
    assert {text.partition("=")[0] for text in properties} <= known
    assert "vmcoreinfo" not in devices


def test_names_and_properties_are_read_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = install(tmp_path, monkeypatch, RELEASES["7.2.22"])
    assert "virtio-blk" not in found.devices  # an alias is no name
    assert len(found.devices) == DEVICE_HELP.count("name ")
    assert len(found.properties) == MACHINE_HELP.count("\n  ")
    assert "confidential-guest-support" in found.properties


@pytest.mark.parametrize("lacking", ["vhost-user-fs-pci", "tpm-crb"])
def test_what_a_build_of_qemu_lacks_is_asked_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    less = "\n".join(line for line in DEVICE_HELP.splitlines() if lacking not in line)
    found = install(tmp_path, monkeypatch, RELEASES["10.0.2"], devices=less)
    assert lacking not in found.devices


def test_a_property_that_a_release_lacks_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = re.sub(r"  hpet=.*\n", "", MACHINE_HELP)
    found = install(tmp_path, monkeypatch, RELEASES["6.2.0"], machine=without)
    assert "hpet" not in after(argv(found), "-machine")[0]


def test_a_version_that_nobody_understands_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert install(tmp_path, monkeypatch, "something else").version == "unknown"


@pytest.mark.parametrize(("works", "aio"), [(True, "io_uring"), (False, "threads")])
def test_io_uring_is_taken_where_it_works(
    monkeypatch: pytest.MonkeyPatch, works: bool, aio: str
) -> None:
    """A kernel, or the filter of a container, may refuse what this QEMU was built with."""

    def bench(words: list[object], *, deadline: float) -> None:
        assert "io_uring" in words
        if not works:
            raise ProgramFailed("qemu-img failed: Operation not permitted")

    monkeypatch.setattr(qemu, "run", bench)
    assert qemu._aio() == aio


@pytest.mark.parametrize("aio", ["io_uring", "threads"])
def test_every_disk_and_cd_uses_what_the_probe_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aio: str
) -> None:
    words = argv(install(tmp_path, monkeypatch, RELEASES["8.2.2"], aio=aio))
    nodes = [text for text in after(words, "-blockdev") if "pflash" not in text and "/d/" in text]
    disks = [text for text in nodes if "/d/vars" not in text]
    assert len(disks) == 4
    assert all(f'"aio": "{aio}"' in text for text in disks)


@needs("qemu-system-x86_64")
def test_the_installed_qemu_knows_all_we_ask_of_it(tmp_path: Path) -> None:
    found = ask_qemu(Workspace(tmp_path, tmp_path / "output", tmp_path / "cache"))
    devices = {text.split(",")[0] for text in after(argv(found), "-device")}
    assert devices <= found.devices
