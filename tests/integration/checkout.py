"""A checkout of its own for a test: the real task graph, on copies of the definitions.

Its path has a space in it, it is used from another working directory, and what it shares with the
project is only the cache of artifacts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.foundation.paths import ROOT, Workspace

PARTS = ("dodo.py", "images", "checksums", "schemas", "templates", "pipeline")
EXECUTED = re.compile(r"^\.  (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Checkout:
    """The checkout and what runs in it."""

    root: Path

    @classmethod
    def make(cls, folder: Path) -> Checkout:
        root = folder / "check out"
        root.mkdir()
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / part)
        return cls(root)

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root, self.root / "output", Workspace.default().cache)

    def environment(self) -> dict[str, str]:
        """Ours, with the code and the output of this checkout, and no licence accepted."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GOLDEN_")}
        workspace = self.workspace
        return kept | {
            "PYTHONPATH": str(self.root),
            "GOLDEN_OUTPUT": str(workspace.output),
            "GOLDEN_CACHE": str(workspace.cache),
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "doit", "--dir", str(self.root),
                "--file", str(self.root / "dodo.py"), *words]  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        """doit in the background, in a process group of its own."""
        return subprocess.Popen(
            self.command(*words), cwd="/", env=self.environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def doit(self, *words: str, ok: bool = True) -> str:
        """Run doit to its end; its output."""
        process = self.start(*words)
        try:
            output, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
            raise
        if ok:
            assert process.returncode == 0, output
        return output

    def golden(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli.main", *words], cwd="/", check=True,
            env=self.environment(), text=True, capture_output=True,
        )  # fmt: skip
        return done.stdout

    def plan(self, image: str) -> Mapping[str, Any]:
        """``golden plan --json``: the stages by name."""
        stages = json.loads(self.golden("plan", "--json", image))[image]
        return {stage["stage"]: stage for stage in stages}

    def running(self, image: str) -> list[str]:
        """The stages that the plan would run."""
        return [name for name, stage in self.plan(image).items() if stage["state"] == "run"]

    def runs(self, image: str) -> dict[str, str]:
        """What stands for each product that is there now; another one after a stage has run."""
        receipts = self.workspace.build(image).glob("*/receipt.json")
        return {path.parent.name: json.loads(path.read_text())["run"] for path in receipts}

    def versions(self, image: str) -> list[Path]:
        """The published versions."""
        return sorted(self.workspace.published.glob(f"{image}/*/manifest.json"))


def executed(output: str) -> list[str]:
    """The tasks that doit ran, from what it printed."""
    return EXECUTED.findall(output)


def stages(output: str) -> list[str]:
    """The stage tasks among them, without gates, artifacts, looks at layers and the last word."""
    others = ("licence:", "fetch:", "layer:", "build:")
    return [task for task in executed(output) if not task.startswith(others)]


def processes(mark: str) -> list[str]:
    """Command lines of processes that have ``mark`` in them, zombies left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in words and str(os.getpid()) != path.parent.name:
            found.append(words)
    return found
