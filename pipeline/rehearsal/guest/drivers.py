"""Driver packages: the .inf that describes one, what it needs beside it, and loading it.

A stand-in driver's .sys carries one line, ``GOLDEN-STANDIN-DRIVER {JSON}``, that names the release
it was built for and the Linux modules that do its work. As on Windows, a package whose catalogue
or files are missing is not installed, and one for another release does not bind.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import linux

MARKER = b"GOLDEN-STANDIN-DRIVER "
STORE = "Windows/System32/DriverStore/FileRepository"
SERVICES = {"viofs": "VirtioFsDrv", "NetKVM": "netkvm", "Balloon": "BALLOON", "viorng": "VirtRng"}


class BadDriver(Exception):
    """Windows would not install this driver package."""


@dataclass(frozen=True, slots=True)
class Driver:
    """One driver package."""

    name: str
    inf: Path
    version: str
    files: tuple[str, ...]
    release: str
    modules: tuple[str, ...]


def sections(text: str) -> dict[str, list[str]]:
    """The sections of an .inf by name in lower case, without comments."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for raw in text.splitlines():
        line = raw.partition(";")[0].strip()
        if match := re.fullmatch(r"\[([^\]]+)\]", line):
            current = found.setdefault(match[1].strip().lower(), [])
        elif line:
            current.append(line)
    return found


def _pairs(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines)
    return {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}


def _decode(data: bytes) -> str:
    return data.decode(
        "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace"
    )


def beside(folder: Path, name: str) -> Path | None:
    """A file of the folder by its name in any case."""
    return next((p for p in folder.iterdir() if p.name.lower() == name.lower()), None)


def _marker(inf: Path, names: list[str]) -> dict[str, object]:
    for name in (name for name in names if name.lower().endswith(".sys")):
        path = beside(inf.parent, name)
        data = path.read_bytes() if path else b""
        if MARKER in data:
            line = data.split(MARKER, 1)[1].split(b"\n", 1)[0]
            marker: dict[str, object] = json.loads(line)
            return marker
    raise BadDriver(f"{inf.name}: no driver of it runs on this system")


def read(inf: Path) -> Driver:
    """A driver package by its .inf; :class:`BadDriver` says why Windows would refuse it."""
    found = sections(_decode(inf.read_bytes()))
    version = _pairs(found.get("version", []))
    if version.get("signature", "").lower() not in ("$windows nt$", "$chicago$"):
        raise BadDriver(f"{inf.name}: [Version] has no Signature")
    if not (catalog := version.get("catalogfile")) or not beside(inf.parent, catalog):
        raise BadDriver(f"{inf.name}: the catalogue is missing, so the driver is not signed")
    names = [line.partition("=")[0].strip() for line in found.get("sourcedisksfiles", [])]
    if missing := [name for name in names if not beside(inf.parent, name)]:
        raise BadDriver(f"{inf.name}: {missing[0]} is missing")
    marker = _marker(inf, names)
    modules = marker.get("modules", [])
    return Driver(
        str(marker["driver"]),
        inf,
        version.get("driverver", ",").split(",")[-1].strip(),
        (inf.name, catalog, *names),
        str(marker["release"]),
        tuple(str(m) for m in modules) if isinstance(modules, list) else (),
    )


def scan(folder: Path) -> Iterator[Driver]:
    """The driver packages in a folder and below; those Windows would refuse are logged."""
    for inf in sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".inf"):
        try:
            yield read(inf)
        except BadDriver as error:
            linux.log(f"driver: {error}")


def store(driver: Driver, system: Path) -> Path:
    """Copy a package into the driver store of the Windows in ``system``."""
    target = system / STORE / f"{driver.inf.name.lower()}_amd64_{driver.version}"
    target.mkdir(parents=True, exist_ok=True)
    for name in driver.files:
        if path := beside(driver.inf.parent, name):
            shutil.copyfile(path, target / path.name)
    return target


def stored(system: Path) -> list[Driver]:
    """The packages in the driver store."""
    return list(scan(system / STORE))


def _proof(driver: Driver) -> list[bytes]:
    """What makes a package this very one: its .inf and its catalogue, which signs the rest."""
    found = (beside(driver.inf.parent, name) for name in driver.files[:2])
    return [path.read_bytes() for path in found if path]


def same(one: Driver, other: Driver) -> bool:
    """Whether both are the same package in the same version."""
    if (one.name, one.version) != (other.name, other.version):
        return False
    return _proof(one) == _proof(other)


def service(driver: Driver) -> str:
    """The name of the service that a driver package makes."""
    return SERVICES.get(driver.name, driver.name.lower())


def bind(driver: Driver, release: str) -> bool:
    """Load what the driver stands for; only if it was built for this release."""
    if driver.release != release:
        linux.log(f"driver {driver.name} is for {driver.release}, this is {release}")
        return False
    linux.load("virtio_pci", *driver.modules)
    return True
