"""Building an image from a command: the task graph as a program of its own, which people watch."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import ProgramFailed, run_shown


def build(workspace: Workspace, image: str) -> bool:
    """Run everything that this image needs; whether it came to its end. doit has said why not."""
    graph: list[str | Path] = ["--dir", workspace.root, "--file", workspace.root / "dodo.py"]
    try:
        run_shown([sys.executable, "-m", "doit", *graph, f"build:{image}"])
    except ProgramFailed:
        return False
    return True
