"""``golden logs``: what an instance's supervisor said in its latest run."""

from __future__ import annotations

import argparse
import sys

from pipeline.foundation.paths import Workspace
from pipeline.instances import instance as records
from pipeline.instances.follow import follow
from pipeline.instances.instance import Home
from pipeline.instances.options import check_name


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden logs``."""
    parser.add_argument("name", metavar="NAME", help="the instance")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it has stopped")


def run(args: argparse.Namespace) -> int:
    """Print the log, and where the others are."""
    home = Home(Workspace.default(), check_name(args.name))
    records.load(home)
    for data in follow(home, home.supervisor_log, once=not args.follow):
        sys.stdout.write(data.decode(errors="replace"))
        sys.stdout.flush()
    print(f"more in {home.log}", file=sys.stderr)
    return 0
