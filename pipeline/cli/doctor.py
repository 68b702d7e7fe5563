"""``golden doctor``: whether this host can build, and what to install where it can't.

What is looked at lies in ``pipeline.machine.examination``; here it becomes lines or JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.machine.examination import NEEDED, WANTED, Line, Look


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden doctor``."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the lines; 1 when a build can't work on this host."""
    lines = examine(Workspace.default())
    if args.json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    else:
        for line in lines:
            print(f"{line.state:<8} {line.name:<20} {line.found}")
            if line.hint:
                print(f"{'':<8} {'':<20} hint: {line.hint}")
    return int(any(line.state == "missing" for line in lines))


def examine(workspace: Workspace) -> list[Line]:
    """Look at everything, needed things first."""
    needed = [_look(workspace, name, look, "missing") for name, look in NEEDED.items()]
    return needed + [_look(workspace, name, look, "warning") for name, look in WANTED.items()]


def _look(workspace: Workspace, name: str, look: Look, otherwise: str) -> Line:
    try:
        return Line(name, "ok", look(workspace))
    except PipelineError as error:
        return Line(name, otherwise, error.message.splitlines()[0], error.hint)
