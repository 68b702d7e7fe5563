"""``golden stop``: shut instances down."""

from __future__ import annotations

import argparse

from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import reporter
from pipeline.instances.instance import Home
from pipeline.instances.launch import stop
from pipeline.instances.options import check_name


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden stop``."""
    parser.add_argument("name", nargs="+", metavar="NAME", help="the instance")
    parser.add_argument("--now", action="store_true", help="cut it off, as pulling the plug would")


def run(args: argparse.Namespace) -> int:
    """Stop each one and say how it ended."""
    for name in args.name:
        home = Home(Workspace.default(), check_name(name))
        progress = reporter(name)
        said = stop(home, now=args.now, progress=progress)
        progress.done(": ".join(filter(None, (said.state, said.message))))
    return 0
