"""``golden rehearsal``: the stand-in medium."""

from __future__ import annotations

import argparse

from pipeline.rehearsal import command


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden rehearsal``."""
    command.add(parser)


def run(args: argparse.Namespace) -> int:
    """Make what was asked for."""
    return command.run(args)
