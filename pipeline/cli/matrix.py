"""``golden matrix``: what must be built tonight, for people, or for CI to fan out on.

In: definitions, receipts, and the catalogs of this host and of the stores. Out: one entry an image
that must be built, with the reason and what its runner has to offer; none when nothing is to do.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

from pipeline.definitions.loader import load
from pipeline.foundation.paths import Workspace
from pipeline.stages.build import Build
from pipeline.stages.graph import STAGES
from pipeline.stages.tonight import Tonight, tonight


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden matrix``."""
    parser.add_argument("image", nargs="*", help="an image; without one, those of the settings")
    parser.add_argument("--all", action="store_true", help="also what nothing asks for tonight")
    parser.add_argument("--json", action="store_true", help="one line of JSON: {include: […]}")


def run(args: argparse.Namespace) -> int:
    """Print what must be built; an empty list is no failure."""
    workspace = Workspace.default()
    definitions = load(workspace)
    names = args.image or definitions.settings.build
    builds = [Build.of(name, definitions, workspace) for name in names]
    if args.all:
        builds = [replace(build, rebuild=True) for build in builds]
    found = tonight(builds, STAGES)
    if args.json:
        print(json.dumps({"include": [as_json(item) for item in found]}, ensure_ascii=False))
    elif found:
        width = max(len(item.build.image.name) for item in found)
        for item in found:
            print(f"{item.build.image.name:<{width}}  {item.reason}")
    else:
        print(f"nothing is to be built: {', '.join(names)}")
    return 0


def as_json(item: Tonight) -> dict[str, Any]:
    """One job: the image, why, and what the runner needs; plain scalars, as CI compares them."""
    image = item.build.image
    return {
        "image": image.name,
        "reason": item.reason,
        "build_id": item.build_id,
        "rebuild": item.build.rebuild,
        "kvm": not image.rehearsal,
        "firmware": str(image.machine.firmware),
        "tpm": image.machine.tpm,
        "cpus": image.machine.cpus,
        "memory": int(image.machine.memory),
        "disk": int(image.machine.disk),
    }
