"""``golden purge``: remove artifacts from the cache, which ``./doitw clean`` never does."""

from __future__ import annotations

import argparse

from pipeline.definitions.loader import load
from pipeline.foundation.errors import WrongUse
from pipeline.foundation.paths import Workspace


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden purge``."""
    parser.add_argument("artifact", nargs="+", help="the name of a pin")


def run(args: argparse.Namespace) -> int:
    """Remove each artifact with its receipt and partial downloads."""
    from pipeline.inputs.fetch import purge

    workspace = Workspace.default()
    pins = load(workspace).pins
    for name in args.artifact:
        if name not in pins:
            raise WrongUse(f"there is no pin {name!r}", hint=f"pins: {', '.join(pins)}")
        purge(pins[name], workspace)
    return 0
