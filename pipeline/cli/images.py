"""``golden images``: the versions on this host, built or pulled; or those in a store's catalog."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.cli.ls import table
from pipeline.cli.pull import add_trust, anchors, asker
from pipeline.foundation.files import read_json
from pipeline.foundation.paths import Workspace
from pipeline.foundation.units import human_bytes
from pipeline.publishing import catalog
from pipeline.publishing.catalog import Catalog, Entry
from pipeline.publishing.pull import read_catalog
from pipeline.publishing.stores.opening import canonical, open_store
from pipeline.publishing.trust import Trust
from pipeline.publishing.version import MANIFEST

HEADS = ("IMAGE", "VERSION", "SIZE", "BUILT", "EXPIRES", "MARKS")
NOTHING = (
    "golden: no version is on this host yet: ./doitw build:IMAGE makes one, "
    "golden pull IMAGE --from STORE brings one"
)


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden images``."""
    parser.add_argument("--from", dest="store", metavar="STORE", help="a store; else this host")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """List the versions, the newest of each image first; says so when there is none."""
    workspace = Workspace.default()
    found = _of_store(args, workspace) if args.store else _of_this_host(workspace)
    entries = [entry for name in sorted(found.images) for entry in reversed(found.entries(name))]
    if args.json:
        told = [_data(entry, pulled=_is_pulled(entry, workspace)) for entry in entries]
        print(json.dumps(told, indent=2))
    elif entries:
        print(table([HEADS, *(_row(found, entry, workspace) for entry in entries)]))
    if not entries:
        print(f"golden: {args.store} lists nothing" if args.store else NOTHING, file=sys.stderr)
    return 0


def _of_store(args: argparse.Namespace, workspace: Workspace) -> Catalog:
    trust = Trust(canonical(args.store, Path()), workspace, anchors(args), asker())
    with open_store(args.store, Path(), lambda text: print(text, file=sys.stderr)) as store:
        return read_catalog(store, trust)


def _of_this_host(workspace: Workspace) -> Catalog:
    """What was built here, and what was pulled: ``golden launch`` takes the newest of both."""
    found = catalog.load(workspace.catalog)
    for entry in _pulled(workspace):
        if not found.find(entry.image, entry.version):
            found = found.having(entry)
    return found


def _pulled(workspace: Workspace) -> Iterator[Entry]:
    """Pulled versions, as their manifests say; one that is none is told, and left out."""
    for path in sorted(workspace.pulled.glob(f"[!.]*/[!.]*/{MANIFEST}")):
        said = read_json(path)
        try:
            disk = said["disk"]
            yield Entry(
                image=path.parents[1].name,
                version=path.parent.name,
                build_id=str(said["build_id"]),
                disk=str(disk["file"]),
                size=int(disk["size"]),
                sha256=str(disk["sha256"]),
                built_at=str(said["built_at"]),
                expires_at=said["expires_at"],
                rehearsal=bool(said["rehearsal"]),
            )
        except (KeyError, TypeError, ValueError):
            print(f"golden: {path} is damaged; pull that version anew", file=sys.stderr)


def _is_pulled(entry: Entry, workspace: Workspace) -> bool:
    return (workspace.pulled / entry.image / entry.version / MANIFEST).exists()


def _data(entry: Entry, *, pulled: bool) -> dict[str, object]:
    return {"image": entry.image, **entry.data(), "pulled": pulled}


def _row(found: Catalog, entry: Entry, workspace: Workspace) -> tuple[str, ...]:
    marks = {
        "newest": found.newest(entry.image) == entry,
        "pulled": _is_pulled(entry, workspace),
        "withdrawn": entry.yanked,
        "pinned": entry.pinned,
        "rehearsal": entry.rehearsal,
    }
    shown = ", ".join(name for name, holds in marks.items() if holds)
    expires = (entry.expires_at or "")[:10]
    size = human_bytes(entry.size)
    return (entry.image, entry.version, size, entry.built_at[:10], expires, shown)
