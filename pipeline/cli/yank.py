"""``golden yank``: withdraw a version, so that nobody pulls it without insisting."""

from __future__ import annotations

import argparse

from pipeline.definitions.loader import load
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress, reporter
from pipeline.publishing import catalog
from pipeline.publishing.catalog import Catalog, Entry
from pipeline.publishing.stores.base import writable
from pipeline.publishing.stores.opening import open_store
from pipeline.publishing.stores.push import Publisher, change, filled_from_here
from pipeline.publishing.trust import Anchors

HERE = "here"
"""This host's own catalog, among the stores."""


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
    """Mark the version in every catalog that lists it; a failure is told after all were tried."""
    workspace = Workspace.default()
    settings = load(workspace).settings
    publisher = Publisher.of(workspace, settings)
    progress = reporter("yank")
    done = "offered again" if args.undo else "withdrawn"
    places = args.stores or [HERE, *filled_from_here(settings)]
    listed: list[str] = []
    failed: list[PipelineError] = []
    for place in places:
        try:
            if _mark(place, args, publisher, progress):
                listed.append(place)
            else:
                progress.event(f"{place}: lists no {args.version} of {args.image}")
        except PipelineError as error:
            failed.append(error)
    if failed:
        said = "\n  ".join(f"{error.message} ({error.hint})" for error in failed)
        raise PipelineError(
            f"{args.image} {args.version} is {done} in {len(listed)} of {len(places)} catalogs:"
            f"\n  {said}",
            hint="when that is solved, the same command again",
        )
    if not listed:
        raise PipelineError(
            f"no catalog lists {args.version} of {args.image}: {', '.join(places)}",
            hint="golden images [--from STORE] lists what there is",
        )
    progress.done(f"{args.image} {args.version} is {done}: {', '.join(listed)}")
    return 0


def _mark(
    place: str, args: argparse.Namespace, publisher: Publisher, progress: Progress
) -> Entry | None:
    """The version as the catalog at ``place`` lists it now; nothing if it does not."""

    def marked(before: Catalog) -> Catalog:
        if before.find(args.image, args.version) is None:
            return before
        return catalog.mark(before, args.image, args.version, yanked=not args.undo)

    workspace = publisher.workspace
    if place == HERE:
        after = catalog.change(workspace.catalog, marked, publisher.sign)
        return after.find(args.image, args.version)
    with open_store(place, workspace.root, progress.event) as store:
        trust = publisher.trust(place, Anchors())
        after = change(writable(store), trust, publisher, marked, progress)
        if newest := after.newest(args.image):
            writable(store).point(newest.key)
    return after.find(args.image, args.version)
