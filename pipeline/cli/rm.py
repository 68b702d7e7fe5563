"""``golden rm``: remove instances, after asking."""

from __future__ import annotations

import argparse
import sys

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import human_bytes
from pipeline.instances import instance as records
from pipeline.instances import state, store
from pipeline.instances.instance import Home
from pipeline.instances.launch import remove
from pipeline.instances.options import check_name


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden rm``."""
    parser.add_argument("name", nargs="+", metavar="NAME", help="the instance")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _agreed(home: Home) -> bool:
    what = f"{home.name} is {state.read(home).state}, its disk holds "
    what += human_bytes(store.disk_used(home))
    if not sys.stdin.isatty():
        raise PipelineError(f"{what}; nobody can be asked here", hint="--yes removes it")
    return input(f"{what}. Remove it for good? [y/N] ").strip().lower() in ("y", "yes")


def run(args: argparse.Namespace) -> int:
    """Remove each one; 1 when somebody said no."""
    homes = [Home(Workspace.default(), check_name(name)) for name in args.name]
    for home in homes:
        if not home.folder.exists():
            records.load(home)  # says that there is none
        if not args.yes and not _agreed(home):
            print(f"{home.name} is kept")
            return 1
        remove(home, Silent())
        print(f"{home.name} is removed")
    return 0
