"""``golden keep``: build an image so that a machine whose stage fails stays up to be looked at."""

from __future__ import annotations

import argparse
import os

from pipeline.cli.building import build
from pipeline.definitions.loader import load
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.waiting import wait_until
from pipeline.stages import keep
from pipeline.stages.build import Build

ENDS_WITHIN = 60.0


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden keep``."""
    parser.add_argument(
        "image", nargs="?", help="build this image; without it, list the machines that are kept"
    )
    parser.add_argument("--end", action="store_true", help="end the machines that are kept")


def run(args: argparse.Namespace) -> int:
    """List, end, or build and keep."""
    workspace = Workspace.default()
    if args.end:
        return _end(workspace, args.image)
    if args.image:
        return _build(workspace, args.image)
    machines = keep.kept(workspace)
    for machine in machines:
        print(f"{machine.stage}:{machine.image}  {machine.why.splitlines()[0]}")
        print("\n".join(f"  {line}" for line in machine.commands()))
        print(f"  evidence: {machine.evidence}")
    if not machines:
        print("no machine is kept")
    return 0


def _build(workspace: Workspace, image: str) -> int:
    Build.of(image, load(workspace), workspace)  # says which images there are
    os.environ[keep.KEEP] = "1"
    if not keep.wanted():
        raise PipelineError(
            "in CI nobody looks at a machine that stays up",
            hint="the evidence of the failure is read by: golden diagnose",
        )
    return int(not build(workspace, image))


def _end(workspace: Workspace, image: str | None) -> int:
    wanted = [kept for kept in keep.kept(workspace) if image in (None, kept.image)]
    if not wanted:
        raise PipelineError(
            f"no machine {'of ' + image if image else ''} is kept".replace("  ", " ")
        )
    for machine in wanted:
        keep.ask_to_end(workspace, machine)

    def gone() -> bool:
        return not set(wanted) & set(keep.kept(workspace))

    wait_until("the end of the kept machines", gone, ENDS_WITHIN)
    return 0
