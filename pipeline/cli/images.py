"""``golden images``: the versions in a catalog, this host's or a store's."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pipeline.cli.ls import table
from pipeline.cli.pull import add_trust, anchors, asker
from pipeline.foundation.paths import Workspace
from pipeline.foundation.units import human_bytes
from pipeline.publishing import catalog
from pipeline.publishing.catalog import Catalog, Entry
from pipeline.publishing.pull import read_catalog
from pipeline.publishing.stores.opening import canonical, open_store
from pipeline.publishing.trust import Trust

HEADS = ("IMAGE", "VERSION", "SIZE", "BUILT", "EXPIRES", "MARKS")


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden images``."""
    parser.add_argument("--from", dest="store", metavar="STORE", help="a store; else this host")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """List the versions, the newest of each image first."""
    found = _catalog(args)
    entries = [entry for name in sorted(found.images) for entry in reversed(found.entries(name))]
    if args.json:
        print(json.dumps([{"image": entry.image, **entry.data()} for entry in entries], indent=2))
    else:
        print(table([HEADS, *(_row(found, entry) for entry in entries)]))
    return 0


def _catalog(args: argparse.Namespace) -> Catalog:
    workspace = Workspace.default()
    if not args.store:
        return catalog.load(workspace.catalog)
    trust = Trust(canonical(args.store, Path()), workspace, anchors(args), asker())
    with open_store(args.store, Path(), lambda text: print(text, file=sys.stderr)) as store:
        return read_catalog(store, trust)


def _row(found: Catalog, entry: Entry) -> tuple[str, ...]:
    marks = {
        "newest": found.newest(entry.image) == entry,
        "withdrawn": entry.yanked,
        "pinned": entry.pinned,
        "rehearsal": entry.rehearsal,
    }
    shown = ", ".join(name for name, holds in marks.items() if holds)
    expires = (entry.expires_at or "")[:10]
    size = human_bytes(entry.size)
    return (entry.image, entry.version, size, entry.built_at[:10], expires, shown)
