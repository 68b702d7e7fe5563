"""Published versions on this host: built here, pulled, or lying anywhere with their manifest.

In: what somebody typed (a path, ``name`` or ``name@version``). Out: :class:`Published`; or an error
that says what there is. Nothing here asks a store or the network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pipeline.definitions import rules
from pipeline.definitions.model import Firmware
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json
from pipeline.foundation.paths import Workspace
from pipeline.foundation.units import Sha256, Size
from pipeline.publishing import catalog, withdrawn
from pipeline.publishing.manifest import SCHEMA

MANIFEST = "manifest.json"
DEFAULT_USER = "golden"  # manifests from before they named it


@dataclass(frozen=True, slots=True)
class Published:
    """A version whose disk lies on this host; everything it says comes from its manifest."""

    image: str
    version: str
    title: str
    rehearsal: bool
    user: str
    disk: Path
    sha256: Sha256
    size: int
    virtual_size: Size
    firmware: Firmware
    cpus: int
    memory: Size
    tpm: bool
    secure_boot: bool
    built_at: str
    expires_at: str | None

    @property
    def name(self) -> str:
        """``name@version``."""
        return f"{self.image}@{self.version}"

    @classmethod
    def of(cls, folder: Path) -> Published:
        """The version in ``folder``; raises when its manifest or disk is not as it should be."""
        path = folder / MANIFEST
        try:
            found = cls._read(folder, read_json(path))
        except (TypeError, KeyError, ValueError) as error:
            raise PipelineError(
                f"{path} is not a manifest of schema {SCHEMA}: {error!r}",
                hint="pull or publish the version anew",
            ) from None
        _check_size(found)
        return found

    @classmethod
    def _read(cls, folder: Path, data: Mapping[str, Any]) -> Published:
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        disk, machine = data["disk"], data["machine"]
        return cls(
            image=str(data["image"]),
            version=str(data["version"]),
            title=str(data["title"]),
            rehearsal=bool(data["rehearsal"]),
            user=_user(data.get("user", DEFAULT_USER)),
            disk=folder / Path(disk["file"]).name,
            sha256=Sha256.parse(disk["sha256"]),
            size=int(disk["size"]),
            virtual_size=Size(disk["virtual_size"]),
            firmware=Firmware(machine["firmware"]),
            cpus=int(machine["cpus"]),
            memory=Size(machine["memory"]),
            tpm=bool(machine["tpm"]),
            secure_boot=bool(machine["secure_boot"]),
            built_at=str(data["built_at"]),
            expires_at=data.get("expires_at"),
        )


def _user(name: object) -> str:
    """The name stands in files that OpenSSH reads, and its manifest may be anybody's."""
    (rule,) = get_args(rules.UserName)[1:]
    if not isinstance(name, str) or not rule.allows(name):
        raise ValueError(f"user {str(name)[:40]!r}")
    return name


def _check_size(found: Published) -> None:
    if not found.disk.is_file():
        raise PipelineError(f"{found.name}: the disk {found.disk} is not there")
    size = found.disk.stat().st_size
    if size != found.size:
        raise PipelineError(
            f"{found.name}: {found.disk} has {size} bytes, its manifest says {found.size}",
            hint="the file was cut short or changed: pull or publish it anew",
        )


def versions(image: str, workspace: Workspace) -> list[Published]:
    """The versions of ``image`` on this host, oldest first.

    Those that this host has withdrawn, or a store when it was asked last, are left out.
    """
    found = (Published.of(folder) for _, folder in sorted(_offered(image, workspace).items()))
    return sorted(found, key=lambda one: catalog.order(one.version, one.built_at))


def _offered(image: str, workspace: Workspace) -> dict[str, Path]:
    """Folders by version, without those that were withdrawn."""
    gone = {e.version for e in catalog.load(workspace.catalog).entries(image) if e.yanked}
    return {
        name: folder
        for name, folder in _folders(image, workspace).items()
        if name not in gone and not withdrawn.by(image, name, workspace)
    }


def _folders(image: str, workspace: Workspace) -> dict[str, Path]:
    """Folders by version; what was built here comes before what was pulled."""
    places = (workspace.pulled, workspace.published)
    found = (path.parent for place in places for path in place.glob(f"{image}/[!.]*/{MANIFEST}"))
    return {folder.name: folder for folder in found}


def find(wanted: str, workspace: Workspace) -> Published:
    """The version that ``wanted`` names: a path, ``name@version``, or the newest of ``name``."""
    if "/" in wanted or wanted in (".", "..") or wanted.endswith(".qcow2"):
        return _at(Path(wanted).absolute())
    image, version = _split(wanted, workspace)
    if version:
        if folder := _folders(image, workspace).get(version):
            if stores := withdrawn.by(image, version, workspace):
                said = f"{image} {version} was withdrawn in {', '.join(stores)}"
                print(f"golden: warning: {said}", file=sys.stderr)
            return Published.of(folder)
    elif found := versions(image, workspace):
        return found[-1]
    raise _absent(image, version, workspace)


def folder_of(wanted: str, workspace: Workspace) -> Path:
    """The folder of ``name@version``, or of the newest of ``name``; nothing in it is read."""
    image, version = _split(wanted, workspace)
    newest = max(_offered(image, workspace), key=catalog.order, default="")
    if folder := _folders(image, workspace).get(version or newest):
        return folder
    raise _absent(image, version, workspace)


def _split(wanted: str, workspace: Workspace) -> tuple[str, str]:
    image, _, version = wanted.partition("@")
    if not re.fullmatch(r"[a-z0-9-]+", image):
        raise PipelineError(f"{wanted!r} names no image", hint=_known(workspace))
    return image, version


def _absent(image: str, version: str, workspace: Workspace) -> PipelineError:
    wanted = f"{image}@{version}" if version else image
    return PipelineError(
        f"{image} {version} is not on this host"
        if version
        else f"no published version of {image} is on this host",
        hint=f"run: ./doitw build:{image}, or: golden pull {wanted} ({_known(workspace)})",
    )


def _at(path: Path) -> Published:
    """The version at ``path``: its folder, its manifest, or its disk."""
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise PipelineError(f"there is nothing at {path}")
    if not (folder / MANIFEST).is_file():
        raise PipelineError(
            f"{folder} is no published version: it has no {MANIFEST}",
            hint="the manifest says what machine the disk needs; keep both together",
        )
    found = Published.of(folder)
    if path.is_file() and path.name not in (MANIFEST, found.disk.name):
        raise PipelineError(f"{path} is not the disk of {found.name}", hint=f"that is {found.disk}")
    return found


def _known(workspace: Workspace) -> str:
    names = sorted({path.parents[1].name for path in _manifests(workspace)})
    return f"on this host: {', '.join(names)}" if names else "no image is on this host"


def _manifests(workspace: Workspace) -> Iterator[Path]:
    for place in (workspace.published, workspace.pulled):
        yield from place.glob(f"[!.]*/[!.]*/{MANIFEST}")
