"""Restarts, resuming, power cuts, full disks, and plans or arguments that are not understood."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.powershell.fake_machine import FakeMachine, Ran, Run, package

pytestmark = pytest.mark.powershell

CBS = "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending"
UPDATE = "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update\\RebootRequired"
SESSION = "SYSTEM\\CurrentControlSet\\Control\\Session Manager"


def registry(name: str) -> dict[str, Any]:
    return {"id": name, "kind": "registry", "key": "HKLM:\\SOFTWARE\\R", "name": name, "value": "1"}


def test_a_plan_goes_on_where_it_was_after_a_restart(machine: FakeMachine) -> None:
    plan = machine.plan(
        registry("before"),
        {"id": "app", "kind": "msi", "payloads": [machine.payload("a.msi", package(exit=3010))]},
        {"id": "again", "kind": "reboot", "when": "always"},
        registry("after"),
    )
    first = machine.apply(plan)
    assert (first.exit, first.states) == (4, {"before": "changed", "app": "reboot"})
    machine.restart()
    second = machine.apply(plan)
    assert (second.exit, second.states) == (4, {"before": "ok", "app": "ok", "again": "reboot"})
    machine.restart()
    third = machine.apply(plan)
    assert (third.exit, list(third.states.values())) == (0, ["ok", "ok", "ok", "changed"])
    assert machine.registry["SOFTWARE\\GoldenWindows\\Steps"]["provision/again"]["data"] == "done"


def test_an_update_asks_again_until_the_restart_has_taken_place(machine: FakeMachine) -> None:
    payload = machine.payload("u.msu", json.dumps({"kb": "KB5"}))
    plan = machine.plan({"id": "u", "kind": "update", "kb": "KB5", "payloads": [payload]})
    modes = ("Test", "Apply", "Apply")
    fresh, first, second = machine.run(
        *[Run("agent.ps1", ["-Mode", mode, "-Plan", plan]) for mode in modes]
    )
    assert (fresh.exit, fresh.states) == (3, {"u": "wrong"})
    assert (first.exit, second.exit) == (4, 4)
    assert [call[0] for call in fresh.calls + first.calls + second.calls] == ["wusa.exe"]
    machine.restart()
    tested, again = machine.run(
        *[Run("agent.ps1", ["-Mode", mode, "-Plan", plan]) for mode in ("Test", "Apply")]
    )
    assert (tested.states, again.states) == ({"u": "ok"}, {"u": "ok"})
    assert tested.calls == again.calls == []


def test_a_step_that_never_takes_effect_does_not_restart_for_ever(machine: FakeMachine) -> None:
    payload = machine.payload("u.msu", json.dumps({"kb": "KB5", "installs": False}))
    plan = machine.plan({"id": "u", "kind": "update", "kb": "KB5", "payloads": [payload]})
    for _ in range(3):
        assert machine.apply(plan).exit == 4
        machine.restart()
    last = machine.apply(plan)
    assert (last.exit, last.steps[0]["message"]) == (
        1,
        "after 3 restarts: the update KB5 is not installed",
    )


@pytest.mark.parametrize(
    ("key", "said"), [(CBS, "component servicing"), (UPDATE, "Windows Update")]
)
def test_a_pending_restart_is_found(machine: FakeMachine, key: str, said: str) -> None:
    machine.add_key(key)
    plan = machine.plan({"id": "r", "kind": "reboot"})
    tested, applied = machine.run(
        *[Run("agent.ps1", ["-Mode", mode, "-Plan", plan]) for mode in ("Test", "Apply")]
    )
    assert (tested.exit, tested.steps[0]["message"]) == (3, f"{said} waits for a restart")
    assert (applied.exit, applied.states) == (4, {"r": "reboot"})
    machine.remove_key(key)
    machine.restart()
    assert machine.apply(plan).states == {"r": "ok"}


@pytest.mark.parametrize(
    ("entries", "state"),
    [
        (["\\??\\C:\\Windows\\Temp\\a.tmp", ""], "ok"),
        (["\\??\\C:\\a", "", "\\??\\C:\\b", ""], "ok"),
        (["\\??\\C:\\a", "", "\\??\\C:\\new.dll", "!\\??\\C:\\old.dll"], "reboot"),
        ([], "ok"),
    ],
)
def test_only_files_that_wait_to_be_replaced_count(
    machine: FakeMachine, entries: list[str], state: str
) -> None:
    machine.set_registry(SESSION, "PendingFileRenameOperations", entries, "REG_MULTI_SZ")
    assert machine.apply(machine.plan({"id": "r", "kind": "reboot"})).states == {"r": state}


def test_a_power_cut_in_the_middle_of_a_step_is_no_harm(machine: FakeMachine) -> None:
    plan = machine.plan(
        registry("before"),
        {"id": "app", "kind": "msi", "payloads": [machine.payload("a.msi", package())]},
        registry("after"),
    )
    machine.change(programs={"msiexec.exe": {"cut": True}})
    cut = machine.apply(plan)
    assert cut.exit < 0
    machine.change(programs={})
    again = machine.apply(plan)
    assert (again.exit, again.states) == (0, {"before": "ok", "app": "ok", "after": "changed"})


def test_a_full_disk_leaves_the_old_file_whole(machine: FakeMachine) -> None:
    """/dev/full, where the new content is written first, stands for the disk."""
    target = machine.c / "Windows/big.bin"
    target.write_bytes(b"old")
    (machine.c / "Windows/big.bin.golden-new").symlink_to("/dev/full")
    plan = machine.plan(
        {
            "id": "big",
            "kind": "file",
            "path": "C:\\Windows\\big.bin",
            "payloads": [machine.payload("big.bin", b"x" * (1 << 20))],
        }
    )
    ran = machine.apply(plan)
    assert (ran.exit, ran.states) == (1, {"big": "failed"}), ran.text
    assert "space" in ran.steps[0]["message"].lower()
    assert target.read_bytes() == b"old"
    assert not list(machine.c.rglob("*.golden-new"))
    assert machine.apply(plan).states == {"big": "changed"}
    assert target.stat().st_size == 1 << 20


def test_a_log_that_cannot_be_written_is_no_failure(machine: FakeMachine) -> None:
    (machine.golden / "log").write_text("a file where the folder should be")
    ran = machine.apply(machine.plan(registry("a")))
    assert (ran.exit, ran.states) == (0, {"a": "changed"})
    assert "no transcript" in ran.text


def test_log_and_payload_folder_can_be_given(machine: FakeMachine) -> None:
    entry = machine.payload("x.txt", "x")
    other = machine.c / "Media" / "payload"
    other.mkdir(parents=True)
    (machine.payloads / "x.txt").rename(other / "x.txt")
    plan = machine.plan({"id": "x", "kind": "file", "path": "C:\\x.txt", "payloads": [entry]})
    ran = machine.apply(plan, "-Payload", "C:\\Media\\payload", "-Log", "C:\\Media\\my.log")
    assert ran.states == {"x": "changed"}
    assert "step x: changed" in (machine.c / "Media/my.log").read_text()
    assert not (machine.golden / "log").exists()


def test_lines_are_ascii_on_one_line_whatever_is_said(machine: FakeMachine) -> None:
    text = "[Console]::Out.WriteLine('sch\u00f6n \u2713 ' + ('w' * 900)); exit 1"
    plan = machine.plan(
        {"id": "s", "kind": "script", "payloads": [machine.payload("s.ps1", "\ufeff" + text)]}
    )
    ran = machine.apply(plan)
    message = ran.steps[0]["message"]
    assert "sch\u00f6n" in message
    assert len(message) == 600
    assert all(len(line) <= 200 for line in ran.beacons)


def bad(**step: Any) -> dict[str, Any]:
    return {"schema": 1, "name": "p", "steps": [{"id": "s", **step}]}


PAYLOAD = {"file": "a.msi", "sha256": "0" * 64}
REGISTRY = {"kind": "registry", "key": "HKLM:\\SOFTWARE\\Z", "name": "n"}
ACL = {"kind": "acl", "path": "C:\\x"}
PLANS: list[tuple[Any, str]] = [
    ("{", "is not JSON"),
    ({"schema": 2, "name": "p", "steps": []}, "not of schema 1"),
    ({"schema": 1, "steps": []}, "has no name"),
    ({"schema": 1, "name": "a b", "steps": []}, "has no name"),
    ({"schema": 1, "name": "p", "steps": [{"kind": "reboot"}]}, "an id is made of"),
    ({"schema": 1, "name": "p", "steps": [{"id": "Up", "kind": "reboot"}]}, "an id is made of"),
    ({"schema": 1, "name": "p", "steps": [{"id": "a\n", "kind": "reboot"}]}, "an id is made of"),
    (
        {
            "schema": 1,
            "name": "p",
            "steps": [{"id": "a", "kind": "reboot"}, {"id": "a", "kind": "reboot"}],
        },
        "two steps of this id",
    ),
    (bad(kind="magic"), "the kind 'magic' is not known"),
    (bad(kind="Reboot"), "the kind 'Reboot' is not known"),
    (bad(kind="reboot", whem="always"), "the key 'whem' is not known"),
    (bad(kind="reboot", when="sometimes"), "when is 'sometimes', not one of pending, always"),
    (bad(kind="msi"), "the key 'payloads' is missing"),
    (bad(kind="msi", payloads=[]), "the key 'payloads' is missing"),
    (
        bad(kind="msi", payloads=[PAYLOAD | {"file": "a.exe"}]),
        "the first payload is not a .msi file",
    ),
    (bad(kind="msi", payloads=[PAYLOAD | {"sha256": "12"}]), "the payload 'a.msi' has no SHA-256"),
    (bad(kind="msi", payloads=[PAYLOAD | {"file": "../a.msi"}]), "not a relative path"),
    (bad(kind="msi", payloads=[PAYLOAD | {"file": "/a.msi"}]), "not a relative path"),
    (bad(kind="msi", payloads=[PAYLOAD | {"file": "C:\\a.msi"}]), "not a relative path"),
    (bad(kind="driver", name="x", payloads=[PAYLOAD]), "the first payload is not a .inf file"),
    (bad(kind="update", kb="KB1", payloads=[PAYLOAD]), "the first payload is not a .msu file"),
    (
        bad(kind="update", kb="5031234", payloads=[PAYLOAD | {"file": "a.msu"}]),
        "not the number of an update",
    ),
    (bad(kind="file", path="C:\\x"), "exactly one of payloads, content and ensure"),
    (
        bad(kind="file", path="C:\\x", content="x", ensure="absent"),
        "exactly one of payloads, content and ensure",
    ),
    (bad(kind="file", content="x"), "the key 'path' is missing"),
    (bad(kind="file", path="x", content="x"), "does not begin with a drive"),
    (bad(kind="file", path="\\x", content="x"), "does not begin with a drive"),
    (bad(**REGISTRY), "the key 'value' is missing"),
    (bad(**REGISTRY | {"key": "HKCU:\\X", "value": "1"}), "not below HKLM"),
    (bad(**REGISTRY, type="DWord", value="many"), "'many' is not a DWord"),
    (bad(**REGISTRY, type="DWord", value=4294967296), "is not a DWord"),
    (bad(**REGISTRY, type="Dword", value=1), "type is 'Dword'"),
    (
        bad(**ACL, entries=[{"identity": "Administrators", "rights": "FullControl"}]),
        "identity is not a SID",
    ),
    (bad(**ACL, entries=[{"identity": "S-1-5-18", "rights": "Modify"}]), "rights are neither"),
    (bad(**ACL, entries=[{"identity": "S-1-5-18", "rights": "fullcontrol"}]), "rights are neither"),
    (
        bad(**ACL | {"path": "x"}, entries=[{"identity": "S-1-5-18", "rights": "FullControl"}]),
        "does not begin with a drive",
    ),
    (bad(kind="service", name="x\n"), "not the name of a service"),
    (bad(kind="service", name="x' OR 1=1"), "not the name of a service"),
    (bad(kind="service", name="x", start="automatic"), "start is 'automatic'"),
    (bad(kind="script", payloads=[PAYLOAD], interpreter="stand-in"), "interpreter is 'stand-in'"),
    (bad(kind="firewall", name="n", display_name="d"), "the key 'port' is missing"),
    (bad(kind="driver", name="x"), "the key 'payloads' is missing"),
    (bad(kind="update", kb="KB1"), "the key 'payloads' is missing"),
]
ARGUMENTS: list[tuple[list[str], str]] = [
    ([], "-Mode is ''"),
    (["-Mode", "Look", "-Plan", "C:\\p.json"], "-Mode is 'Look'"),
    (["-Mode", "Apply"], "-Plan is missing"),
    (["-Mode", "Apply", "-Plan", "C:\\none.json"], "there is no plan C:\\none.json"),
    (["-Mode", "Apply", "-Plan", "C:\\p.json", "-Extra", "1"], "-Extra"),
    (["-Mode", "Apply", "-Plan", "C:\\p.json", "-BusyTimeout", "soon"], "a timeout is 'soon'"),
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> list[Ran]:
    from tests.powershell.fake_machine import find_powershell

    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    machine = FakeMachine(tmp_path_factory.mktemp("refused"))
    runs = []
    for index, (plan, _) in enumerate(PLANS):
        file = machine.golden / f"{index}.json"
        file.write_text(plan if isinstance(plan, str) else json.dumps(plan))
        runs.append(
            Run("agent.ps1", ["-Mode", "Apply", "-Plan", f"C:\\ProgramData\\golden\\{index}.json"])
        )
    runs += [Run("agent.ps1", arguments) for arguments, _ in ARGUMENTS]
    return machine.run(*runs)


@pytest.mark.parametrize("index", range(len(PLANS) + len(ARGUMENTS)))
def test_what_is_not_understood_touches_nothing(refused: list[Ran], index: int) -> None:
    ran, (_, message) = refused[index], [*PLANS, *ARGUMENTS][index]
    assert ran.exit == 2, ran.text
    assert message in ran.plan["message"]
    assert ran.plan["result"] == "failed"
    assert (ran.steps, ran.calls, ran.beacons) == ([], [], [])


def test_an_empty_plan_is_done(machine: FakeMachine) -> None:
    ran = machine.apply(machine.plan())
    assert (ran.exit, ran.plan["result"], ran.plan["steps"]) == (0, "done", 0)


def test_a_beacon_has_at_most_200_characters(machine: FakeMachine) -> None:
    ran = machine.apply(machine.plan(name="p" * 220))
    assert ran.beacons == [("GOLDEN plan " + "p" * 220)[:200]]
