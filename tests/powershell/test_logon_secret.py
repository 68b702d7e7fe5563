"""The automatic logon's password among the LSA's secrets: gone at the first logon, by a task."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.powershell.fake_machine import FakeMachine, Ran, Run

pytestmark = pytest.mark.powershell

SECRET = "SECURITY\\Policy\\Secrets\\DefaultPassword"
OTHER = "SECURITY\\Policy\\Secrets\\DPAPI_SYSTEM\\CurrVal"
TASK = "Golden Windows Logon Secret"
SEEN = "SECURITY\\Policy\\PolAdtEv"


def run(machine: FakeMachine, *arguments: str) -> Ran:
    return machine.run(Run("logon-secret.ps1", arguments))[0]


def secrets(machine: FakeMachine) -> None:
    """As an automatic logon leaves them."""
    for part in ("CurrVal", "OldVal", "SecDesc"):
        machine.set_registry(f"{SECRET}\\{part}", "x", "00", "REG_BINARY")
    machine.set_registry(OTHER, "x", "00", "REG_BINARY")


def test_system_removes_this_secret_and_no_other(machine: FakeMachine) -> None:
    secrets(machine)
    ran = run(machine, "-AsSystem")
    assert ran.exit == 0, ran.text
    assert [key for key, values in machine.registry.items() if values] == [OTHER]
    assert not [key for key in machine.registry if "DefaultPassword" in key]


def test_a_secret_that_is_not_there_is_no_failure(machine: FakeMachine) -> None:
    machine.set_registry(SEEN, "x", "00", "REG_BINARY")
    assert run(machine, "-AsSystem").exit == 0


def test_who_cannot_see_the_secrets_does_not_take_them_for_gone(machine: FakeMachine) -> None:
    ran = run(machine, "-AsSystem")
    assert ran.exit == 1
    assert "cannot be seen" in ran.text


def test_an_administrator_has_a_task_of_system_do_it(machine: FakeMachine) -> None:
    """The task itself is what the first test runs."""
    secrets(machine)
    machine.change(run_tasks=0)
    ran = run(machine)
    assert ran.exit == 0, ran.text
    assert ran.state["tasks"] == {}  # nothing of it stays
    assert any(key.startswith(SECRET) for key in machine.registry)
    assert [line.split()[0] for line in ran.commands] == [
        "New-ScheduledTaskAction",
        "New-ScheduledTaskPrincipal",
        "New-ScheduledTaskSettingsSet",
        "Register-ScheduledTask",
        "Start-ScheduledTask",
        "Get-ScheduledTaskInfo",
        "Unregister-ScheduledTask",
    ]


def test_the_task_runs_this_script_as_system(machine: FakeMachine) -> None:
    machine.change(run_tasks=0, deny={"Unregister-ScheduledTask": "kept, to be looked at"})
    ran = run(machine)
    assert ran.exit == 1
    task = ran.state["tasks"][TASK]
    assert task["principal"] == {"user": "S-1-5-18", "logon": "ServiceAccount", "level": "Highest"}
    assert task["settings"] == {"limit": "00:00:00", "batteries": True, "keep": True}
    assert task["action"]["execute"].endswith("powershell.exe")
    words = shlex.split(task["action"]["argument"].replace("\\", "\\\\"))
    assert words[:5] == ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"]
    assert (Path(words[5]).name, words[6:]) == ("logon-secret.ps1", ["-AsSystem"])


def test_a_task_that_fails_is_told(machine: FakeMachine) -> None:
    machine.change(run_tasks=1)
    ran = run(machine)
    assert ran.exit == 1
    assert "ended with 0x1" in ran.text
    assert ran.state["tasks"] == {}


def test_a_task_that_does_not_end_is_stopped(machine: FakeMachine) -> None:
    states = [machine.state | {"run_tasks": state} for state in ("hang", "no", "queue")]
    for ran in machine.run(*[Run("logon-secret.ps1", ["-Timeout", "0"], s) for s in states]):
        assert ran.exit == 1
        assert "did not end within 0 s" in ran.text
        assert any(line.startswith("Stop-ScheduledTask") for line in ran.commands)
        assert ran.state["tasks"] == {}


def test_a_task_that_an_earlier_attempt_left_is_replaced(machine: FakeMachine) -> None:
    secrets(machine)
    machine.change(run_tasks=0, tasks={TASK: {"action": {}, "result": 1}})
    ran = run(machine)
    assert ran.exit == 0, ran.text
    assert ran.state["tasks"] == {}
