"""``golden push``: a published version to a store."""

from __future__ import annotations

import argparse

from pipeline.cli.pull import add_trust, anchors, asker
from pipeline.definitions.loader import load
from pipeline.foundation.errors import WrongUse
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import reporter
from pipeline.publishing import catalog
from pipeline.publishing.pull import Wanted, choose
from pipeline.publishing.stores.push import Publisher, filled_from_here, push_to


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden push``."""
    parser.add_argument("image", metavar="IMAGE[@VERSION]", help="the newest when none is named")
    parser.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="STORE",
        help="a folder, or oci://registry/repository; the stores of golden.yaml when left out",
    )
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Push to each store."""
    workspace = Workspace.default()
    definitions = load(workspace)
    entry = choose(catalog.load(workspace.catalog), Wanted.parse(args.image), "output/publish")
    if entry.image not in definitions.images:
        raise WrongUse(
            f"{entry.image} is not defined here any more, so nothing says where it may go",
            hint=f"images: {', '.join(definitions.images)}",
        )
    places = args.to or filled_from_here(definitions.settings)
    if not places:
        raise WrongUse("there is no store to push to", hint="name one with --to, or in golden.yaml")
    publisher = Publisher.of(workspace, definitions.settings)
    image = definitions.images[entry.image]
    for place in places:
        progress = reporter(f"push {entry.image}")
        push_to(place, image, entry, publisher, progress, anchors=anchors(args), ask=asker())
    return 0
