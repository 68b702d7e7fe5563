"""``golden lint``: check answer files, whoever wrote them."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.answers.lint import lint


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden lint``."""
    parser.add_argument("file", nargs="+", type=Path, help="an Autounattend.xml or Unattend.xml")
    parser.add_argument("--json", action="store_true", help="findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Print findings; 1 when there is an error among them."""
    return lint(args.file, as_json=args.json)
