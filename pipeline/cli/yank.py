"""``golden yank``: withdraw a version, so that nobody pulls it without insisting."""

from __future__ import annotations

import argparse

from pipeline.definitions.loader import load
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import reporter
from pipeline.publishing import catalog
from pipeline.publishing.stores.base import writable
from pipeline.publishing.stores.opening import open_store
from pipeline.publishing.stores.push import Publisher, change, filled_from_here
from pipeline.publishing.trust import Anchors


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden yank``."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("version", metavar="VERSION")
    parser.add_argument("--undo", action="store_true", help="offer it again")
    parser.add_argument(
        "--in",
        dest="stores",
        action="append",
        default=[],
        metavar="STORE",
        help="only in this store; else here and in the stores of golden.yaml",
    )


def run(args: argparse.Namespace) -> int:
    """Mark the version in every catalog that lists it."""
    workspace = Workspace.default()
    settings = load(workspace).settings
    publisher = Publisher.of(workspace, settings)
    progress = reporter("yank")

    def marked(before: catalog.Catalog) -> catalog.Catalog:
        return catalog.mark(before, args.image, args.version, yanked=not args.undo)

    if not args.stores:
        catalog.change(workspace.catalog, marked, publisher.sign)
    for place in args.stores or filled_from_here(settings):
        with open_store(place, workspace.root, progress.event) as store:
            trust = publisher.trust(place, Anchors())
            after = change(writable(store), trust, publisher, marked, progress)
            if newest := after.newest(args.image):
                writable(store).point(newest.key)
    done = "offered again" if args.undo else "withdrawn"
    progress.done(f"{args.image} {args.version} is {done}")
    return 0
