"""How waste goes: by its name first, under its lock, and one failure keeps nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.locks import at_once, lock
from pipeline.publishing.waste import remove, waste


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "disk.qcow2").write_bytes(b"disk")
    return path


def test_what_is_in_use_or_needed_after_all_stays(tmp_path: Path) -> None:
    used, needed, gone = (folder(tmp_path / name) for name in ("used", "needed", "gone"))
    held = tmp_path / "held"
    found = [
        waste(used, "x", held),
        waste(needed, "x", still=lambda: False),
        waste(gone, "x", tmp_path / "free"),
    ]
    with lock(held):
        assert not found[0].idle
        remove(found)
    assert [path.exists() for path in (used, needed, gone)] == [True, True, False]
    assert found[0].idle
    assert found[0].size == 4


def test_it_is_locked_while_it_goes(tmp_path: Path) -> None:
    path, held = folder(tmp_path / "it"), tmp_path / "lock"
    asked: list[bool] = []

    def still() -> bool:
        with at_once(held) as free:
            asked.append(free)
        return True

    remove([waste(path, "x", held, still)])
    assert asked == [False]
    assert not path.exists()


def test_one_that_cannot_go_is_told_after_the_others_went(tmp_path: Path) -> None:
    stuck, gone = folder(tmp_path / "stuck"), folder(tmp_path / "gone")
    (tmp_path / ".stuck.gone.part").write_text("no folder")
    with pytest.raises(PipelineError, match="1 of 2 things could not be removed") as said:
        remove([waste(stuck, "x"), waste(gone, "x")])
    assert "stuck" in said.value.message
    assert stuck.exists()
    assert not gone.exists()
