"""``golden render``: an image's answer files and plans as files, without any download."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pipeline.definitions.loader import load
from pipeline.foundation.files import write_bytes
from pipeline.foundation.paths import Workspace
from pipeline.stages.build import Build


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden render``."""
    parser.add_argument("image", nargs="*", help="an image; without one, all of them")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")


def run(args: argparse.Namespace) -> int:
    """Write each image's files into a folder of its name."""
    workspace = Workspace.default()
    definitions = load(workspace)
    for name in args.image or definitions.images:
        folder = args.out / name
        for path, data in rendered(Build.of(name, definitions, workspace)).items():
            write_bytes(folder / path, data)
            print(folder / path)
    return 0


def rendered(build: Build) -> dict[str, bytes]:
    """What the guest of this image gets, with placeholders for every credential.

    Plans are written before their payloads are known: they name artifacts instead of digests.
    """
    from pipeline.answers.plans import recipe_identity
    from pipeline.stages import rendering

    plans = {
        "bootstrap.json": rendering.bootstrap(build),
        "provision.json": rendering.provision(build),
    }
    scripts = (build.workspace.templates / "guest").iterdir()
    return {
        **rendering.answer_files(build),
        **{name: _pretty(recipe_identity(plan)) for name, plan in plans.items()},
        **{path.name: path.read_bytes() for path in scripts if path.is_file()},
    }


def _pretty(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
