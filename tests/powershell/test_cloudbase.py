"""cloudbase-init as first boot: the keys it wrote go where sshd looks for administrators'."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.powershell.fake_machine import ADMINISTRATORS, SYSTEM, FakeMachine, Ran, Run

pytestmark = pytest.mark.powershell

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIowner owner@laptop"
OTHER = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAI= other"
MEMORY = "SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management"


def seal(machine: FakeMachine) -> None:
    """As sealing and Setup's end leave a machine."""
    machine.set_registry("SOFTWARE\\GoldenWindows", "Sealed", 1, "REG_DWORD")
    machine.set_registry(MEMORY, "ClearPageFileAtShutdown", 1, "REG_DWORD")
    machine.change(tasks={"Golden Windows Seal": {"result": 0}})
    (machine.c / "Users").mkdir(exist_ok=True)


def write(machine: FakeMachine, user: str, text: str) -> None:
    """The keys that cloudbase-init has written for a user."""
    file = machine.c / "Users" / user / ".ssh" / "authorized_keys"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def authorised(machine: FakeMachine) -> Path:
    return machine.c / "ProgramData" / "ssh" / "administrators_authorized_keys"


def run(machine: FakeMachine) -> Ran:
    return machine.run(Run("firstboot.ps1", ["-CloudbaseKeys"]))[0]


def test_the_keys_of_all_users_are_administrators_keys(machine: FakeMachine) -> None:
    seal(machine)
    write(machine, "golden", f"{KEY}\n{OTHER}\n")
    write(machine, "second", f"{OTHER}\n")
    (machine.c / "Users" / "third").mkdir()
    ran = run(machine)
    assert ran.exit == 0, ran.text
    assert ran.beacons == ["GOLDEN firstboot ready"]
    assert authorised(machine).read_bytes() == f"{KEY}\n{OTHER}\n".encode()
    acl = ran.state["acl"][str(authorised(machine))]
    assert acl["protected"] is True
    assert {(rule["sid"], rule["rights"]) for rule in acl["rules"]} == {
        (SYSTEM, 0x1F01FF),
        (ADMINISTRATORS, 0x1F01FF),
    }
    assert ran.state["services"]["sshd"]["state"] == "Running"
    assert ran.state["services"]["sshd"]["start"] == "Auto"


def test_a_hidden_user_counts_as_well(machine: FakeMachine) -> None:
    seal(machine)
    write(machine, ".service", f"{KEY}\n")
    assert run(machine).exit == 0
    assert authorised(machine).read_text() == f"{KEY}\n"


def test_what_sealing_left_is_undone(machine: FakeMachine) -> None:
    seal(machine)
    write(machine, "golden", f"{KEY}\n")
    ran = run(machine)
    assert machine.registry[MEMORY]["ClearPageFileAtShutdown"]["data"] == 0
    assert ran.state["tasks"] == {}


def test_without_a_key_nothing_is_authorised(machine: FakeMachine) -> None:
    seal(machine)
    ran = run(machine)
    assert (ran.exit, ran.beacons) == (0, ["GOLDEN firstboot ready"])
    assert not authorised(machine).exists()


def test_a_line_that_is_no_key_is_told_and_the_others_count(machine: FakeMachine) -> None:
    seal(machine)
    write(machine, "golden", f"nonsense\n{KEY}\n")
    ran = run(machine)
    assert ran.beacons[0].startswith("GOLDEN firstboot failed this is not a public key: nonsense")
    assert ran.beacons[-1] == "GOLDEN firstboot ready"
    assert authorised(machine).read_text() == f"{KEY}\n"


def test_a_build_machine_is_left_alone(machine: FakeMachine) -> None:
    write(machine, "golden", f"{KEY}\n")
    ran = run(machine)
    assert (ran.exit, ran.beacons) == (0, [])
    assert not authorised(machine).exists()
