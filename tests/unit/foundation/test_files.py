"""Files appear whole, under their final name, and are never readable by more than they should."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pipeline.foundation import files
from pipeline.foundation.files import replacing, write_bytes


def modes(folder: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()]


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o644])
def test_a_file_is_its_owners_alone_until_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """A key that is just being written must not be read, even when its writer is killed."""
    seen: list[int] = []
    with replacing(tmp_path / "file", mode=mode) as part:
        part.write_bytes(b"secret")
        assert modes(tmp_path) == [0o600]
    assert modes(tmp_path) == [mode]
    monkeypatch.setattr(files, "sync", lambda _: seen.extend(modes(tmp_path)))
    (tmp_path / "file").unlink()
    write_bytes(tmp_path / "file", b"secret", mode=mode)
    assert seen == [mode]


def _fail_half_way(path: Path) -> None:
    with replacing(path) as part:
        part.write_bytes(b"ne")
        raise ValueError("half way")


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")
    with pytest.raises(ValueError, match="half way"):
        _fail_half_way(tmp_path / "file")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
