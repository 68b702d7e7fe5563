"""The script for real Windows machines, tried here as far as it goes.

Where there is no Windows it runs the parts that need nothing but files and a registry; the other
parts run in .github/workflows/ci.yml only.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.powershell import windows_commands
from tests.powershell.fake_machine import FakeMachine
from tests.powershell.test_analyzer import analyse
from tests.unit.guest_scripts import syntax

REAL = Path(__file__).with_name("real.ps1")
HERE = "parse,file,registry,script,refusals"


@pytest.fixture
def windows(machine: FakeMachine) -> FakeMachine:
    """A machine on an engine that has drives and a registry, as the script brings no doubles."""
    if shutil.which("powershell") is None:
        pytest.skip("no powershell on PATH, and pwsh has neither a C: drive nor a registry")
    return machine


def real(
    machine: FakeMachine, parts: str, guest: Path = syntax.GUEST
) -> subprocess.CompletedProcess[str]:
    folder = "C:\\Windows\\Temp\\golden test"
    command = [*machine.command()[:-1], str(REAL), "-Parts", parts, "-Folder", folder]
    return subprocess.run(
        [*command, "-Guest", str(guest)],
        env=machine.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_parses_without_an_error() -> None:
    root = syntax.parse(REAL.read_text())
    wrong = [n.start_point[0] + 1 for n in syntax.walk(root) if n.type == "ERROR" or n.is_missing]
    assert wrong == []
    assert REAL.read_bytes().isascii()


def test_every_part_is_run_by_default_and_every_kind_is_looked_at() -> None:
    text = REAL.read_text()
    table = text[text.index("$table = [ordered]@{") :]
    parts = [line.split()[0] for line in table.splitlines()[1 : table.splitlines().index("}")]]
    assert f"$Parts = '{','.join(parts)}'" in text
    agent = (syntax.GUEST / "agent.ps1").read_text()
    kinds = agent[agent.index("$script:Kinds = @{") : agent.index("$script:Choices")]
    names = {line.split()[0] for line in kinds.splitlines() if " = @{ " in line}
    everything = text[text.index("function Test-Everything") : text.index("# --- tidying")]
    assert {name for name in names if f"kind = '{name}'" in everything} == names
    assert len(names) == 11


@pytest.mark.powershell
def test_what_needs_no_windows_holds_here(windows: FakeMachine) -> None:
    done = real(windows, HERE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "0 failed"
    assert "FAILED" not in done.stdout
    assert done.stdout.count("ok      ") > 40
    assert not (windows.c / "Windows/Temp/golden test").exists()
    left = {key for key in windows.registry if "Golden" in key}
    assert left == set()


@pytest.mark.powershell
def test_a_broken_agent_is_noticed(windows: FakeMachine, tmp_path: Path) -> None:
    agent = (syntax.GUEST / "agent.ps1").read_text()
    broken = agent.replace("return , $encoding.GetBytes($Text)", "return , [byte[]](1, 2)")
    assert broken != agent
    guest = tmp_path / "guest"
    guest.mkdir()
    (guest / "agent.ps1").write_text(broken)
    done = real(windows, "file", guest)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED  file: no byte order mark" in done.stdout


@pytest.mark.powershell
def test_the_analyzer_has_nothing_to_say(machine: FakeMachine) -> None:
    assert analyse(machine, REAL.parent).splitlines() == ["analysed"]


def test_commands_are_those_of_windows_powershell() -> None:
    """As far as the reference that is kept here knows them."""
    root = syntax.parse(REAL.read_text())
    own = syntax.functions(root)
    known = windows_commands.commands()
    for call in syntax.commands(root):
        if call.name in own:
            assert set(call.parameters) <= syntax.parameters_of(own[call.name]), call
        elif call.name in known:
            common = set(windows_commands.subset()["common_parameters"])
            assert set(call.parameters) <= set(known[call.name]) | common, call
