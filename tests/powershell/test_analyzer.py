"""PSScriptAnalyzer, with the profile of Windows Server 2019, has nothing to say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.powershell.fake_machine import GUEST, FakeMachine

pytestmark = pytest.mark.powershell
ANALYZE = Path(__file__).with_name("analyze.ps1")


def analyse(machine: FakeMachine, folder: Path) -> str:
    command = [*machine.command()[:-1], str(ANALYZE), "-Folder", str(folder)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    if "PSScriptAnalyzer" in done.stderr and "not loaded" in done.stderr:
        pytest.skip("this PowerShell has no module PSScriptAnalyzer")
    assert "analysed" in done.stdout, done.stdout + done.stderr
    return done.stdout


def test_there_is_nothing_to_say(machine: FakeMachine) -> None:
    assert analyse(machine, GUEST).splitlines() == ["analysed"]


def test_it_would_say_something(machine: FakeMachine, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "bad.ps1").write_text("gci C:\\ | % { Get-Item $_ -Depth 3 }\nGet-Uptime\n")
    said = analyse(machine, folder)
    assert all(rule in said for rule in ("PSAvoidUsingCmdletAliases", "PSUseCompatibleCommands"))
