"""``golden media``: what a Windows medium holds, read in place."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.inputs.media import Medium, as_facts, as_json, describe, read_medium


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
            print(as_block(as_facts(medium)))
        else:
            print(describe(medium), end="")
    return 0


def as_block(facts: dict[str, Any]) -> str:
    """The facts as the ``media:`` block of a pin; JSON scalars are YAML scalars."""
    editions = facts.pop("editions")
    lines = ["media:", *(f"  {key}: {json.dumps(value)}" for key, value in facts.items())]
    lines += ["  editions:", *(f"    - {json.dumps(edition)}" for edition in editions)]
    return "\n".join(lines)


@contextlib.contextmanager
def _opened(name: str) -> Iterator[Medium]:
    if "://" not in name:
        yield read_medium(Path(name), name)
        return
    from pipeline.inputs.http import open_range

    with open_range(name) as stream:
        yield read_medium(stream, name)
