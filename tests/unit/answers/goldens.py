"""The rendered files of every shipped image, kept under ``tests/goldens`` and reviewed by hand.

``python -m tests.unit.answers.goldens --write`` refreshes them; look at the difference before it is
committed. Without ``--write`` it prints what differs and exits with 1.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pipeline.answers.plans import bootstrap_plan, provision_plan, recipe_identity
from pipeline.foundation.files import write_bytes
from tests.unit.answers import samples

FOLDER = Path(__file__).parents[2] / "goldens"


def wanted(image: str) -> dict[str, bytes]:
    """What the goldens of an image should be."""
    defined, _ = samples.shipped()[image]
    plans = (bootstrap_plan(defined), provision_plan(defined))
    recipes = {
        f"{plan.name}.json": (json.dumps(recipe_identity(plan), indent=2) + "\n").encode()
        for plan in plans
    }
    return samples.rendered(image) | recipes


def kept(image: str) -> dict[str, bytes]:
    """The goldens of an image."""
    folder = FOLDER / image
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}


def stale() -> list[str]:
    """The goldens that differ from what is rendered, are missing, or belong to no image."""
    images = set(samples.shipped()) | {path.name for path in FOLDER.glob("*") if path.is_dir()}
    found = []
    for image in sorted(images):
        want = wanted(image) if image in samples.shipped() else {}
        have = kept(image)
        names = sorted(want.keys() | have.keys())
        found += [f"{image}/{name}" for name in names if want.get(name) != have.get(name)]
    return found


def write() -> None:
    """Bring the goldens up to date, and remove those of images that are gone."""
    for name in stale():
        image, _, file = name.partition("/")
        path = FOLDER / image / file
        want = wanted(image) if image in samples.shipped() else {}
        if file in want:
            write_bytes(path, want[file])
        else:
            path.unlink()


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="refresh the goldens")
    names = stale()
    if parser.parse_args().write:
        write()
    print("\n".join(names) or "all goldens are fresh")
    return int(bool(stale()))


if __name__ == "__main__":
    raise SystemExit(main())
