"""``golden media``: what a Windows medium holds, read in place."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.inputs.media import Medium, as_json, as_pin, describe, read_medium


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden media``."""
    parser.add_argument("medium", metavar="FILE-OR-URL", help="an ISO; a URL is read by ranges")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--yaml", action="store_true", help="as the `media:` block of a pin")


def run(args: argparse.Namespace) -> int:
    """Print the editions."""
    with _opened(args.medium) as medium:
        if args.json:
            print(json.dumps(as_json(medium), indent=2))
        elif args.yaml:
            print(as_pin(medium), end="")
        else:
            print(describe(medium))
    return 0


@contextlib.contextmanager
def _opened(name: str) -> Iterator[Medium]:
    if "://" not in name:
        yield read_medium(Path(name), name)
        return
    from pipeline.inputs.http import open_range

    with open_range(name) as stream:
        yield read_medium(stream, name)
