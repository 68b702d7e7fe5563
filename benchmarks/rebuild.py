"""What a change costs: a full build, a changed provisioning step, and nothing changed.

    python benchmarks/rebuild.py [IMAGE]

Builds the image (the rehearsal, unless named) four times in one run, in a copy of the checkout
with an output folder of its own: from nothing, after one provisioning step changed, again, and
after another change on a fresh runner that has nothing but the layers that the first build shared.
The first is what tools do that rebuild on every change. Prints seconds and ratios.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.process import run_shown

COPIED = ("dodo.py", "images", "checksums", "schemas", "templates", "pipeline")
CHANGE = """
  - id: changed-by-the-benchmark-{number}
    kind: file
    path: 'C:\\Golden\\benchmark-{number}.txt'
    content: changed
"""


def change(definition: Path, number: int) -> None:
    """Add a provisioning step."""
    definition.write_text(definition.read_text().rstrip() + CHANGE.format(number=number))


def timed(checkout: Path, image: str) -> float:
    """The seconds that one ``doit build:IMAGE`` takes, start-up included."""
    started = time.monotonic()
    run_shown([sys.executable, "-m", "doit", f"build:{image}"], cwd=checkout)
    return time.monotonic() - started


def main() -> int:
    """Run the three builds and print the table."""
    image = sys.argv[1] if len(sys.argv) > 1 else "rehearsal"
    cache = Workspace.default().cache
    with tempfile.TemporaryDirectory(prefix="golden-benchmark-") as name:
        checkout = Path(name)
        for part in COPIED:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, checkout / part)
        os.environ |= {"GOLDEN_OUTPUT": f"{name}/output", "GOLDEN_CACHE": str(cache)}
        os.environ |= {"PYTHONPATH": name, "GOLDEN_LAYERS": f"{name}/layers"}
        full = timed(checkout, image)
        definition = checkout / "images" / f"{image}.yaml"
        change(definition, 1)
        step = timed(checkout, image)
        nothing = timed(checkout, image)
        shutil.rmtree(f"{name}/output")
        change(definition, 2)
        fresh = timed(checkout, image)
    print(
        f"{image}: full rebuild {full:.1f} s, changed step {step:.1f} s, "
        f"no change {nothing:.2f} s, changed step on a fresh runner with layers {fresh:.1f} s"
    )
    print(f"ratio full rebuild : changed step = {full / step:.1f} : 1")
    print(f"ratio full rebuild : no change    = {full / nothing:.0f} : 1")
    print(f"ratio full rebuild : changed step, fresh runner with layers = {full / fresh:.1f} : 1")
    return 0


if __name__ == "__main__":
    sys.exit(main())
