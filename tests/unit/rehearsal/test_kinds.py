"""What each kind of step looks at and sets on the stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.rehearsal.guest import services, sshd, virtiofs, windows
from pipeline.rehearsal.guest.machine import ADMINISTRATORS, PENDING, SYSTEM
from tests.unit.rehearsal.standin import Guest

KEYS = r"C:\ProgramData\ssh\administrators_authorized_keys"
FULL = [{"identity": sid, "rights": "FullControl"} for sid in (SYSTEM, ADMINISTRATORS)]
MOTD = {"id": "text", "kind": "file", "path": r"C:\New\motd.txt", "content": "hello\n"}


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


def registry(value: object, kind: str = "String") -> dict[str, Any]:
    """One value, in this data."""
    made = {"id": "r", "kind": "registry", "key": "HKLM:\\X", "name": "N"}
    return made | {"type": kind, "value": value}


SAME = [
    (registry(26, "DWord"), registry("0x1A", "DWord")),
    (registry("26", "QWord"), registry(26, "QWord")),
    (registry(["a"], "MultiString"), registry("a", "MultiString")),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_data_is_the_same_however_it_is_written(
    guest: Guest, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert guest.run(one)[1][0]["state"] == "changed"
    assert guest.run(other)[1][0]["state"] == "ok"


OTHER = [
    (registry(26, "DWord"), registry(26, "QWord")),
    (registry("a"), registry("A")),
    (registry("a"), registry("a", "ExpandString")),
    (registry(["a", "b"], "MultiString"), registry(["b", "a"], "MultiString")),
]


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_data_is_wrong(guest: Guest, one: dict[str, Any], other: dict[str, Any]) -> None:
    guest.run(one)
    assert guest.run(other, mode="Test")[1][0]["state"] == "wrong"
    assert guest.run(other)[1][0]["state"] == "changed"


def test_what_lies_on_a_drive_that_is_not_there(guest: Guest) -> None:
    step = {"id": "f", "kind": "file", "path": "Q:\\x"}
    assert guest.run(step | {"content": "x"}, mode="Test")[0] == 3
    assert guest.run(step | {"content": "x"})[0] == 1
    assert guest.run(step | {"ensure": "absent"})[1][0]["state"] == "ok"
    acl = {"id": "a", "kind": "acl", "path": "Q:\\x", "entries": FULL}
    assert guest.run(acl, mode="Test")[0] == 3
    assert guest.run(acl)[0] == 1


@pytest.mark.parametrize("keys", [{"content": "x"}, {"ensure": "absent"}])
def test_a_folder_is_no_file(guest: Guest, keys: dict[str, Any]) -> None:
    (guest.c / "folder").mkdir()
    step = {"id": "f", "kind": "file", "path": "C:\\folder", **keys}
    for mode in ("Test", "Apply"):
        code, lines = guest.run(step, mode=mode)
        assert (code, lines[0]["state"]) == (1, "failed")
        assert "is a folder" in lines[0]["message"]


def test_permissions_go_with_the_file(guest: Guest) -> None:
    write = {"id": "key", "kind": "file", "path": KEYS, "content": "ssh-ed25519 A\n"}
    guest.run(write, {"id": "acl", "kind": "acl", "path": KEYS, "entries": FULL})
    assert guest.machine.private(guest.c / sshd.KEYS)
    assert sshd.accepted_keys(guest.machine) == b"ssh-ed25519 A\n"
    guest.run(write | {"content": "ssh-ed25519 B\n"})
    assert sshd.accepted_keys(guest.machine) == b"ssh-ed25519 B\n"  # replaced: it keeps them
    absent = {key: write[key] for key in ("id", "kind", "path")} | {"ensure": "absent"}
    guest.run(absent, write | {"id": "anew"})
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


@pytest.mark.parametrize("device", [True, False])
def test_driver_goes_into_the_store_and_has_a_service_where_its_device_is(
    guest: Guest, device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtiofs, "present", lambda: device)
    step = {"id": "d", "kind": "driver", "name": "viofs", "payloads": guest.driver("2k25")}
    assert guest.run(step)[1][0]["state"] == "changed"
    assert guest.run(step)[1][0]["state"] == "ok"
    assert services.exists(guest.machine, "VirtioFsDrv") is device


def test_an_older_driver_can_be_beside_a_newer_one(guest: Guest) -> None:
    def step(version: str) -> dict[str, Any]:
        payloads = guest.driver("2k25", version)
        return {"id": "d", "kind": "driver", "name": "viofs", "payloads": payloads}

    for version in ("0.1.302", "0.1.301"):
        assert guest.run(step(version))[1][0]["state"] == "changed"
    for version in ("0.1.302", "0.1.301"):
        assert guest.run(step(version))[1][0]["state"] == "ok"


def test_a_driver_that_was_built_anew_is_another_one(guest: Guest) -> None:
    payloads = guest.driver("2k25")
    step = {"id": "d", "kind": "driver", "name": "viofs", "payloads": payloads}
    guest.run(step)
    inf = guest.c / "payload" / payloads[0]["file"]
    payloads[0] = guest.payload(payloads[0]["file"], inf.read_bytes() + b"; again\r\n")
    assert guest.run(step, mode="Test")[1][0]["state"] == "wrong"
    assert guest.run(step)[1][0]["state"] == "changed"
    assert guest.run(step)[1][0]["state"] == "ok"


def test_driver_for_another_release(guest: Guest) -> None:
    step = {"id": "d", "kind": "driver", "name": "viofs", "payloads": guest.driver("2k19")}
    assert guest.run(step, mode="Test")[0] == 3
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


def test_a_service_is_what_the_step_says_and_no_more(guest: Guest) -> None:
    (guest.c / "My Programs").mkdir()
    (guest.c / "My Programs/p.exe").touch()
    program = service(binary=r"C:\My Programs\p.exe", state="any")
    needs = service(depend=["B", "A"], state="any") | {"binary": None}
    assert guest.run(program)[1][0]["state"] == "changed"
    assert guest.run(program | {"binary": r"c:\my programs\P.EXE"})[1][0]["state"] == "ok"
    assert guest.run(needs)[1][0]["state"] == "changed"
    assert guest.run(needs | {"depend": ["a", "b"]})[1][0]["state"] == "ok"
    assert guest.run(needs | {"depend": []})[1][0]["state"] == "ok"  # of them it says nothing
    assert guest.run(program, mode="Test")[0] == 3  # the whole service: it needs none
    assert guest.run(program)[1][0]["state"] == "changed"
    values = guest.machine.registry.values(services.key("Svc"))
    assert (values["ImagePath"], values["DependOnService"]) == ('"C:\\My Programs\\p.exe"', [])


def test_an_account_is_made_before_its_groups_are_known(guest: Guest) -> None:
    step = {"id": "u", "kind": "user", "name": "ann", "groups": ["S-1-5-32-999"]}
    assert guest.run(step, mode="Test")[0] == 3
    for _ in range(2):
        code, lines = guest.run(step)
        assert (code, "no group S-1-5-32-999" in lines[0]["message"]) == (1, True)
    assert guest.machine.user("ann") == {"groups": [], "enabled": True}
    assert guest.run(step | {"groups": [ADMINISTRATORS.lower()]})[0] == 0
    assert guest.run(step | {"name": "a" * 21})[0] == 1


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
    code, lines = guest.run(step, MOTD)
    assert (code, lines[0]["state"], lines[-1]["result"]) == (4, "reboot", "reboot")
    assert guest.run({"id": "r", "kind": "reboot"}, mode="Test")[0] == 3  # a restart is pending
    assert guest.run(step)[0] == 4  # and it is asked for until it has been
    guest.machine.registry.delete_key(PENDING)
    assert guest.run(step)[1][0]["state"] == "ok"


def test_a_restart_that_is_always_wanted_is_made_once(guest: Guest) -> None:
    step = {"id": "again", "kind": "reboot", "when": "always"}
    assert guest.run(step)[0] == 4
    assert guest.run(step)[0] == 0


def test_keys_that_vanish_while_they_are_read_let_nobody_in(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealing removes them at any moment, and the first process must live on."""
    path = guest.machine.c / sshd.KEYS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"ssh-ed25519 A\n")
    real = Path.read_bytes

    def vanishing(self: Path) -> bytes:
        path.unlink(missing_ok=True)
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", vanishing)
    assert sshd.accepted_keys(guest.machine) == b""
    assert windows._changed_at(path) == 0.0
