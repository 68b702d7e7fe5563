"""``golden plan``: what would run, and the very input that makes it run."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pipeline.definitions.loader import load
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.stages import layers
from pipeline.stages.build import Build
from pipeline.stages.graph import STAGES
from pipeline.stages.plan import Decision, Examined, decide

SHOWN = 5


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden plan``."""
    parser.add_argument("image", nargs="*", help="an image; without one, those of the settings")
    parser.add_argument("--json", action="store_true", help="as JSON, with all reasons")


def run(args: argparse.Namespace) -> int:
    """Print the decision for each image."""
    workspace = Workspace.default()
    definitions = load(workspace)
    images = args.image or definitions.settings.build
    plans = {name: _plan(Build.of(name, definitions, workspace)) for name in images}
    if args.json:
        document = {image: [as_json(d) for d in plan] for image, plan in plans.items()}
        print(json.dumps(document, indent=2))
    else:
        print("\n\n".join(table(image, plan) for image, plan in plans.items()))
    return 0


def _plan(build: Build) -> list[Decision]:
    def shared(item: Examined) -> str:
        if not layers.place(build, item.stage.name):
            return ""
        found = layers.find(build, item, Silent())
        return layers.place(build, item.stage.name) if found else ""

    return decide(build, STAGES, shared)


def as_json(decision: Decision) -> dict[str, Any]:
    """One stage's decision."""
    item = decision.examined
    return {
        "stage": decision.name,
        "state": str(decision.state),
        "id": item.id,
        "reasons": list(item.reasons),
    }


def table(image: str, plan: list[Decision]) -> str:
    """The plan of one image for people: a line a stage, its reasons below it."""
    lines = [image]
    for decision in plan:
        reasons = decision.examined.reasons
        first = f"because {reasons[0]}" if decision.state == "run" and reasons else ""
        first = reasons[0] if decision.state == "pull" else first
        lines.append(f"  {decision.name:<10} {decision.state:<11} {first}".rstrip())
        if decision.state == "run":
            more = reasons[1:SHOWN]
            lines += [f"{'':24}and {reason}" for reason in more]
            if len(reasons) > SHOWN:
                lines.append(f"{'':24}and {len(reasons) - SHOWN} more (--json shows them)")
    return "\n".join(lines)
