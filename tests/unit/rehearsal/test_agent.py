"""The stand-in's agent on a folder that plays C:, by the guest contract."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.rehearsal import driver_disc
from pipeline.rehearsal.guest import agent, faults, linux, services, sshd
from pipeline.rehearsal.guest.machine import ADMINISTRATORS, SYSTEM, Machine
from pipeline.rehearsal.guest.registry import FILE, Registry
from pipeline.rehearsal.guest.winpath import Drives

KEYS = r"C:\ProgramData\ssh\administrators_authorized_keys"
FULL = [{"identity": sid, "rights": "FullControl"} for sid in (SYSTEM, ADMINISTRATORS)]


class Guest:
    """A machine on a folder, with nothing of Linux beneath it."""

    def __init__(self, folder: Path) -> None:
        self.c = folder / "c"
        self.beacons: list[str] = []
        (self.c / "Windows/System32").mkdir(parents=True)
        (self.c / "Windows/System32/standin.txt").write_text("2k25\nEDITION\n26100.1\n")
        self.machine = Machine(self.c, Drives({"C": self.c}), Registry(self.c / FILE))

    def run(self, *steps: dict[str, Any], mode: str = "Apply") -> tuple[int, list[dict[str, Any]]]:
        """The exit code and the lines of a plan's run."""
        return self.run_plan({"schema": 1, "name": "provision", "steps": list(steps)}, mode)

    def run_plan(self, plan: object, mode: str = "Apply") -> tuple[int, list[dict[str, Any]]]:
        """Run any plan."""
        (self.c / "plan.json").write_text(json.dumps(plan))
        out = io.StringIO()
        code = agent.run(self.machine, ["-Mode", mode, "-Plan", r"C:\plan.json"], out)
        return code, [json.loads(line) for line in out.getvalue().splitlines()]

    def payload(self, name: str, data: bytes) -> dict[str, str]:
        """Put a payload in place; how a step names it."""
        path = self.c / "payload" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"file": name, "sha256": hashlib.sha256(data).hexdigest()}

    def driver(self, release: str) -> list[dict[str, str]]:
        """The payloads of viofs for a release."""
        package = driver_disc.package(driver_disc.KINDS[3], release, "0.1.302")
        named = sorted(package, key=lambda name: not name.endswith(".inf"))
        return [self.payload(f"viofs/{name}", package[name]) for name in named]


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    made = Guest(tmp_path)
    monkeypatch.setattr(linux, "serial", made.beacons.append)
    monkeypatch.setattr(linux, "load", lambda *names: None)
    monkeypatch.setattr(services, "RUNNING", tmp_path / "services")
    monkeypatch.setattr(sshd, "refresh", lambda machine: None)
    monkeypatch.setattr(sshd, "reconcile", lambda machine, wanted: None)
    monkeypatch.setattr(faults, "active", frozenset)
    return made


STEPS: list[dict[str, Any]] = [
    {"id": "text", "kind": "file", "path": r"C:\New\motd.txt", "content": "hello\n"},
    {"id": "value", "kind": "registry", "key": r"HKLM:\SOFTWARE\X", "name": "N", "value": "v"},
    {
        "id": "number",
        "kind": "registry",
        "key": r"HKLM:\X",
        "name": "N",
        "type": "DWord",
        "value": 1,
    },
    {"id": "rule", "kind": "firewall", "name": "R", "display_name": "r", "port": 22},
    {"id": "someone", "kind": "user", "name": "ann", "groups": [ADMINISTRATORS]},
    {"id": "pending", "kind": "reboot"},
]


@pytest.mark.parametrize("step", STEPS[:5], ids=lambda step: step["id"])
def test_set_once_then_as_desired(guest: Guest, step: dict[str, Any]) -> None:
    code, lines = guest.run(step, mode="Test")
    assert (code, lines[0]["state"], lines[-1]["result"]) == (3, "wrong", "wrong")
    assert lines[0]["message"]
    assert guest.run(step)[1][0]["state"] == "changed"
    assert guest.run(step)[1][0]["state"] == "ok"
    code, lines = guest.run(step, mode="Test")
    assert (code, lines[-1]["result"]) == (0, "done")


def test_content_is_written_as_it_is(guest: Guest) -> None:
    guest.run({"id": "f", "kind": "file", "path": r"C:\a", "content": "é\n"})
    assert (guest.c / "a").read_bytes() == "é\n".encode()


def test_absent(guest: Guest) -> None:
    (guest.c / "old").touch()
    guest.machine.registry.set(r"HKLM\X", "N", "v")
    code, lines = guest.run(
        {"id": "f", "kind": "file", "path": r"C:\OLD", "ensure": "absent"},
        {"id": "r", "kind": "registry", "key": r"HKLM:\x", "name": "n", "ensure": "absent"},
    )
    assert code == 0
    assert [line["state"] for line in lines[:2]] == ["changed", "changed"]
    assert not (guest.c / "old").exists()
    assert guest.machine.registry.get(r"HKLM\X", "N") is None


def test_beacons_follow_the_steps(guest: Guest) -> None:
    guest.run(*STEPS[:2])
    assert guest.beacons == [
        "GOLDEN step provision 1/2 text changed",
        "GOLDEN step provision 2/2 value changed",
        "GOLDEN plan provision done",
    ]


def test_a_wrong_digest_touches_nothing(guest: Guest) -> None:
    payload = guest.payload("x", b"good") | {"sha256": "0" * 64}
    step = {"id": "f", "kind": "file", "path": r"C:\x", "payloads": [payload]}
    code, lines = guest.run(step, *STEPS[:1])
    assert code == 1
    assert lines[0]["state"] == "failed"
    assert "digest" in lines[0]["message"]
    assert len(lines) == 2  # the step after it was not begun
    assert not (guest.c / "x").exists()


def test_permissions_go_with_the_file(guest: Guest) -> None:
    write = {"id": "key", "kind": "file", "path": KEYS, "content": "ssh-ed25519 A\n"}
    guest.run(write, {"id": "acl", "kind": "acl", "path": KEYS, "entries": FULL})
    assert guest.machine.private(guest.c / sshd.KEYS)
    assert sshd.accepted_keys(guest.machine) == b"ssh-ed25519 A\n"
    guest.run(write | {"content": "ssh-ed25519 B\n"})
    assert sshd.accepted_keys(guest.machine) == b""  # a new file inherits: sshd refuses it


def test_a_byte_order_mark_locks_out(guest: Guest) -> None:
    write = {"id": "key", "kind": "file", "path": KEYS, "content": "\ufeffssh-ed25519 A\n"}
    guest.run(write, {"id": "acl", "kind": "acl", "path": KEYS, "entries": FULL})
    assert sshd.accepted_keys(guest.machine) == b""


def test_more_permissions_than_needed_lock_out(guest: Guest) -> None:
    entries = [*FULL, {"identity": "S-1-1-0", "rights": "ReadAndExecute"}]
    write = {"id": "key", "kind": "file", "path": KEYS, "content": "ssh-ed25519 A\n"}
    guest.run(write, {"id": "acl", "kind": "acl", "path": KEYS, "entries": entries})
    assert sshd.accepted_keys(guest.machine) == b""


def test_driver_goes_into_the_store(guest: Guest) -> None:
    step = {"id": "d", "kind": "driver", "name": "viofs", "payloads": guest.driver("2k25")}
    assert guest.run(step)[1][0]["state"] == "changed"
    assert guest.run(step)[1][0]["state"] == "ok"
    assert services.exists(guest.machine, "VirtioFsDrv")


def test_driver_for_another_release(guest: Guest) -> None:
    step = {"id": "d", "kind": "driver", "name": "viofs", "payloads": guest.driver("2k19")}
    code, lines = guest.run(step)
    assert code == 1
    assert "is for 2k19" in lines[0]["message"]


def test_driver_without_its_catalogue(guest: Guest) -> None:
    payloads = [p for p in guest.driver("2k25") if not p["file"].endswith(".cat")]
    (guest.c / "payload/viofs/viofs.cat").unlink()
    code, lines = guest.run({"id": "d", "kind": "driver", "name": "viofs", "payloads": payloads})
    assert (code, "not signed" in lines[0]["message"]) == (1, True)


def service(**keys: object) -> dict[str, Any]:
    """A service step whose program exists."""
    return {"id": "s", "kind": "service", "name": "Svc", "binary": r"C:\svc.exe", **keys}


def test_service_is_made_and_started(guest: Guest) -> None:
    (guest.c / "svc.exe").touch()
    assert guest.run(service())[1][0]["state"] == "changed"
    assert services.running("Svc")
    assert guest.run(service(state="stopped"))[1][0]["state"] == "changed"
    assert not services.running("Svc")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({}, "program of Svc is missing"),
        ({"depend": ["Nothing"]}, "depends on Nothing"),
        ({"start": "disabled"}, "is disabled"),
    ],
)
def test_service_that_cannot_start(guest: Guest, keys: dict[str, Any], reason: str) -> None:
    code, lines = guest.run(service(**keys))
    assert (code, lines[0]["state"]) == (1, "failed")
    assert reason in lines[0]["message"]


def test_script_runs_once_in_its_content(guest: Guest) -> None:
    text = b"import os, pathlib\npathlib.Path(os.environ['STANDIN_C'], 'ran').touch()\n"
    step = {"id": "s", "kind": "script", "interpreter": "stand-in"}
    step["payloads"] = [guest.payload("s.py", text)]  # type: ignore[assignment]
    assert guest.run(step)[1][0]["state"] == "changed"
    (guest.c / "ran").unlink()
    assert guest.run(step)[1][0]["state"] == "ok"
    assert not (guest.c / "ran").exists()


def test_script_that_fails(guest: Guest) -> None:
    payload = guest.payload("s.py", b"raise SystemExit('no luck')")
    step = {"id": "s", "kind": "script", "interpreter": "stand-in", "payloads": [payload]}
    code, lines = guest.run(step)
    assert (code, "no luck" in lines[0]["message"]) == (1, True)


def test_powershell_is_not_pretended(guest: Guest) -> None:
    step = {"id": "s", "kind": "script", "payloads": [guest.payload("s.ps1", b"exit 0")]}
    code, lines = guest.run(step)
    assert (code, lines[0]["state"]) == (1, "failed")
    assert "has no powershell" in lines[0]["message"]


def test_update_asks_for_a_restart(guest: Guest) -> None:
    step = {"id": "u", "kind": "update", "kb": "kb5000001"}
    step["payloads"] = [guest.payload("u.msu", b"MSCF...")]  # type: ignore[assignment]
    code, lines = guest.run(step, STEPS[0])
    assert (code, lines[0]["state"], lines[-1]["result"]) == (4, "reboot", "reboot")
    assert guest.run(STEPS[5], mode="Test")[0] == 3  # a restart is pending


def test_a_restart_that_is_always_wanted_is_made_once(guest: Guest) -> None:
    step = {"id": "again", "kind": "reboot", "when": "always"}
    assert guest.run(step)[0] == 4
    assert guest.run(step)[0] == 0


@pytest.mark.parametrize(
    "plan",
    [
        {"schema": 2, "name": "p", "steps": []},
        {"schema": 1, "name": "P!", "steps": []},
        {"schema": 1, "name": "p", "steps": [{"id": "a", "kind": "magic"}]},
        {"schema": 1, "name": "p", "steps": [{"id": "A", "kind": "reboot"}]},
        {"schema": 1, "name": "p", "steps": [{"id": "a", "kind": "reboot"}] * 2},
        {"schema": 1, "name": "p", "steps": [{"id": "a", "kind": "reboot", "whem": "always"}]},
        {"schema": 1, "name": "p", "steps": [{"id": "a", "kind": "script", "payloads": [{}]}]},
        [],
    ],
)
def test_a_plan_that_is_not_understood(guest: Guest, plan: object) -> None:
    assert guest.run_plan(plan) == (2, [])
    assert guest.beacons == []


def test_payloads_stay_in_their_folder(guest: Guest) -> None:
    payload = {"file": r"..\secret", "sha256": "0" * 64}
    assert guest.run({"id": "f", "kind": "file", "path": "C:\\x", "payloads": [payload]})[0] == 2


def test_the_last_step_fails_on_request(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "active", lambda: frozenset({"step-fails"}))
    code, lines = guest.run(*STEPS[:2])
    assert (code, [line["state"] for line in lines[:2]]) == (1, ["changed", "failed"])


def test_a_transcript_is_kept(guest: Guest) -> None:
    guest.run(STEPS[0])
    guest.run(STEPS[0])
    log = (guest.c / "ProgramData/golden/log/provision.log").read_text()
    assert log.count('"result": "done"') == 2
