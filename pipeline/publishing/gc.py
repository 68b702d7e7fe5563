"""What of versions can go: those beyond the policy, what was killed, pulled copies if asked.

Goes in: catalogs, folders, the policy of each image. Comes out: a list of what goes and why;
nothing is touched before it is complete. A version leaves the catalog first and loses its files
then, so that nobody begins to pull what is about to go; files that stayed when that broke off are
found as a folder that the catalog does not list. What an instance stands on stays.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress
from pipeline.publishing import catalog as catalogs
from pipeline.publishing.catalog import Catalog, Entry, Sign, superfluous
from pipeline.publishing.pull import pulling
from pipeline.publishing.stores.base import WritableStore
from pipeline.publishing.stores.push import Publisher, change
from pipeline.publishing.trust import Trust
from pipeline.publishing.version import MANIFEST
from pipeline.publishing.waste import Waste, remove, untouched, waste

_QCOW2 = b"QFI\xfb"


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
    return [waste(root / entry.key, _why(entry)) for entry in entries]


def _why(entry: Entry) -> str:
    return "withdrawn" if entry.yanked else "beyond the versions to keep"


def leftovers(root: Path) -> list[Waste]:
    """What publishing and removing left in a folder of versions, untouched for a day."""
    return [
        waste(path, "left behind by a run that was killed", still=partial(untouched, path))
        for path in sorted(root.glob("*/.*.part"))
        if path.is_dir() and untouched(path)
    ]


def unlisted(workspace: Workspace, used: frozenset[Path]) -> list[Waste]:
    """Version folders of this host that its catalog does not list, for a day and without a use.

    Without a catalog none is: one that was lost has to be made good first. A version that is just
    being published is under the lock of its image.
    """
    if not workspace.catalog.exists():
        return []
    return [
        waste(
            path.parent,
            "a version that the catalog does not list",
            workspace.locks / f"{path.parents[1].name}.lock",
            partial(_is_unlisted, workspace, path.parent),
        )
        for path in sorted(workspace.published.glob(f"[!.]*/[!.]*/{MANIFEST}"))
        if _is_unlisted(workspace, path.parent)
        and untouched(path.parent)
        and not _stood_on(path.parent, used)
    ]


def _is_unlisted(workspace: Workspace, folder: Path) -> bool:
    return catalogs.load(workspace.catalog).find(folder.parent.name, folder.name) is None


def _stood_on(folder: Path, used: frozenset[Path]) -> bool:
    return any(disk.parent == folder.resolve() for disk in used)


def downloads(workspace: Workspace) -> list[Waste]:
    """Downloads nobody goes on with, and hidden halves of pulled versions."""
    why = "a transfer that nobody went on with for a day"
    return [
        waste(path, why, lock, partial(untouched, path))
        for path, lock in (*_parts(workspace), *_halves(workspace))
        if untouched(path)
    ]


def _parts(workspace: Workspace) -> Iterator[tuple[Path, Path]]:
    for path in sorted(workspace.partial.glob("*.part")):
        yield path, path.with_suffix(".lock")


def _halves(workspace: Workspace) -> Iterator[tuple[Path, Path]]:
    """Their disks lie elsewhere until they are whole: it is the lock that tells of a pull."""
    for path in sorted(workspace.pulled.glob("*/.*.part")):
        version = path.name.removeprefix(".").removesuffix(".part").removesuffix(".gone")
        yield path, pulling(workspace, path.parent.name, version)


def pulled(workspace: Workspace, used: frozenset[Path]) -> list[Waste]:
    """Pulled versions that no instance stands on."""
    return [
        waste(
            path.parent,
            "pulled, and no instance uses it",
            pulling(workspace, path.parents[1].name, path.parent.name),
            partial(_unused, workspace, path.parent),
        )
        for path in sorted(workspace.pulled.glob(f"*/[!.]*/{MANIFEST}"))
        if not _stood_on(path.parent, used)
    ]


def _unused(workspace: Workspace, folder: Path) -> bool:
    return not _stood_on(folder, used_disks(workspace))


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


def without(catalog: Catalog, gone: Sequence[Entry]) -> Catalog:
    """The catalog without these versions; one whose marks have changed meanwhile stays."""
    for image in {entry.image for entry in gone}:
        entries = catalog.entries(image)
        left = [entry for entry in entries if entry not in gone]
        if len(left) < len(entries):
            catalog = catalog.of(image, left)
    return catalog


def _left(gone: Sequence[Entry], after: Catalog) -> list[Entry]:
    """Those that the catalog does not list any more."""
    return [entry for entry in gone if after.find(entry.image, entry.version) is None]


def collect_here(workspace: Workspace, gone: Sequence[Entry], sign: Sign) -> None:
    """Take versions out of this host's catalog, then remove their files."""
    if gone:
        after = catalogs.change(workspace.catalog, lambda now: without(now, gone), sign)
        remove(waste_of(_left(gone, after), workspace.published))


def collect_in(
    store: WritableStore,
    trust: Trust,
    publisher: Publisher,
    gone: Sequence[Entry],
    progress: Progress,
) -> None:
    """Take versions out of a store's catalog, then remove their files there."""
    if gone:
        after = change(store, trust, publisher, lambda now: without(now, gone), progress)
        for entry in _left(gone, after):
            store.remove(entry.key)
