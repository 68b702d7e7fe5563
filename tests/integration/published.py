"""A published rehearsal image for tests that use one, built at most once.

A version that the default output folder holds is used as it is: what a consumer does must work with
any. Without one, the task graph is asked for one in an output folder that all tests share, so that
a second run of the tests builds nothing. The main job's tests build the image anyway: they run
first and :func:`offer` theirs, and then the graph finds in the catalog that nothing is to be done.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from pipeline.foundation.locks import lock
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.process import run
from pipeline.publishing import catalog

IMAGE = "rehearsal"
BUILD_DEADLINE = 1800.0


def shared() -> Workspace:
    """Where tests of all sessions share a published version; the cache is the project's."""
    default = Workspace.default()
    return Workspace(default.root, default.output / "tests", default.cache)


def newest(workspace: Workspace) -> Path | None:
    """The newest version that the workspace's catalog names and that is really there."""
    for entry in reversed(catalog.load(workspace.catalog).entries(IMAGE)):
        if not entry.yanked and catalog.present(workspace.published, entry):
            return workspace.published / IMAGE / entry.version
    return None


def offer(workspace: Workspace, version: Path) -> None:
    """Give other tests a version that a test has built from unaltered definitions."""
    entries = catalog.load(workspace.catalog).entries(IMAGE)
    (entry,) = [entry for entry in entries if entry.version == version.name]
    target = shared()
    with lock(target.locks / "published"):
        final = target.published / IMAGE / version.name
        if final.exists():
            return
        part = final.with_name(f".{version.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(version, part)
        part.rename(final)
        catalog.add(target.catalog, entry)


def published() -> Path:
    """The folder of a published version."""
    if found := newest(Workspace.default()):
        return found
    workspace = shared()
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "doit",
        "--dir",
        ROOT,
        "--file",
        ROOT / "dodo.py",
    ]
    env = {"GOLDEN_OUTPUT": str(workspace.output), "GOLDEN_CACHE": str(workspace.cache)}
    kept = {name: os.environ[name] for name in ("GOLDEN_ACCEL",) if name in os.environ}
    with lock(workspace.locks / "published"):
        run([*words, f"build:{IMAGE}"], deadline=BUILD_DEADLINE, env=env | kept)
    version = newest(workspace)
    assert version is not None
    return version
