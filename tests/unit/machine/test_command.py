"""QEMU's command line: a table over accelerators, firmware, TPM, Secure Boot and share."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.definitions.model import Firmware
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import Size
from pipeline.machine.accelerator import ENLIGHTENMENTS, Accelerator
from pipeline.machine.command import command
from pipeline.machine.firmware import FirmwareFiles
from pipeline.machine.qemu import Host, Qemu
from pipeline.machine.spec import MachineSpec, Share, Wiring, by_hand

QEMU = Qemu(Path("/usr/bin/qemu-system-x86_64"), "8.2", frozenset(), frozenset({"hpet"}), "threads")
FILES = FirmwareFiles(Path("/fw/code.fd"), "raw", Path("/fw/vars.fd"), "raw", False, False, False)
WIRING = Wiring(
    "socket,fd=3", "socket,fd=4", Path("/e/com1.log"), Path("/e/variables.fd"), "socket,fd=5",
    "socket,fd=6",
)  # fmt: skip
SPEC = MachineSpec("win", Firmware.UEFI, 2, Size(4 << 30), Path("/d/disk.qcow2"))


def host(accelerator: str = "kvm", qemu: Qemu = QEMU) -> Host:
    return Host(Accelerator(accelerator, 0.1, ""), qemu, FILES)


def words(
    spec: MachineSpec = SPEC, where: Host | None = None, wiring: Wiring = WIRING
) -> list[str]:
    return command(spec, where or host(), wiring)


def after(argv: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(argv) if name == option]


def nodes(argv: list[str]) -> dict[str, dict[str, Any]]:
    found = [json.loads(text) for text in after(argv, "-blockdev")]
    return {node["node-name"]: node for node in found}


def devices(argv: list[str], kind: str) -> list[str]:
    return [text for text in after(argv, "-device") if text.split(",")[0] == kind]


@pytest.mark.parametrize("accelerator", ["kvm", "tcg"])
@pytest.mark.parametrize(
    ("firmware", "secure_boot"),
    [(Firmware.BIOS, False), (Firmware.UEFI, False), (Firmware.UEFI, True)],
)
@pytest.mark.parametrize("tpm", [False, True])
@pytest.mark.parametrize("share", [None, Share(Path("/s"), "work")])
def test_each_combination_has_its_parts_and_no_others(
    accelerator: str, firmware: Firmware, tpm: bool, secure_boot: bool, share: Share | None
) -> None:
    spec = replace(SPEC, firmware=firmware, tpm=tpm, secure_boot=secure_boot, share=share)
    argv = words(spec, host(accelerator))
    machine = after(argv, "-machine")[0].split(",")
    assert machine[0] == "q35"
    assert ("pflash0=code" in machine) == (firmware is Firmware.UEFI)
    assert ("graphics=off" in machine) == (firmware is Firmware.BIOS)
    assert ("smm=on" in machine) == secure_boot
    assert ("driver=cfi.pflash01,property=secure,value=on" in after(argv, "-global")) == secure_boot
    assert ("hpet=off" in machine) == (accelerator == "kvm")
    assert bool(devices(argv, "tpm-crb")) == tpm
    assert bool(devices(argv, "vhost-user-fs-pci")) == bool(share)
    assert ("memory-backend=memory" in machine) == bool(share)
    assert any("share=on" in text for text in after(argv, "-object")) == bool(share)
    assert after(argv, "-accel") == ["kvm" if accelerator == "kvm" else "tcg,thread=multi"]


def test_under_kvm_windows_gets_its_enlightenments_one_by_one() -> None:
    cpu = after(words(), "-cpu")[0].split(",")
    assert cpu[0] == "host"
    assert {"hv-time", "hv-relaxed", "hv-spinlocks=0x1fff", "hv-reset"} <= set(cpu)
    assert tuple(cpu[1:]) == ENLIGHTENMENTS


def test_under_tcg_there_are_no_enlightenments() -> None:
    assert after(words(where=host("tcg")), "-cpu") == ["max"]


def test_hpet_is_named_only_to_a_qemu_that_knows_it() -> None:
    old = host("kvm", replace(QEMU, properties=frozenset()))
    assert "hpet" not in after(words(where=old), "-machine")[0]


def test_disks_are_on_both_buses_and_trim_by_clusters() -> None:
    argv = words(replace(SPEC, scsi_disk=Path("/d/second.qcow2")))
    assert "bootindex=1" in devices(argv, "virtio-blk-pci")[0]
    for device in (*devices(argv, "virtio-blk-pci"), *devices(argv, "scsi-hd")):
        assert "discard_granularity=65536" in device
    for name in ("disk", "second"):
        assert nodes(argv)[name]["discard"] == nodes(argv)[name]["file"]["discard"] == "unmap"


@pytest.mark.parametrize("throwaway", [False, True])
def test_flushes_are_skipped_only_for_throwaway_machines(throwaway: bool) -> None:
    disk = nodes(words(replace(SPEC, throwaway=throwaway)))["disk"]
    assert disk["cache"]["no-flush"] is disk["file"]["cache"]["no-flush"] is throwaway


def test_cds_keep_their_order_and_the_first_boots_second() -> None:
    argv = words(replace(SPEC, cdroms=(Path("/i/windows.iso"), Path("/i/answers.iso"))))
    first, second = devices(argv, "ide-cd")
    assert "bus=ide.0" in first
    assert "bootindex=2" in first
    assert "bus=ide.1" in second
    assert "bootindex" not in second
    assert [nodes(argv)[name]["file"]["filename"] for name in ("cd0", "cd1")] == [
        "/i/windows.iso",
        "/i/answers.iso",
    ]
    assert nodes(argv)["cd0"]["read-only"] is True


DISCS = (Path("/i/windows.iso"), Path("/i/answers.iso"), Path("/i/other.iso"))


@pytest.mark.parametrize("firmware", Firmware)
@pytest.mark.parametrize("discs", list(itertools.permutations(DISCS)))
def test_the_medium_boots_from_whichever_drive_and_no_other_disc_does(
    firmware: Firmware, discs: tuple[Path, ...]
) -> None:
    argv = words(replace(SPEC, firmware=firmware, cdroms=discs, boot_cd=DISCS[0]))
    boots = {
        nodes(argv)[f"cd{index}"]["file"]["filename"]: text.partition("bootindex=")[2]
        for index, text in enumerate(devices(argv, "ide-cd"))
    }
    assert boots == {"/i/windows.iso": "2", "/i/answers.iso": "", "/i/other.iso": ""}
    assert [Path(nodes(argv)[f"cd{n}"]["file"]["filename"]) for n in range(3)] == list(discs)
    assert after(argv, "-boot") == ["strict=on"]  # what has no place in the order never boots


def test_a_disc_that_is_not_attached_cannot_boot() -> None:
    with pytest.raises(PipelineError, match=r"/i/other\.iso shall boot and is none"):
        words(replace(SPEC, cdroms=DISCS[:2], boot_cd=DISCS[2]))


def test_more_cds_than_ports_is_said() -> None:
    with pytest.raises(PipelineError, match="more than 6 CDs"):
        words(replace(SPEC, cdroms=(Path("/i/a.iso"),) * 7))


def test_paths_with_commas_quotes_and_spaces_survive() -> None:
    odd = Path('/d/a, "b" c.qcow2')
    argv = words(
        replace(SPEC, disk=odd, name="a,b"), wiring=replace(WIRING, log=Path("/e,e/c.log"))
    )
    assert nodes(argv)["disk"]["file"]["filename"] == str(odd)
    assert after(argv, "-name") == ["guest=a,,b"]
    assert any("logfile=/e,,e/c.log," in text for text in after(argv, "-chardev"))


def test_the_guest_reaches_nothing_and_is_reached_on_loopback_alone() -> None:
    (net,) = after(words(), "-netdev")
    assert "restrict=on" in net
    assert "hostfwd=tcp:127.0.0.1:0-:22" in net
    (open_net,) = after(words(replace(SPEC, network=True, ssh_port=2222)), "-netdev")
    assert "restrict=off" in open_net
    assert "hostfwd=tcp:127.0.0.1:2222-:22" in open_net


def test_a_panic_pauses_a_reboot_resets_a_shutdown_ends() -> None:
    assert after(words(), "-action") == ["panic=pause,reboot=reset,shutdown=poweroff"]


def test_nothing_comes_from_the_users_configuration_or_qemus_defaults() -> None:
    argv = words()
    assert {"-nodefaults", "-no-user-config"} <= set(argv)
    assert not devices(argv, "vmcoreinfo")
    assert devices(argv, "virtio-rng-pci")
    assert devices(argv, "pvpanic")
    assert devices(argv, "VGA")


def test_sticks_are_removable_and_bring_their_own_bus() -> None:
    argv = words(replace(SPEC, removable=(Path("/d/stick.img"),)))
    assert devices(argv, "qemu-xhci")
    assert "removable=on" in devices(argv, "usb-storage")[0]
    assert not devices(words(), "qemu-xhci")


def test_a_part_without_its_wire_is_refused() -> None:
    spec = replace(SPEC, share=Share(Path("/s")))
    with pytest.raises(PipelineError, match="share is not wired"):
        words(spec, wiring=replace(WIRING, share=None))
    with pytest.raises(PipelineError, match="without firmware"):
        words(wiring=replace(WIRING, variables=None))


def test_the_command_by_hand_needs_none_of_our_sockets() -> None:
    spec = replace(SPEC, share=Share(Path("/s")), tpm=True)
    assert "fd=" in " ".join(words(spec))
    manual = words(spec, wiring=by_hand(WIRING))
    assert "fd=" not in " ".join(manual)
    assert any(text.startswith("stdio,id=com1") for text in after(manual, "-chardev"))
