"""The rehearsal's Windows medium, laid out like Microsoft's.

A UDF bridge disc whose ISO 9660 side shows only README.TXT; ``sources/install.wim`` with four
editions and true metadata; El Torito for BIOS and UEFI; and, where Windows would have its
boot.wim, the stand-in's kernel and first file system.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.foundation import process
from pipeline.rehearsal import initramfs, loader
from pipeline.rehearsal.packages import Packages

LABEL = "SSS_X64FREE_EN-US_DV9"
RELEASE = "2k25"
EDITIONS = (
    ("SERVERSTANDARDCORE", "ServerStandardEval", "Server Core"),
    ("SERVERSTANDARD", "ServerStandardEval", "Server"),
    ("SERVERDATACENTERCORE", "ServerDatacenterEval", "Server Core"),
    ("SERVERDATACENTER", "ServerDatacenterEval", "Server"),
)
README = (
    'This disc contains a "UDF" file system and requires an operating system\r\n'
    'that supports the ISO-13346 "UDF" file system specification.\r\n'
)
FOLDERS = (
    "PerfLogs",
    "Program Files",
    "Program Files (x86)",
    "ProgramData",
    "Users/Default",
    "Users/Public",
    "Windows/Boot",
    "Windows/Logs",
    "Windows/Panther",
    "Windows/System32/config",
    "Windows/System32/drivers",
    "Windows/System32/DriverStore/FileRepository",
    "Windows/System32/Sysprep",
    "Windows/Temp",
)
PROGRAMS = (
    "cmd",
    "reg",
    "shutdown",
    "sc",
    "msiexec",
    "Sysprep/sysprep",
    "WindowsPowerShell/v1.0/powershell",
)
EPOCH = 1704067200  # one fixed time on every file


def _skeleton(folder: Path, edition: str, version: str) -> None:
    """The files of an installed Windows that anything ever looks for."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    system = folder / "Windows/System32"
    for name in PROGRAMS:
        path = system / f"{name}.exe"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"MZ the stand-in's place holder for " + name.encode() + b"\n")
    (system / "ntoskrnl.exe").write_bytes(b"MZ" + bytes(62) + version.encode())
    (system / "standin.txt").write_text(f"{RELEASE}\n{edition}\n{version}\n")


def _properties(edition: str, identity: str, installation: str, version: str) -> dict[str, str]:
    """The metadata that Microsoft's images have, as wimlib takes it."""
    major, _, minor = version.partition(".")
    windows = {
        "ARCH": "9",
        "PRODUCTNAME": "Microsoft\N{REGISTERED SIGN} Windows\N{REGISTERED SIGN} Operating System",
        "EDITIONID": identity,
        "INSTALLATIONTYPE": installation,
        "PRODUCTTYPE": "ServerNT",
        "PRODUCTSUITE": "Terminal Server",
        "LANGUAGES/LANGUAGE": "en-US",
        "LANGUAGES/DEFAULT": "en-US",
        "VERSION/MAJOR": "10",
        "VERSION/MINOR": "0",
        "VERSION/BUILD": major,
        "VERSION/SPBUILD": minor or "0",
        "VERSION/SPLEVEL": "0",
        "VERSION/BRANCH": "ge_release",
        "SYSTEMROOT": "WINDOWS",
    }
    name = identity.removeprefix("Server").removesuffix("Eval")
    shown = f"Windows Rehearsal {name} Evaluation ({installation})"
    return {f"WINDOWS/{key}": value for key, value in windows.items()} | {
        "DISPLAYNAME": shown,
        "DISPLAYDESCRIPTION": f"A stand-in for {edition}",
        "FLAGS": identity,
    }


def _same_times(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def install_image(packages: Packages, version: str, scratch: Path, target: Path) -> None:
    """``install.wim`` with the four editions."""
    for number, (edition, identity, installation) in enumerate(EDITIONS):
        source = scratch / edition
        _skeleton(source, edition, version)
        _same_times(source)
        name = f"Windows Rehearsal {edition}"
        properties = _properties(edition, identity, installation, version)
        given = [w for k, v in properties.items() for w in ("--image-property", f"{k}={v}")]
        verb = "append" if number else "capture"
        common = ("--no-acls", *(() if number else ("--compress=XPRESS",)))
        packages.run("bin/wimlib-imagex", verb, source, target, name, name, *common, *given)


def _boot(packages: Packages, faults: frozenset[str], scratch: Path, tree: Path) -> None:
    """The loaders at Microsoft's places, the stand-in's own below ``boot/standin``."""
    images = scratch / "loader"
    loader.build(packages, images, LABEL, ",".join(sorted(faults)))
    own = tree / "boot/standin"
    own.mkdir(parents=True)
    (tree / "efi/microsoft/boot").mkdir(parents=True)
    (tree / "efi/boot").mkdir(parents=True)
    (images / "etfsboot.com").replace(tree / "boot/etfsboot.com")
    (images / "efisys.bin").replace(tree / "efi/microsoft/boot/efisys.bin")
    (images / "medium.efi").replace(tree / "efi/boot/bootx64.efi")
    for name in ("disk.efi", "core.img", "boot.img"):
        (images / name).replace(own / name)
    (own / "vmlinuz").write_bytes(packages.kernel.read_bytes())
    (own / "release").write_text(f"{RELEASE}\n")
    initramfs.build(packages, own / "initramfs")
    initramfs.medium_programs(packages, own / "programs")


def _hidden(tree: Path) -> list[str]:
    """Every name but README.TXT, for the ISO 9660 side; the UDF side shows them all."""
    names = sorted({path.name for path in tree.rglob("*")} - {"README.TXT"})
    return [word for name in names for word in ("-hide", name)]


def _image(packages: Packages, tree: Path, target: Path) -> None:
    options = ("-quiet", "-udf", "-iso-level", "3", "-allow-limited-size", "-V", LABEL)
    bios = ("-b", "boot/etfsboot.com", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table")
    uefi = ("-eltorito-alt-boot", "-e", "efi/microsoft/boot/efisys.bin", "-no-emul-boot")
    catalog = ("-c", "boot/boot.cat")
    argv = packages.argv(
        "bin/genisoimage", *options, *_hidden(tree), *bios, *catalog, *uefi, "-o", target, tree
    )
    process.run(argv, deadline=300)


def build(
    packages: Packages, version: str, faults: frozenset[str], scratch: Path, target: Path
) -> None:
    """Write the medium to ``target``."""
    tree = scratch / "tree"
    (tree / "sources").mkdir(parents=True)
    (tree / "README.TXT").write_text(README)
    (tree / "setup.exe").write_bytes(b"MZ the stand-in's place holder for setup\n")
    _boot(packages, faults, scratch, tree)
    install_image(packages, version, scratch / "editions", tree / "sources/install.wim")
    _same_times(tree)
    _image(packages, tree, target)
