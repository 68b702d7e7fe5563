"""``golden yank``: withdraw a version, so that nobody pulls it without insisting."""

from __future__ import annotations

import argparse

from pipeline.definitions.loader import load
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import reporter
from pipeline.publishing.marks import Mark, everywhere, set_marks
from pipeline.publishing.stores.push import Publisher


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
    done = "offered again" if args.undo else "withdrawn"
    mark = Mark(args.image, args.version, done, yanked=not args.undo)
    set_marks(mark, args.stores or everywhere(settings), publisher, reporter("yank"))
    return 0
