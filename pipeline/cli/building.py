"""Building an image from a command: the task graph as a program of its own, which people watch."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import ProgramFailed, run_shown
from pipeline.stages.build import SAID


def build(workspace: Workspace, image: str) -> bool:
    """Run everything that this image needs; whether it came to its end. doit has said why not."""
    graph: list[str | Path] = ["--dir", workspace.root, "--file", workspace.root / "dodo.py"]
    try:
        run_shown([sys.executable, "-m", "doit", *graph, f"build:{image}"])
    except ProgramFailed:
        return False
    return True


def build_and_listen(workspace: Workspace, image: str) -> tuple[bool, str]:
    """The same, and the errors that doit has printed."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        said.touch()
        os.environ[SAID] = str(said)
        try:
            return build(workspace, image), said.read_text()
        finally:
            del os.environ[SAID]
