"""The stand-in's agent on a folder that plays C:, by the guest contract."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from pipeline.rehearsal.guest import agent, faults
from pipeline.rehearsal.guest.machine import ADMINISTRATORS
from tests.unit.rehearsal.standin import Guest

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


def test_a_log_that_cannot_be_written_is_no_failure(guest: Guest) -> None:
    (guest.c / "ProgramData/golden").mkdir(parents=True)
    (guest.c / "ProgramData/golden/log").touch()
    assert guest.run(STEPS[0])[0] == 0


BAD: list[tuple[object, str]] = [
    ([], "schema 1"),
    ({"schema": 1, "name": "p", "steps": [{"id": "a", "kind": "msi"}]}, "a: payloads is missing"),
    ({"schema": 1, "name": "p", "steps": [*STEPS, {"id": "a", "kind": "magic"}]}, "magic"),
]


@pytest.mark.parametrize(("plan", "message"), BAD)
def test_a_plan_that_is_not_understood_is_said_and_touches_nothing(
    guest: Guest, plan: object, message: str
) -> None:
    before = sorted(guest.c.rglob("*"))
    code, (line,) = guest.run_plan(plan)
    assert code == 2
    assert (line["plan"], line["result"], line["steps"]) == ("", "failed", 0)
    assert message in line["message"]
    assert guest.beacons == []
    assert sorted(guest.c.rglob("*")) == [*before, guest.c / "plan.json"]


WORDS: list[tuple[list[str], int, str]] = [
    ([], 2, "expected -Mode"),
    (["-Mode", "Look", "-Plan", "C:\\p.json"], 2, "expected -Mode"),
    (["-Mode", "Test"], 2, "expected -Mode"),
    (["-Mode", "Test", "-Plan", "C:\\none.json"], 2, "there is no plan"),
    (["-Mode", "Test", "-Plan", "Q:\\p.json"], 2, "there is no plan"),
    (["-Mode", "Test", "-Plan", "C:\\p.json", "-Extra", "1"], 2, "expected -Mode"),
    (["-Mode", "Test", "-Plan", "C:\\p.json", "-P", "1"], 2, "-P"),
    (["-Mode", "Test", "-Plan", "C:\\p.json", "-BusyTimeout", "soon"], 2, "'soon'"),
    (["-Mode", "Test", "-Plan", "C:\\p.json", "-BusyTimeout", "0"], 0, ""),
    (["-MODE", "TEST", "-pl", "C:\\p.json"], 0, ""),
]


@pytest.mark.parametrize(("words", "code", "message"), WORDS)
def test_arguments(guest: Guest, words: list[str], code: int, message: str) -> None:
    (guest.c / "p.json").write_text('{"schema": 1, "name": "p"}')
    out = io.StringIO()
    assert agent.run(guest.machine, words, out) == code
    (line,) = [json.loads(line) for line in out.getvalue().splitlines()]
    assert message.lower() in line["message"].lower()
    assert bool(message) is bool(line["message"])


def test_a_beacon_and_a_message_have_their_longest(guest: Guest) -> None:
    name = "p" * 250
    path = "C:\\" + "\\".join(["long " * 20] * 8)
    step = {"id": "f", "kind": "file", "path": path, "ensure": "absent"}
    (folder := guest.machine.path(path)).mkdir(parents=True)
    code, lines = guest.run_plan({"schema": 1, "name": name, "steps": [step]})
    assert folder.is_dir()
    assert code == 1
    assert [len(line["message"]) for line in lines] == [600, 600]
    assert [len(line) for line in guest.beacons] == [200, 200]


def test_the_last_step_fails_on_request(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "active", lambda: frozenset({"step-fails"}))
    code, lines = guest.run(*STEPS[:2])
    assert (code, [line["state"] for line in lines[:2]]) == (1, ["changed", "failed"])


def test_a_transcript_is_kept(guest: Guest) -> None:
    guest.run(STEPS[0])
    guest.run(STEPS[0])
    log = (guest.c / "ProgramData/golden/log/provision.log").read_text()
    assert log.count('"result": "done"') == 2
