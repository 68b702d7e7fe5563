"""What can go: versions beyond the policy, leftovers of what was killed, pulled copies if asked.

Goes in: catalogs, folders, the policy of each image. Comes out: a list of what goes and why;
nothing is touched before it is complete. A version leaves the catalog first and loses its files
then, so that nobody begins to pull what is about to go. What an instance stands on stays.
"""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.foundation.locks import lock_free
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress
from pipeline.publishing import catalog as catalogs
from pipeline.publishing.catalog import Catalog, Entry, Sign, superfluous
from pipeline.publishing.stores.base import WritableStore
from pipeline.publishing.stores.push import Publisher, change
from pipeline.publishing.trust import Trust

OLD = 24 * 3600.0
"""Seconds without a change before a leftover is one."""
_QCOW2 = b"QFI\xfb"


@dataclass(frozen=True, slots=True)
class Waste:
    """Something that can go, and why."""

    path: Path
    size: int
    why: str


def versions(
    catalog: Catalog, keep: Mapping[str, int], used: frozenset[Path], root: Path | None
) -> list[Entry]:
    """The versions in a catalog that the policy does not keep; ``used`` disks stay."""
    return [
        entry
        for image, entries in catalog.images.items()
        for entry in superfluous(entries, keep.get(image, len(entries)))
        if root is None or (root / entry.key / entry.disk).resolve() not in used
    ]


def waste_of(entries: Sequence[Entry], root: Path) -> list[Waste]:
    """Versions as folders."""
    return [Waste(root / e.key, _size(root / e.key), _why(e)) for e in entries]


def _why(entry: Entry) -> str:
    return "withdrawn" if entry.yanked else "beyond the versions to keep"


def unlisted(root: Path) -> list[Waste]:
    """Leftovers of publishing and removing that nobody has touched for a day."""
    return [
        Waste(path, _size(path), "left behind by a run that was killed")
        for path in sorted(root.glob("*/.*.part"))
        if path.is_dir() and _untouched(path)
    ]


def downloads(workspace: Workspace) -> list[Waste]:
    """Downloads nobody goes on with, and hidden halves of pulled versions."""
    idle = [
        part
        for part in sorted(workspace.partial.glob("*.part"))
        if lock_free(part.with_suffix(".lock")) and _untouched(part)
    ]
    halves = [path for path in sorted(workspace.pulled.glob("*/.*.part")) if _untouched(path)]
    why = "a transfer that nobody went on with for a day"
    return [Waste(path, _size(path), why) for path in (*idle, *halves)]


def pulled(workspace: Workspace, used: frozenset[Path]) -> list[Waste]:
    """Pulled versions that no instance stands on."""
    return [
        Waste(folder.parent, _size(folder.parent), "pulled, and no instance uses it")
        for folder in sorted(workspace.pulled.glob("*/*/manifest.json"))
        if not folder.parent.name.startswith(".")
        and not any(disk.parent == folder.parent.resolve() for disk in used)
    ]


def _untouched(path: Path) -> bool:
    newest = max((one.lstat().st_mtime for one in _tree(path)), default=0.0)
    return time.time() - newest > OLD


def _tree(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        yield from path.rglob("*")


def _size(path: Path) -> int:
    return sum(one.lstat().st_size for one in _tree(path) if not one.is_dir())


def used_disks(workspace: Workspace) -> frozenset[Path]:
    """The disks that instances stand on, from the backing files that their overlays name."""
    found = set()
    for overlay in workspace.instances.glob("*/*.qcow2"):
        backing = _backing(overlay)
        if backing:
            found.add((overlay.parent / backing).resolve())
    return frozenset(found)


def _backing(overlay: Path) -> str:
    """The backing file's name in the header of a qcow2 file."""
    with overlay.open("rb") as stream:
        head = stream.read(20)
        if len(head) < 20 or head[:4] != _QCOW2:
            return ""
        offset, length = struct.unpack(">QI", head[8:20])
        if not offset or length > 1023:
            return ""
        stream.seek(offset)
        return os.fsdecode(stream.read(length))


def remove(waste: Sequence[Waste]) -> None:
    """Remove folders and files; a folder leaves its name first, so that it is never half there."""
    for one in waste:
        if one.path.is_dir():
            gone = one.path
            if not gone.name.startswith("."):
                gone = one.path.with_name(f".{one.path.name}.gone.part")
                one.path.rename(gone)
            shutil.rmtree(gone)
        else:
            one.path.unlink(missing_ok=True)
            one.path.with_suffix(".json").unlink(missing_ok=True)


def without(catalog: Catalog, gone: Sequence[Entry]) -> Catalog:
    """The catalog without these versions."""
    for image in {entry.image for entry in gone}:
        names = {entry.version for entry in gone if entry.image == image}
        left = [entry for entry in catalog.entries(image) if entry.version not in names]
        catalog = catalog.of(image, left)
    return catalog


def collect_here(workspace: Workspace, gone: Sequence[Entry], sign: Sign) -> None:
    """Take versions out of this host's catalog, then remove their files."""
    if gone:
        catalogs.change(workspace.catalog, lambda catalog: without(catalog, gone), sign)
        remove([one for one in waste_of(gone, workspace.published) if one.path.exists()])


def collect_in(
    store: WritableStore,
    trust: Trust,
    publisher: Publisher,
    gone: Sequence[Entry],
    progress: Progress,
) -> None:
    """Take versions out of a store's catalog, then remove their files there."""
    if gone:
        change(store, trust, publisher, lambda catalog: without(catalog, gone), progress)
        for entry in gone:
            store.remove(entry.key)
