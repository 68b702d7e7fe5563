"""Runtime folders: private, short, gone afterwards, swept when their owner was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.machine import runtime
from pipeline.machine.runtime import base, runtime_folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "base", lambda: tmp_path / "base")


def test_the_folder_is_private_and_gone_afterwards() -> None:
    with runtime_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "vars").touch()
    assert not folder.exists()


def test_a_living_owner_keeps_its_folder() -> None:
    with runtime_folder() as first:
        with runtime_folder() as second:
            assert first.is_dir()
            assert second.is_dir()
            assert first != second
        assert first.is_dir()


def test_the_folder_of_a_dead_owner_is_swept(tmp_path: Path) -> None:
    stale = tmp_path / "base" / "mdead"
    stale.mkdir(parents=True)
    (tmp_path / "base").chmod(0o700)
    (stale / "owner").touch()
    (stale / "socket").touch()
    with runtime_folder() as folder:
        assert not stale.exists()
        assert folder.exists()


def test_a_folder_whose_owner_removes_it_meanwhile_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner that ends holds no common lock: its folder may vanish between two looks."""
    (tmp_path / "base" / "mending").mkdir(parents=True)
    hold = runtime._hold

    def late(folder: Path) -> int | None:
        if folder.name == "mending":
            folder.rmdir()
        return hold(folder)

    monkeypatch.setattr(runtime, "_hold", late)
    assert runtime.sweep(tmp_path / "base") == []


def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "base").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PipelineError, match="not a private folder"), runtime_folder():
        pass


def test_a_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir(mode=0o755)
    with pytest.raises(PipelineError, match="not a private folder"), runtime_folder():
        pass


def test_a_long_temporary_path_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert str(long) not in str(base())
    assert len(os.fspath(base())) < 90
