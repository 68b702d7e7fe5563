"""The house rules of the guest scripts, read from their syntax trees."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.powershell import fake_machine, windows_commands
from tests.unit.guest_scripts import syntax
from tests.unit.guest_scripts.syntax import SCRIPTS, Command

COMMON = set(windows_commands.subset()["common_parameters"]) | {"WhatIf", "Confirm"}
KNOWN = windows_commands.commands()
# Programs that Windows has outside System32, where the reference lists none.
ELSEWHERE = {"ssh-keygen.exe", "sysprep.exe"}
# Commands that the engine itself brings on every platform: these need no double.
PORTABLE = {
    "Convert-Path",
    "ConvertFrom-Json",
    "ConvertTo-Json",
    "ForEach-Object",
    "Get-ChildItem",
    "Get-Command",
    "Get-Content",
    "Get-FileHash",
    "Join-Path",
    "Out-Null",
    "Select-Object",
    "Set-StrictMode",
    "Sort-Object",
    "Split-Path",
    "Start-Sleep",
    "Start-Transcript",
    "Stop-Transcript",
    "Where-Object",
    "Write-Information",
}
# Scripts that run programs and tell of themselves; the others are too small to need that.
WHOLE = [script for script in SCRIPTS if "#region common" in script.read_text()]
every_script = pytest.mark.parametrize("script", SCRIPTS, ids=[script.name for script in SCRIPTS])


def calls(script: Path) -> list[Command]:
    return syntax.commands(syntax.parse(script.read_text()))


def test_the_scripts_are_there() -> None:
    names = ["agent.ps1", "firstboot.ps1", "logon-secret.ps1", "seal.ps1"]
    assert [script.name for script in SCRIPTS] == names


@every_script
def test_parses_without_an_error(script: Path) -> None:
    root = syntax.parse(script.read_text())
    wrong = [n.start_point[0] + 1 for n in syntax.walk(root) if n.type == "ERROR" or n.is_missing]
    assert wrong == []


@every_script
def test_is_ascii_with_plain_line_ends(script: Path) -> None:
    data = script.read_bytes()
    assert data.isascii()
    assert b"\r" not in data
    assert b"\t" not in data
    assert data.endswith(b"\n")
    assert [line for line in data.splitlines() if line != line.rstrip()] == []


@every_script
def test_is_strict_and_stops_before_it_does_anything(script: Path) -> None:
    before, _, _ = script.read_text().partition("\nfunction ")
    assert "\nSet-StrictMode -Version 3.0\n$ErrorActionPreference = 'Stop'\n" in before


@every_script
def test_no_function_is_longer_than_60_lines(script: Path) -> None:
    found = syntax.functions(syntax.parse(script.read_text()))
    lengths = {name: node.end_point[0] - node.start_point[0] + 1 for name, node in found.items()}
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}
    assert sorted(lengths.values())[len(lengths) // 2] <= 16


@every_script
def test_every_function_is_used(script: Path) -> None:
    text = script.read_text()
    own = syntax.functions(syntax.parse(text))
    common = set(syntax.functions(syntax.parse(region(script))))
    by_name = {f"{verb}-{kind}Step" for verb in ("Test", "Set") for kind in kinds()}
    used = {call.name for call in calls(script)}
    assert set(own) - used - common - by_name == set()


def kinds() -> set[str]:
    """The kinds of steps, as the agent names its functions."""
    text = (syntax.GUEST / "agent.ps1").read_text()
    table = text[text.index("$script:Kinds = @{") : text.index("$script:Choices")]
    return {name.capitalize() for name in re.findall(r"^    (\w+) +=", table, flags=re.MULTILINE)}


def test_every_kind_of_the_contract_has_its_pair() -> None:
    contract = (syntax.ROOT / "docs" / "guest-contract.md").read_text()
    table = contract[contract.index("| kind | keys |") : contract.index("## The agent")]
    wanted = {
        name.capitalize() for name in re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    }
    assert kinds() == wanted
    own = set(syntax.functions(syntax.parse((syntax.GUEST / "agent.ps1").read_text())))
    assert {f"{verb}-{kind}Step" for verb in ("Test", "Set") for kind in wanted} <= own


@every_script
def test_every_command_is_known_to_windows_powershell(script: Path) -> None:
    own = syntax.functions(syntax.parse(script.read_text()))
    unknown = {
        (call.line, call.name)
        for call in calls(script)
        if call.name not in own and call.name not in KNOWN
    }
    assert unknown == set()


@every_script
def test_every_parameter_is_known(script: Path) -> None:
    own = syntax.functions(syntax.parse(script.read_text()))
    wrong = []
    for call in calls(script):
        if call.name in own:
            known = syntax.parameters_of(own[call.name])
        else:
            known = set(KNOWN[call.name]) | COMMON
        wrong += [(call.line, call.name, name) for name in call.parameters if name not in known]
    assert wrong == []


@every_script
def test_every_splatted_key_is_a_parameter(script: Path) -> None:
    text = script.read_text()
    own = syntax.functions(syntax.parse(text))
    for call in calls(script):
        if call.splat is None:
            continue
        body = syntax.text_of(own[call.function])
        table = body[body.index(f"${call.splat} = @{{") :]
        keys = set(
            re.findall(r"^ {8}(\w+) += ", table[: table.index("\n    }")], flags=re.MULTILINE)
        )
        keys |= set(re.findall(rf"\${call.splat}\.(\w+) = ", body))
        assert keys
        assert keys <= set(KNOWN[call.name]), (call.line, call.name)


@every_script
def test_a_name_with_brackets_is_a_name(script: Path) -> None:
    """-Path takes [ ] * ? for wildcards; what is only to be listed by a filter may use it."""
    taken = {"Convert-Path", "Get-Acl", "Get-Content", "Get-FileHash", "Get-Item", "Remove-Item"}
    taken |= {"New-ItemProperty", "Remove-ItemProperty", "Start-Transcript", "Test-Path"}
    wrong = [call for call in calls(script) if call.name in taken and "Path" in call.parameters]
    lists = [call for call in calls(script) if call.name == "Get-ChildItem"]
    wrong += [c for c in lists if "Path" in c.parameters and "Filter" not in c.parameters]
    assert wrong == []


@every_script
def test_what_is_hidden_or_read_only_is_changed_as_well(script: Path) -> None:
    forced = {"New-Item", "New-ItemProperty", "Remove-Item", "Remove-ItemProperty"}
    forced |= {"Rename-Computer", "Start-Transcript"}
    if script.name == "seal.ps1":  # what it lists is to be removed
        forced.add("Get-ChildItem")
    mild = [c for c in calls(script) if c.name in forced and "Force" not in c.parameters]
    assert mild == []


@every_script
def test_programs_are_run_through_the_one_helper_and_are_in_windows(script: Path) -> None:
    assert [call for call in calls(script) if "." in call.name or "\\" in call.name] == []
    text = script.read_text()
    starters = [line for line in text.splitlines() if "Diagnostics.Process" in line]
    assert len(starters) == (2 if region(script) else 0), starters
    named = {word.lower() for word in re.findall(r"[A-Za-z-]+\.exe", text)}
    known = set(windows_commands.subset()["programs"]) | ELSEWHERE
    assert named <= known


@every_script
def test_nothing_is_downloaded_or_evaluated(script: Path) -> None:
    forbidden = (
        r"Invoke-Expression|DownloadString|DownloadFile|WebClient|Invoke-WebRequest"
        r"|Invoke-RestMethod|\biex\b|Add-Type"
    )
    assert re.findall(forbidden, script.read_text(), flags=re.IGNORECASE) == []


@every_script
def test_no_drive_letter_is_written_down(script: Path) -> None:
    root = syntax.parse(script.read_text())
    wrong = [
        (line, text)
        for line, text in syntax.texts(root)
        if re.search(r"(?<![A-Za-z])[A-Za-z]:(\\|$)", text)
    ]
    assert wrong == []


@every_script
def test_accounts_and_groups_are_named_by_sid(script: Path) -> None:
    """Names such as Administrators are translated on localised Windows."""
    root = syntax.parse(script.read_text())
    names = r"^['\"]\*?(BUILTIN\\|NT AUTHORITY\\)?(Administrators?|Users|Everyone|SYSTEM)\b['\":]"
    assert [(line, text) for line, text in syntax.texts(root) if re.search(names, text)] == []


@every_script
def test_no_password_is_ever_a_text(script: Path) -> None:
    text = script.read_text()
    assert "ConvertTo-SecureString" not in text
    assert re.findall(r"-Password (?!\(New-RandomPassword\))\S+", text) == []


def region(script: Path) -> str:
    text = script.read_text()
    if "#region common" not in text:
        return ""
    return text[text.index("#region common") : text.index("#endregion common")]


def test_the_common_region_is_the_same_everywhere() -> None:
    """Each script stands alone: after a change copy agent.ps1's region to the others."""
    assert [script.name for script in WHOLE] == ["agent.ps1", "firstboot.ps1", "seal.ps1"]
    assert {region(script) for script in WHOLE} == {region(WHOLE[0])}


def test_setup_complete_hands_over_in_two_lines() -> None:
    data = (syntax.GUEST / "SetupComplete.cmd").read_bytes()
    lines = data.split(b"\r\n")
    assert (len(lines), lines[0], lines[-1]) == (3, b"@echo off", b"")
    assert lines[1].endswith(b'-File "%ProgramData%\\golden\\firstboot.ps1" -Register')
    assert data.isascii()


def test_cloudbase_init_is_switched_on_at_the_end_of_setup() -> None:
    data = (syntax.GUEST / "cloudbase-complete.cmd").read_bytes()
    assert data.isascii()
    assert data.split(b"\r\n") == [
        b"@echo off",
        b"sc.exe config cloudbase-init start= auto",
        b"sc.exe start cloudbase-init",
        b"",
    ]


def test_suppressions_have_reasons() -> None:
    for script in SCRIPTS:
        for line in re.findall(
            r"^.*SuppressMessageAttribute\(.*$", script.read_text(), flags=re.MULTILINE
        ):
            assert re.search(r"Justification = '.{20,}'", line), line


# The doubles, held against the same reference from the other side.


def test_every_double_is_a_command_of_windows() -> None:
    assert set(windows_commands.doubled()) - set(KNOWN) == set()


def test_every_command_of_windows_that_is_used_has_a_double() -> None:
    used = {call.name for script in SCRIPTS for call in calls(script)}
    own = {
        name for script in SCRIPTS for name in syntax.functions(syntax.parse(script.read_text()))
    }
    assert used - own - set(windows_commands.doubled()) - PORTABLE == set()


def test_every_double_is_needed() -> None:
    used = {call.name for script in SCRIPTS for call in calls(script)}
    assert set(windows_commands.doubled()) - used == set()


@pytest.mark.parametrize("command", sorted(windows_commands.doubled()))
def test_a_double_reads_real_parameters_only(command: str) -> None:
    body = windows_commands.doubled()[command]
    read = set(re.findall(r"\$Bound\['(\w+)'\]", body))
    assert read - set(KNOWN[command]) == set()


def test_the_subset_holds_what_is_used_and_no_more() -> None:
    used = {call.name for script in SCRIPTS for call in calls(script)} | set(
        windows_commands.doubled()
    )
    assert set(KNOWN) - used == set()


def test_every_fake_program_is_in_windows() -> None:
    names = set(fake_machine.program_names()) - {"hello.exe"}
    assert names - set(windows_commands.subset()["programs"]) - ELSEWHERE == set()
