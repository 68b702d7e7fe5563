"""``golden rehearsal iso``: the stand-in medium as a file, with faults baked in when asked."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from pipeline.definitions.loader import load
from pipeline.foundation.files import replacing
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import reporter
from pipeline.rehearsal.guest.faults import KNOWN
from pipeline.rehearsal.medium import make

PIN = "rehearsal-windows"


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden rehearsal``."""
    parser.add_argument("what", choices=("iso", "faults"), help="the medium, or a list of faults")
    parser.add_argument("--out", type=Path, help="copy the medium there")
    parser.add_argument(
        "--fault", action="append", default=[], choices=sorted(KNOWN), help="bake this fault in"
    )


def run(args: argparse.Namespace) -> int:
    """Make the medium, or say which faults there are."""
    if args.what == "faults":
        print("\n".join(f"{name:<20} {text}" for name, text in sorted(KNOWN.items())))
        return 0
    workspace = Workspace.default()
    pin = load(workspace).pins[PIN]
    progress = reporter("rehearsal")
    iso = make("windows", pin.version, workspace, progress, frozenset(args.fault))
    if args.out:
        with replacing(args.out.absolute()) as part:
            shutil.copyfile(iso, part)
    print(args.out or iso)
    return 0
