"""``golden console``: an instance's serial console, as it speaks."""

from __future__ import annotations

import argparse
import sys

from pipeline.foundation.paths import Workspace
from pipeline.instances import instance as records
from pipeline.instances.follow import follow
from pipeline.instances.instance import Home
from pipeline.instances.keyboard import typing
from pipeline.instances.options import check_name
from pipeline.machine.console import Console


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden console``."""
    parser.add_argument("name", metavar="NAME", help="the instance")
    parser.add_argument("--once", action="store_true", help="what it has said so far, and end")
    parser.add_argument("--raw", action="store_true", help="with terminal control sequences")
    parser.add_argument(
        "-i", "--input", action="store_true", help="what is typed goes to it; Ctrl-] leaves"
    )


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def run(args: argparse.Namespace) -> int:
    """Print COM1 until the instance has stopped or somebody presses Ctrl-C."""
    home = Home(Workspace.default(), check_name(args.name))
    records.load(home)
    if args.input:
        typing(home, sys.stdin.fileno(), _write)
        return 0
    console = Console(lambda line: print(line, flush=True))
    for data in follow(home, home.com1, once=args.once):
        if args.raw:
            _write(data)
        else:
            console.feed(data)
    console.close()
    return 0
