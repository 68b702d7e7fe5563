"""Windows paths found on a case-sensitive file system."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rehearsal.guest.winpath import Drives, NoDrive


@pytest.fixture
def c(tmp_path: Path) -> Path:
    (tmp_path / "Program Files/OpenSSH").mkdir(parents=True)
    (tmp_path / "Program Files/OpenSSH/sshd.exe").touch()
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        r"C:\Program Files\OpenSSH\sshd.exe",
        "c:/PROGRAM FILES/openssh/SSHD.EXE",
        "/C:/program files/OpenSSH//sshd.exe",
        r"%ProgramFiles%\OpenSSH\sshd.exe",
        r'"C:\Program Files\OpenSSH\sshd.exe"',
        r"\Program Files\.\OpenSSH\x\..\sshd.exe",
    ],
)
def test_found_in_any_spelling(c: Path, text: str) -> None:
    assert Drives({"C": c}).resolve(text) == c / "Program Files/OpenSSH/sshd.exe"


def test_missing_parts_keep_their_spelling(c: Path) -> None:
    assert Drives({"C": c}).resolve(r"c:\program files\New\File.TXT") == (
        c / "Program Files/New/File.TXT"
    )


def test_unknown_drive(c: Path) -> None:
    drives = Drives({"C": c})
    with pytest.raises(NoDrive, match="Q:"):
        drives.resolve(r"Q:\x")
    assert not drives.exists(r"Q:\x")


def test_letters_are_given_in_order(tmp_path: Path) -> None:
    drives = Drives({"C": tmp_path, "E": tmp_path})
    assert [drives.add(tmp_path) for _ in range(3)] == ["D", "F", "G"]


@given(st.lists(st.sampled_from(["..", ".", "a", "B", "%x%", "c:d", ""]), max_size=12))
def test_no_path_leaves_its_drive(parts: list[str]) -> None:
    root = Path("/nowhere/drive")
    found = Drives({"C": root}).resolve("C:\\" + "\\".join(parts))
    assert found == root or root in found.parents
