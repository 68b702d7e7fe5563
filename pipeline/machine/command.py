"""QEMU's command line, as a pure function of the machine, the host and the wiring.

Nothing here looks at the host or opens a file; the table tests read the result. Each part of the
machine is one small function that returns its words.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.definitions.model import Firmware
from pipeline.foundation.errors import PipelineError
from pipeline.machine.accelerator import ACCEL, CPU
from pipeline.machine.qemu import Host
from pipeline.machine.spec import MachineSpec, Share, Wiring, option

# Windows' retrim fails below 8K; 64K is a qcow2 cluster, so that a trim frees whole ones.
DISCARD_GRANULARITY = 65536
AHCI_PORTS = 6
VIRTIO_FS_QUEUE = 1024


def command(spec: MachineSpec, host: Host, wiring: Wiring) -> list[str]:
    """The argument list that runs ``spec`` on ``host``."""
    return [
        str(host.qemu.binary),
        *_identity(spec),
        *_machine(spec, host),
        *_memory(spec),
        *_firmware(spec, host, wiring),
        *_disks(spec, host),
        *_cdroms(spec, host),
        *_removable(spec, host),
        *_network(spec),
        *_share(spec.share, wiring),
        *_tpm(spec, wiring),
        *_small_devices(),
        *_channels(wiring),
        *_life(),
    ]


def _identity(spec: MachineSpec) -> list[str]:
    return ["-name", f"guest={option(spec.name)}", "-nodefaults", "-no-user-config"]


def _machine(spec: MachineSpec, host: Host) -> list[str]:
    # ``q35`` without a version: a built image must not depend on the host's QEMU release. For BIOS
    # as well: SeaBIOS boots from its AHCI and virtio as it does on ``pc``, whose IDE has room for
    # four CDs, and one chipset is one set of drivers to install and to prove.
    words = ["q35"]
    name = host.accelerator.name
    if spec.share:
        words.append("memory-backend=memory")
    if spec.firmware is Firmware.UEFI:
        words += ["pflash0=code", "pflash1=variables"]
    if spec.secure_boot:
        words.append("smm=on")
    if spec.firmware is Firmware.BIOS:
        # There is a VGA all the same; "off" makes SeaBIOS copy its text to COM1.
        words.append("graphics=off")
    if name == "kvm" and "hpet" in host.qemu.properties:
        words.append("hpet=off")  # Windows takes the Hyper-V clock; the HPET only costs exits
    cpus = f"cpus={spec.cpus},sockets=1,cores={spec.cpus},threads=1"  # client editions: 1-2 sockets
    return [
        "-machine", ",".join(words),
        "-accel", ACCEL[name],
        "-cpu", CPU[name],
        "-smp", cpus,
    ]  # fmt: skip


def _memory(spec: MachineSpec) -> list[str]:
    words = ["-m", f"size={spec.memory >> 20}M"]
    if spec.share:  # virtiofsd reads and writes the guest's memory itself
        backend = f"memory-backend-memfd,id=memory,size={spec.memory >> 20}M,share=on"
        words += ["-object", backend]
    return words


def _node(**fields: Any) -> list[str]:
    # JSON, so that no character of a path needs escaping.
    fixed = {name.replace("_", "-"): value for name, value in fields.items()}
    return ["-blockdev", json.dumps(fixed, sort_keys=True)]


def _firmware(spec: MachineSpec, host: Host, wiring: Wiring) -> list[str]:
    if spec.firmware is Firmware.BIOS:
        return []
    files = host.firmware
    if files is None or wiring.variables is None:
        raise PipelineError(f"{spec.name}: a UEFI machine without firmware files")

    def flash(name: str, path: Path, form: str, read_only: bool) -> list[str]:
        file = {"driver": "file", "filename": str(path)}
        return _node(node_name=name, driver=form, file=file, read_only=read_only)

    words = flash("code", files.code, files.code_format, read_only=True)
    words += flash("variables", wiring.variables, files.variables_format, read_only=False)
    if spec.secure_boot:  # only code in system management mode may write the variables
        words += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    return words


def _disk_node(spec: MachineSpec, host: Host, name: str, path: Path) -> list[str]:
    # A machine that is thrown away when the host crashes need not wait for the disk.
    cache = {"direct": False, "no-flush": spec.throwaway}
    file = {
        "driver": "file",
        "filename": str(path),
        "aio": host.qemu.aio,
        "discard": "unmap",
        "cache": cache,
    }
    return _node(node_name=name, driver=spec.disk_format, file=file, discard="unmap", cache=cache)


def _disks(spec: MachineSpec, host: Host) -> list[str]:
    grain = f"discard_granularity={DISCARD_GRANULARITY}"
    words = _disk_node(spec, host, "disk", spec.disk)
    words += ["-device", f"virtio-blk-pci,drive=disk,bootindex=1,{grain}"]
    if spec.scsi_disk:
        words += _disk_node(spec, host, "second", spec.scsi_disk)
        words += ["-device", "virtio-scsi-pci,id=scsi"]
        words += ["-device", f"scsi-hd,bus=scsi.0,drive=second,{grain}"]
    return words


def _boot_cd(spec: MachineSpec) -> int:
    """The position of the CD that may boot."""
    if spec.boot_cd is None:
        return 0
    if spec.boot_cd not in spec.cdroms:
        raise PipelineError(f"{spec.name}: {spec.boot_cd} shall boot and is none of the CDs")
    return spec.cdroms.index(spec.boot_cd)


def _cdroms(spec: MachineSpec, host: Host) -> list[str]:
    if len(spec.cdroms) > AHCI_PORTS:
        raise PipelineError(f"{spec.name}: more than {AHCI_PORTS} CDs")
    words = []
    boots = _boot_cd(spec)
    for index, path in enumerate(spec.cdroms):
        file = {"driver": "file", "filename": str(path), "aio": host.qemu.aio}
        words += _node(node_name=f"cd{index}", driver="raw", file=file, read_only=True)
        # An empty disk falls through to this CD; once the disk boots, it wins. No other CD has a
        # place in the order (and "strict" leaves out what has none): what firmware does with discs
        # that cannot boot, or with a stranger's that can, never matters.
        order = ",bootindex=2" if index == boots else ""
        words += ["-device", f"ide-cd,bus=ide.{index},drive=cd{index}{order}"]
    return words


def _removable(spec: MachineSpec, host: Host) -> list[str]:
    words = ["-device", "qemu-xhci,id=usb"] if spec.removable else []
    for index, path in enumerate(spec.removable):
        file = {"driver": "file", "filename": str(path), "aio": host.qemu.aio}
        words += _node(node_name=f"stick{index}", driver="raw", file=file)
        words += ["-device", f"usb-storage,bus=usb.0,drive=stick{index},removable=on"]
    return words


def _network(spec: MachineSpec) -> list[str]:
    # Port 0: the kernel picks a free one while QEMU binds it, and QEMU says which.
    forward = f"hostfwd=tcp:127.0.0.1:{spec.ssh_port}-:22"
    way_out = "off" if spec.network else "on"
    # No option ROM: a network boot is never wanted.
    return [
        "-netdev", f"user,id=net,restrict={way_out},{forward}",
        "-device", "virtio-net-pci,netdev=net,romfile=",
    ]  # fmt: skip


def _share(share: Share | None, wiring: Wiring) -> list[str]:
    if not share:
        return []
    device = f"vhost-user-fs-pci,chardev=share,queue-size={VIRTIO_FS_QUEUE},tag={option(share.tag)}"
    return ["-chardev", _backend("share", wiring.share), "-device", device]


def _tpm(spec: MachineSpec, wiring: Wiring) -> list[str]:
    if not spec.tpm:
        return []
    return [
        "-chardev", _backend("tpm", wiring.tpm),
        "-tpmdev", "emulator,id=tpm0,chardev=tpm",
        "-device", "tpm-crb,tpmdev=tpm0",
    ]  # fmt: skip


def _small_devices() -> list[str]:
    # The VGA shows nothing to anyone but makes screenshots possible. No vmcoreinfo device: Windows
    # would ask for a driver. A guest that sleeps never wakes here, so S3 and S4 are off.
    return [
        "-display", "none",
        "-device", "VGA",
        "-device", "virtio-rng-pci",
        "-device", "pvpanic",
        "-global", "ICH9-LPC.disable_s3=1",
        "-global", "ICH9-LPC.disable_s4=1",
    ]  # fmt: skip


def _backend(name: str, backend: str | None) -> str:
    if backend is None:
        raise PipelineError(f"the machine's {name} is not wired")
    kind, _, rest = backend.partition(",")
    return ",".join(word for word in (kind, f"id={name}", rest) if word)


def _channels(wiring: Wiring) -> list[str]:
    com1 = f"{_backend('com1', wiring.com1)},logfile={option(wiring.log)},logappend=on"
    return [
        "-chardev", _backend("monitor", wiring.monitor),
        "-mon", "chardev=monitor,mode=control",
        "-chardev", com1,
        "-serial", "chardev:com1",
    ]  # fmt: skip


def _life() -> list[str]:
    # Windows takes the hardware clock for local time of its own zone. Images are built in UTC by
    # default, where both agree; in another zone the clock is off until the guest asks the network.
    # A panic pauses, so that the screen can still be read; a shutdown ends the process.
    return [
        "-rtc", "base=utc,driftfix=slew",
        "-boot", "strict=on",
        "-action", "panic=pause,reboot=reset,shutdown=poweroff",
    ]  # fmt: skip
