"""What golden gc finds besides versions: leftovers of killed runs, old evidence, unnamed parts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.definitions.loader import load
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.instances.instance import Home
from pipeline.publishing.waste import DAY
from pipeline.rehearsal import medium, recipes

IMAGE = "rehearsal"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GOLDEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GOLDEN_STORES", "none")
    return Workspace.default()


def folder(path: Path, days: float = 0.0) -> Path:
    path.mkdir(parents=True)
    file = path / "disk.qcow2"
    file.write_bytes(b"disk")
    then = time.time() - days * DAY
    for one in (file, path):
        os.utime(one, (then, then))
    return path


def left(paths: list[Path]) -> list[str]:
    return [path.name for path in paths if path.exists()]


def test_killed_runs_of_stages(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    home = workspace.build(IMAGE)
    names = (".install.work", ".seal.old", ".install.pulled", ".provision.share-x1_y")
    killed = [folder(home / name) for name in names]
    kept = [folder(home / name) for name in ("install", "seal", ".other")]
    with lock(workspace.locks / f"{IMAGE}.lock"):
        assert main(["gc"]) == 0
    assert left(killed) == list(names)
    assert main(["gc", "--dry-run"]) == 0
    assert left(killed) == list(names)
    said = capsys.readouterr().out
    assert "4 things, 16 B in all" in said
    assert str(killed[0]) in said
    assert main(["gc"]) == 0
    assert left(killed) == []
    assert len(left(kept)) == 3


def test_evidence_of_a_month_ago(workspace: Workspace) -> None:
    where = workspace.failures(IMAGE)
    ages = {"install-1": 90, "install-2": 31, "seal-1": 29, "seal-2": 1}
    folders = [folder(where / name, days) for name, days in ages.items()]
    only = folder(workspace.failures("windows-11") / "install-1", 400)
    assert main(["gc"]) == 0
    assert left(folders) == ["seal-1", "seal-2"]
    assert only.exists(), "the latest of each image stays"


def test_killed_launches_and_removals(workspace: Workspace) -> None:
    paths = [folder(workspace.instances / name) for name in (".a.gone", ".b.new", "c")]
    with lock(Home(workspace, "a").launching):
        assert main(["gc"]) == 0
    assert left(paths) == [".a.gone", "c"]
    assert main(["gc"]) == 0
    assert left(paths) == ["c"]


def test_parts_of_the_rehearsal_that_no_definition_names(workspace: Workspace) -> None:
    pins = [pin for pin in load(workspace).pins.values() if pin.made]
    named = [recipes.place(p.made or "", p.version, workspace).parent for p in pins]
    for path in named:
        folder(path, 100)
    parts = [folder(workspace.rehearsal / f"windows-{digit * 16}", 2) for digit in "ab"]
    fresh = folder(workspace.rehearsal / f"drivers-{'c' * 16}")
    packages = folder(workspace.rehearsal / "packages-debian-12-abc", 100)
    with lock(recipes.making("windows", workspace)):
        assert main(["gc"]) == 0
    assert len(left(parts)) == 2
    assert main(["gc"]) == 0
    assert left(parts) == []
    assert len(left([*named, fresh, packages])) == len(named) + 2


class Waits(Exception):
    """Somebody else holds the lock."""


class Waiting(Silent):
    def update(self, text: str) -> None:
        raise Waits(text)


def test_the_lock_is_the_one_that_making_takes(workspace: Workspace) -> None:
    with lock(recipes.making("drivers", workspace)), pytest.raises(Waits):
        medium.make("drivers", "1", workspace, Waiting())
