"""The rehearsal's two installers: small real MSI packages, written by ``wixl``.

Goes in: a version. Comes out: an MSI whose properties, tables and cabinet are like any other's; its
files are place holders that the stand-in knows. Codes are derived from name and version, so that
the same version is the same product.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from pipeline.rehearsal.packages import Packages

NAMES = uuid.UUID("7f7dbb0e-3c4f-5b0e-9f0c-5a5f5d1b6c11")
EPOCH = 1704067200


@dataclass(frozen=True, slots=True)
class Product:
    """What an installer installs: a folder below Program Files, its files, its feature."""

    name: str
    folder: str
    feature: str
    files: tuple[str, ...]


WINFSP = Product(
    "WinFsp Rehearsal", "WinFsp", "F.User", ("launcher-x64.exe", "winfsp-x64.dll", "winfsp-x64.sys")
)
OPENSSH = Product(
    "OpenSSH Rehearsal",
    "OpenSSH",
    "Server",
    ("sshd.exe", "sftp-server.exe", "ssh-keygen.exe", "ssh-shellhost.exe"),
)


def code(product: Product, what: str) -> str:
    """A GUID that depends on nothing but its words."""
    return "{" + str(uuid.uuid5(NAMES, f"{product.name} {what}")).upper() + "}"


def _components(product: Product) -> tuple[str, str]:
    components, references = [], []
    for number, name in enumerate(product.files):
        guid = code(product, f"component {name}")
        source = quoteattr(f"files/{name}")
        file = f'<File Id="F{number}" Name={quoteattr(name)} Source={source} KeyPath="yes"/>'
        components.append(f'<Component Id="C{number}" Guid="{guid}">{file}</Component>')
        references.append(f'<ComponentRef Id="C{number}"/>')
    return "\n".join(components), "\n".join(references)


def source(product: Product, version: str) -> str:
    """The package in WiX's language."""
    components, references = _components(product)
    shown = quoteattr(product.name)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
<Product Id="{code(product, version)}" UpgradeCode="{code(product, "upgrade")}" Name={shown}
 Version="{version}" Manufacturer="Golden Windows rehearsal" Language="1033">
<Package InstallerVersion="500" Compressed="yes" InstallScope="perMachine"/>
<Media Id="1" Cabinet="files.cab" EmbedCab="yes"/>
<Directory Id="TARGETDIR" Name="SourceDir"><Directory Id="ProgramFiles64Folder">
<Directory Id="INSTALLDIR" Name={quoteattr(product.folder)}>
{components}
</Directory></Directory></Directory>
<Feature Id={quoteattr(product.feature)} Title={shown} Level="1">
{references}
</Feature>
</Product></Wix>
"""


def _build(packages: Packages, product: Product, version: str, scratch: Path, target: Path) -> None:
    folder = scratch / "files"
    folder.mkdir()
    for name in product.files:
        path = folder / name
        path.write_bytes(b"MZ the stand-in's place holder for " + name.encode() + b"\n")
        os.utime(path, (EPOCH, EPOCH))
    text = scratch / "package.wxs"
    text.write_text(source(product, version))
    packages.run("bin/wixl", "--arch", "x64", "-o", target, text, cwd=scratch)


def winfsp(
    packages: Packages, version: str, faults: frozenset[str], scratch: Path, target: Path
) -> None:
    """Write the stand-in for WinFsp's installer."""
    del faults
    _build(packages, WINFSP, version, scratch, target)


def openssh(
    packages: Packages, version: str, faults: frozenset[str], scratch: Path, target: Path
) -> None:
    """Write the stand-in for OpenSSH's installer."""
    del faults
    _build(packages, OPENSSH, version, scratch, target)
