"""The rehearsal's driver disc, laid out like virtio-win's.

Goes in: a version. Comes out: an ISO with ``DRIVER/RELEASE/amd64/`` for nine drivers and five
releases. Each package has a valid ``.inf``, a catalogue and a ``.sys`` whose only content is a
marker: the release it was built for and the Linux modules that do its work in the stand-in.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.foundation import process
from pipeline.rehearsal.packages import Packages

LABEL = "virtio-win-rehearsal"
RELEASES = ("2k19", "2k22", "2k25", "w10", "w11")
MARKER = "GOLDEN-STANDIN-DRIVER"
DATE = "01/15/2026"
EPOCH = 1768435200  # the day of DATE
PROGRAM = b"MZ the stand-in's place holder for virtiofs.exe\n"


@dataclass(frozen=True, slots=True)
class Kind:
    """A driver: its folder and file names, its class, the device it binds, its Linux modules."""

    folder: str
    file: str
    group: str
    identity: str
    device: str
    service: str
    modules: tuple[str, ...]


PVPANIC = ("pvpanic_mmio", "pvpanic_pci")
SCSI = ("SCSIAdapter", "{4d36e97b-e325-11ce-bfc1-08002be10318}")
NET = ("Net", "{4d36e972-e325-11ce-bfc1-08002be10318}")
SYSTEM = ("System", "{4d36e97d-e325-11ce-bfc1-08002be10318}")
KINDS = (
    Kind("viostor", "viostor", *SCSI, "VEN_1AF4&DEV_1001", "viostor", ("virtio_blk",)),
    Kind("vioscsi", "vioscsi", *SCSI, "VEN_1AF4&DEV_1004", "vioscsi", ("virtio_scsi", "sd_mod")),
    Kind("NetKVM", "netkvm", *NET, "VEN_1AF4&DEV_1000", "netkvm", ("virtio_net",)),
    Kind("viofs", "viofs", *SYSTEM, "VEN_1AF4&DEV_105A", "VirtioFsDrv", ("virtiofs",)),
    Kind("Balloon", "balloon", *SYSTEM, "VEN_1AF4&DEV_1002", "BALLOON", ("virtio_balloon",)),
    Kind("viorng", "viorng", *SYSTEM, "VEN_1AF4&DEV_1005", "VirtRng", ("virtio_rng",)),
    Kind("vioserial", "vioser", *SYSTEM, "VEN_1AF4&DEV_1003", "VirtioSerial", ("virtio_console",)),
    Kind("pvpanic", "pvpanic", *SYSTEM, "QEMU0001", "pvpanic", PVPANIC),
    Kind("qemufwcfg", "qemufwcfg", *SYSTEM, "QEMU0002", "qemufwcfg", ("qemu_fw_cfg",)),
)
INF = """\
; A stand-in: the rehearsal's package for {device}. It drives nothing on Windows.
[Version]
Signature = "$WINDOWS NT$"
Class = {group}
ClassGuid = {identity}
Provider = %Provider%
CatalogFile = {file}.cat
DriverVer = {date},{version}

[SourceDisksNames]
1 = %Disk%

[SourceDisksFiles]
{file}.sys = 1

[DestinationDirs]
DefaultDestDir = 12

[Manufacturer]
%Provider% = Rehearsal, NTamd64

[Rehearsal.NTamd64]
%Device% = Install, {bus}\\{device}

[Install.NT]
CopyFiles = Files

[Files]
{file}.sys

[Install.NT.Services]
AddService = {service}, 2, Service

[Service]
ServiceType = 1
StartType = {start}
ErrorControl = 1
ServiceBinary = %12%\\{file}.sys

[Strings]
Provider = "Golden Windows rehearsal"
Disk = "Rehearsal driver disc"
Device = "Stand-in for {folder}"
"""


def driver_version(version: str) -> str:
    """The version that the drivers bear: Windows' part, then the disc's own number."""
    return f"100.100.{version.rsplit('.', maxsplit=1)[-1]}.0"


def package(kind: Kind, release: str, version: str) -> dict[str, bytes]:
    """The files of one driver for one release, by name."""
    inf = INF.format(
        folder=kind.folder,
        file=kind.file,
        group=kind.group,
        identity=kind.identity,
        device=kind.device,
        service=kind.service,
        bus="PCI" if kind.device.startswith("VEN_") else "ACPI",
        start=0 if kind.group == "SCSIAdapter" else 3,
        date=DATE,
        version=driver_version(version),
    )
    marker = {"driver": kind.folder, "release": release, "modules": list(kind.modules)}
    marked = json.dumps(marker | {"service": kind.service}, sort_keys=True)
    found = {
        f"{kind.file}.inf": inf.replace("\n", "\r\n").encode("ascii"),
        f"{kind.file}.cat": f"the stand-in's catalogue of {kind.file} for {release}\n".encode(),
        f"{kind.file}.sys": f"MZ\n{MARKER} {marked}\n".encode(),
    }
    return found | ({"virtiofs.exe": PROGRAM} if kind.folder == "viofs" else {})


def build(
    packages: Packages, version: str, faults: frozenset[str], scratch: Path, target: Path
) -> None:
    """Write the disc to ``target``."""
    del faults  # none of them is the driver disc's
    tree = scratch / "tree"
    for kind in KINDS:
        for release in RELEASES:
            folder = tree / kind.folder / release / "amd64"
            folder.mkdir(parents=True)
            for name, data in package(kind, release, version).items():
                (folder / name).write_bytes(data)
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, (EPOCH, EPOCH))
    options = ("-quiet", "-J", "-R", "-V", LABEL, "-iso-level", "3", "-o", target, tree)
    process.run(packages.argv("bin/genisoimage", *options), deadline=120)
