"""The stand-in's command interpreter: what it does, and that it does not pretend."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pipeline.rehearsal.guest import linux
from pipeline.rehearsal.guest.shell import UNKNOWN, Shell, words
from pipeline.rehearsal.guest.winpath import Drives


@pytest.fixture
def com1(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was written to COM1."""
    lines: list[str] = []
    monkeypatch.setattr(linux, "serial", lines.append)
    return lines


class Guest:
    """A shell on two drives with one program that notes its arguments."""

    def __init__(self, root: Path) -> None:
        self.calls: list[list[str]] = []
        for letter in "CE":
            (root / letter).mkdir()
        self.out = io.StringIO()
        drives = Drives({"C": root / "C", "E": root / "E"})
        self.shell = Shell(drives, {"powershell": self._note, "fails": lambda _, __: 3}, self.out)

    def _note(self, shell: Shell, arguments: list[str]) -> int:
        self.calls.append(arguments)
        return 0


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_beacon_reaches_com1(guest: Guest, com1: list[str]) -> None:
    assert guest.shell.run("cmd /c echo GOLDEN pass windowsPE> COM1") == 0
    assert com1 == ["GOLDEN pass windowsPE"]


def test_the_disc_is_found_by_trying_every_letter(guest: Guest) -> None:
    (guest.shell.drives.letters["E"] / "Golden").mkdir()
    (guest.shell.drives.letters["E"] / "Golden/Agent.ps1").touch()
    line = (
        r"cmd.exe /d /c for %d in (C D E F) do if exist %d:\golden\agent.ps1"
        r" powershell.exe -File %d:\golden\agent.ps1 -Plan %d:\golden\bootstrap.json"
    )
    assert guest.shell.run(line) == 0
    assert guest.calls == [["-File", r"E:\golden\agent.ps1", "-Plan", r"E:\golden\bootstrap.json"]]


def test_letters_may_be_doubled_as_in_a_batch_file(guest: Guest) -> None:
    assert guest.shell.run("for %%x in (1,2) do powershell %%x") == 0
    assert guest.calls == [["1"], ["2"]]


@pytest.mark.parametrize(
    ("line", "calls"),
    [
        ("fails && powershell a", []),
        ("fails || powershell a", [["a"]]),
        ("powershell a && powershell b", [["a"], ["b"]]),
        ("fails & powershell a", [["a"]]),
        ("if exist C:\\ powershell a && powershell b", [["a"], ["b"]]),
        ("if exist C:\\none powershell a && powershell b", []),
        ("if not exist D:\\x powershell a", [["a"]]),
        ('powershell "a && b"', [["a && b"]]),
    ],
)
def test_conditions(guest: Guest, line: str, calls: list[list[str]]) -> None:
    guest.shell.run(line)
    assert guest.calls == calls


def test_exit_code_of_a_program(guest: Guest) -> None:
    assert guest.shell.run("fails") == 3


def test_unknown_program_is_said_and_fails(
    guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guest.shell.run("diskpart.exe /s x") == UNKNOWN
    assert "cannot run: diskpart.exe /s x" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["echo a | more", "for /f %i in (a) do echo", "if 1==1 echo y"])
def test_what_it_cannot_do_fails(guest: Guest, line: str) -> None:
    assert guest.shell.run(line) == 1
    assert guest.out.getvalue() == ""


def test_echo_into_a_file_and_appended(guest: Guest) -> None:
    guest.shell.run(r"echo one> C:\notes.txt")
    guest.shell.run(r"echo two>> C:\notes.txt")
    assert (guest.shell.drives.letters["C"] / "notes.txt").read_text() == "one\ntwo\n"


def test_nul_swallows(guest: Guest) -> None:
    assert guest.shell.run("echo secret> NUL") == 0
    assert guest.out.getvalue() == ""


def test_variables(guest: Guest) -> None:
    guest.shell.run("echo %SystemRoot% %NoSuch%")
    assert guest.out.getvalue() == "C:\\Windows %NoSuch%\n"


def test_words_keep_backslashes_and_quotes_group() -> None:
    assert words(r'"C:\Program Files\x.exe" /t "a b"') == [r"C:\Program Files\x.exe", "/t", "a b"]


@pytest.mark.parametrize(("code", "said"), [(0, []), (1, []), (2, ["refused"]), (4, [])])
def test_errorlevel_tells_a_plan_that_was_not_understood(
    guest: Guest, com1: list[str], code: int, said: list[str]
) -> None:
    (guest.shell.drives.letters["E"] / "agent.ps1").touch()
    guest.shell.programs = {"powershell": lambda _, __: code}
    guest.shell.run(
        r"cmd.exe /d /c for %d in (C E F) do if exist %d:\agent.ps1 powershell.exe %d:\agent.ps1"
        r" & if errorlevel 2 if not errorlevel 3 echo refused> COM1"
    )
    assert com1 == said
