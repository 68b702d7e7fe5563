"""Every way a step can fail gives the documented JSON line, beacon and exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.powershell.fake_machine import (
    ADMINISTRATORS,
    FakeMachine,
    Ran,
    Run,
    find_powershell,
    new_state,
    package,
    service,
)

pytestmark = pytest.mark.powershell

Make = Callable[[FakeMachine], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One step on one machine, and what must come of it."""

    name: str
    step: Make
    state: str
    message: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    more: tuple[str, ...] = ()
    calls: int | None = None


def msi(**more: Any) -> Make:
    code = more.pop("code", "{X}")
    return lambda m: {
        "kind": "msi",
        "payloads": [m.payload(f"{code[1]}.msi", package(code, **more))],
    }


def svc(**more: Any) -> Make:
    return lambda _m: {"kind": "service", "name": "Demo", "state": "running", **more}


def script(text: str, **more: Any) -> Make:
    return lambda m: {
        "kind": "script",
        "payloads": [m.payload(f"{abs(hash(text))}.ps1", text)],
        **more,
    }


def tampered(m: FakeMachine) -> dict[str, Any]:
    entry = m.payload("tampered.msi", package("{T}"))
    (m.payloads / "tampered.msi").write_text(package("{T}", version="6.6.6"))
    return {"kind": "msi", "payloads": [entry]}


def second_tampered(m: FakeMachine) -> dict[str, Any]:
    first, second = m.payload("d2/a.inf", "inf"), m.payload("d2/a.sys", "sys")
    (m.payloads / "d2/a.sys").write_text("evil")
    return {"kind": "driver", "name": "a", "payloads": [first, second]}


def driver(m: FakeMachine) -> dict[str, Any]:
    return {
        "kind": "driver",
        "name": "b",
        "payloads": [m.payload("b/b.inf", "inf"), m.payload("b/b.cat", "c")],
    }


def missing(_m: FakeMachine) -> dict[str, Any]:
    return {
        "kind": "file",
        "path": "C:\\f",
        "payloads": [{"file": "none/such.bin", "sha256": "0" * 64}],
    }


def update(kb: str = "KB5031234", **more: Any) -> Make:
    return lambda m: {
        "kind": "update",
        "kb": kb,
        "payloads": [m.payload(f"{kb}.msu", json.dumps({"kb": kb} | more))],
    }


def user(**more: Any) -> Make:
    return lambda _m: {"kind": "user", "name": "carl", "groups": [ADMINISTRATORS]} | more


def with_service(**more: Any) -> dict[str, Any]:
    return {"services": new_state()["services"] | {"Demo": service(**more)}}


PROGRAM = "programs"
CASES = [
    Case(
        "hash",
        tampered,
        "failed",
        r"the payload tampered.msi has SHA-256 [0-9a-f]{64}, the plan says [0-9a-f]{64}",
        calls=0,
    ),
    Case("second-hash", second_tampered, "failed", r"the payload d2/a.sys has SHA-256", calls=0),
    Case("missing", missing, "failed", r"the payload none/such.bin is missing", calls=0),
    Case(
        "msi-1603",
        msi(
            code="{H}",
            exit=1603,
            log="Action 1: InstallFinalize\nError 1920\nAction ended: Return value 3.\nlater\n",
        ),
        "failed",
        r"exit code 1603 .*InstallFinalize / Error 1920 / Action ended: Return value 3\.$",
        calls=1,
    ),
    Case(
        "msi-1618-in-time",
        msi(code="{I}"),
        "changed",
        machine={PROGRAM: {"msiexec.exe": {"exit": [1618, 0]}}},
        calls=2,
    ),
    Case(
        "msi-1618",
        msi(code="{B}"),
        "failed",
        r"1618: another installation has been running for 0 s",
        machine={PROGRAM: {"msiexec.exe": {"exit": 1618}}},
        more=("-BusyTimeout", "0"),
        calls=1,
    ),
    Case("msi-1641", msi(code="{C}", exit=1641), "reboot"),
    Case("msi-3010", msi(code="{D}", exit=3010), "reboot"),
    Case(
        "msi-1619",
        msi(code="{E}", exit=1619),
        "failed",
        r"msiexec.exe ended with exit code 1619; it said: nothing",
    ),
    Case(
        "msi-not-so",
        msi(code="{F}", registers="0.9"),
        "failed",
        r"it was set, but the package is installed in version 0.9, not 1.2.3",
    ),
    Case(
        "msi-broken",
        lambda m: {"kind": "msi", "payloads": [m.payload("broken.msi", "not a database")]},
        "failed",
        r"OpenDatabase",
    ),
    Case(
        "msi-no-code",
        lambda m: {
            "kind": "msi",
            "payloads": [m.payload("none.msi", '{"properties": {"ProductVersion": "1"}}')],
        },
        "failed",
        r"none\.msi has no ProductCode",
    ),
    Case(
        "msi-no-log",
        msi(code="{L}", exit=1603, log=None),
        "failed",
        r"1603.*it wrote no log",
    ),
    Case(
        "msi-no-reason",  # no action of it failed; the last lines are what there is
        msi(code="{M}", exit=1603, log="=== Logging started ===\nno disk is left\n"),
        "failed",
        r"1603.*Logging started === / no disk is left",
    ),
    Case(
        "service-dies",
        svc(),
        "failed",
        r"the service Demo is Stopped, not running; its exit code is 1067",
        with_service(on_start="dies"),
    ),
    Case(
        "service-hangs",
        svc(),
        "failed",
        r"the service Demo is Start Pending, not running",
        with_service(on_start="hangs"),
        ("-ServiceTimeout", "1"),
    ),
    Case("service-slow", svc(), "changed", "", with_service(on_start="slow"), calls=1),
    Case(
        "service-dependency",
        svc(),
        "failed",
        r"sc\.exe ended with exit code 1075",
        with_service(depend=["Nobody"]),
    ),
    Case(
        "service-disabled",
        svc(start="disabled"),
        "failed",
        r"sc\.exe ended with exit code 1058",
        with_service(),
    ),
    Case(
        "service-any",
        svc(start="demand", state="any"),
        "changed",
        machine=with_service(state="Running"),
        calls=1,
    ),
    Case(
        "service-stop",
        svc(state="stopped"),
        "changed",
        machine=with_service(state="Running"),
        calls=1,
    ),
    Case("service-unknown", svc(), "failed", r"the plan does not say which binary it runs"),
    Case(
        "service-denied",
        svc(binary="C:\\x.exe"),
        "failed",
        r"Access is denied",
        {"deny": {"New-Service": "Access is denied"}},
    ),
    Case(
        "acl-denied",
        lambda m: {
            "kind": "acl",
            "path": "C:\\Windows",
            "entries": [{"identity": ADMINISTRATORS, "rights": "FullControl"}],
        },
        "failed",
        r"icacls\.exe ended with exit code 5; it said: Access is denied\.",
        {PROGRAM: {"icacls.exe": {"exit": 5, "output": "Access is denied."}}},
    ),
    Case(
        "acl-nothing",
        lambda m: {
            "kind": "acl",
            "path": "C:\\nothing",
            "entries": [{"identity": ADMINISTRATORS, "rights": "FullControl"}],
        },
        "failed",
        r"C:\\nothing does not exist",
        calls=0,
    ),
    Case(
        "user-denied",
        user(),
        "failed",
        r"Access denied",
        {"deny": {"New-LocalUser": "Access denied"}},
    ),
    Case(
        "user-no-group",
        user(groups=["S-1-5-32-999"]),
        "failed",
        r"Group S-1-5-32-999 was not found",
    ),
    Case(
        "firewall-denied",
        lambda m: {"kind": "firewall", "name": "n", "display_name": "d", "port": 1},
        "failed",
        r"Access is denied",
        {"deny": {"New-NetFirewallRule": "Access is denied"}},
    ),
    Case(
        "file-on-folder",
        lambda m: {"kind": "file", "path": "C:\\Windows", "content": "x"},
        "failed",
        r"C:\\Windows is a folder",
    ),
    Case("driver-259", driver, "changed", machine={PROGRAM: {"pnputil.exe": {"exit": 259}}}),
    Case(
        "driver-2",
        lambda m: {"kind": "driver", "name": "c", "payloads": [m.payload("c/c.inf", "inf")]},
        "failed",
        r"pnputil\.exe ended with exit code 2; it said: Added driver",
        {PROGRAM: {"pnputil.exe": {"exit": 2}}},
    ),
    Case(
        "driver-3010",
        lambda m: {"kind": "driver", "name": "d", "payloads": [m.payload("d/d.inf", "inf")]},
        "reboot",
        machine={PROGRAM: {"pnputil.exe": {"exit": 3010}}},
    ),
    Case(
        "script-fails",
        script("'one'; ''; 'two'; 'three'; 'four'; [Console]::Error.WriteLine('bad'); exit 7"),
        "failed",
        r"powershell\.exe ended with exit code 7; it said: .*(four|bad)",
    ),
    Case(
        "script-throws",
        script("$ErrorActionPreference = 'Stop'; throw 'no such thing'"),
        "failed",
        r"exit code 1; .*no such thing",
    ),
    Case(
        "script-hangs",
        script("'before'; Start-Sleep -Seconds 600"),
        "failed",
        r"powershell\.exe did not end within 8 s and was killed; it said: before$",
        more=("-ProgramTimeout", "8"),
    ),
    Case(
        "script-floods",
        script("1..1500 | ForEach-Object { 'x' * 100; [Console]::Error.WriteLine('y' * 100) }"),
        "changed",
    ),
    Case(
        "script-leaves-a-child",
        script("$p = [Diagnostics.Process]::Start('sleep', '60')\n'started'"),
        "changed",
    ),
    Case("update-3010", update(), "reboot"),
    Case("update-slow", update("KB12"), "reboot", machine={"run_tasks": "slow"}),
    Case(
        "update-left-over",  # the task of an attempt that was cut off
        update("KB6"),
        "reboot",
        machine={"tasks": {"GoldenWindowsUpdate-it": {"action": {}, "result": 0}}},
    ),
    Case("update-there", update("KB7"), "ok", machine={"hotfixes": ["KB7"]}, calls=0),
    Case(
        "update-not-applicable",
        update("KB8", exit=0x80240017),
        "failed",
        r"wusa\.exe ended with 0x80240017 for KB8",
    ),
    Case(
        "update-already",
        update("KB9", exit=2359302),
        "failed",
        r"it was set, but the update KB9 is not installed",
    ),
    Case(
        "update-hangs",
        update("KB10"),
        "failed",
        r"wusa\.exe did not end within 1 s and was stopped",
        {"run_tasks": "hang"},
        ("-ProgramTimeout", "1"),
    ),
    Case(
        "com1-absent",
        lambda m: {"kind": "registry", "key": "HKLM:\\SOFTWARE\\P1", "name": "a", "value": "b"},
        "changed",
        machine={"com1": "absent"},
    ),
    Case(
        "com1-busy",
        lambda m: {"kind": "registry", "key": "HKLM:\\SOFTWARE\\P2", "name": "a", "value": "b"},
        "changed",
        machine={"com1": "busy"},
    ),
    Case(
        "com1-stuck",
        lambda m: {"kind": "registry", "key": "HKLM:\\SOFTWARE\\P3", "name": "a", "value": "b"},
        "changed",
        machine={"com1": "stuck"},
    ),
    Case(
        "com1-unknown",
        lambda m: {"kind": "registry", "key": "HKLM:\\SOFTWARE\\P4", "name": "a", "value": "b"},
        "changed",
        machine={"com1": "unknown"},
    ),
]
EXITS = {"ok": 0, "changed": 0, "failed": 1, "reboot": 4}
RESULTS = {"ok": "done", "changed": "done", "failed": "failed", "reboot": "reboot"}


def run_cases(machine: FakeMachine, cases: list[Case]) -> dict[str, Ran]:
    """Cases in one PowerShell."""
    runs = []
    for case in cases:
        step = {"id": "it", **case.step(machine)}
        after = {
            "id": "after",
            "kind": "registry",
            "key": f"HKLM:\\SOFTWARE\\After\\{case.name}",
            "name": "x",
            "value": "y",
        }
        plan = machine.plan(step, after, name=case.name)
        arguments = ["-Mode", "Apply", "-Plan", plan, *case.more]
        runs.append(Run("agent.ps1", arguments, new_state() | case.machine))
    return dict(zip([case.name for case in cases], machine.run(*runs), strict=True))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """All cases in two PowerShells; each case begins with a fresh state of its own."""
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    machines = [FakeMachine(tmp_path_factory.mktemp("failures")) for _ in range(2)]
    parts = [CASES[0::2], CASES[1::2]]
    with ThreadPoolExecutor(2) as pool:
        ran = list(pool.map(run_cases, machines, parts))
    return ran[0] | ran[1]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_failure(case: Case, outcomes: dict[str, Ran]) -> None:
    ran = outcomes[case.name]
    first = ran.steps[0]
    assert first["state"] == case.state, ran.text
    assert re.search(case.message, first["message"]), first["message"]
    assert (first["message"] == "") is (case.message == "")
    assert ran.exit == EXITS[case.state], ran.text
    assert ran.plan["result"] == RESULTS[case.state]
    if case.calls is not None:
        mine = [call for call in ran.calls if call[0] != "icacls.exe"]
        assert len(mine) == case.calls, ran.calls


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_nothing_after_a_failure_or_a_restart_is_touched(
    case: Case, outcomes: dict[str, Ran]
) -> None:
    ran = outcomes[case.name]
    goes_on = case.state in ("ok", "changed")
    assert (len(ran.steps) == 2) is goes_on
    if case.state == "failed":
        assert ran.plan["message"] == f"it: {ran.steps[0]['message']}"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_beacons_tell_the_same(case: Case, outcomes: dict[str, Ran]) -> None:
    ran = outcomes[case.name]
    expected = [f"GOLDEN step {case.name} 1/2 it {case.state}"]
    if case.state in ("ok", "changed"):
        expected.append(f"GOLDEN step {case.name} 2/2 after changed")
    expected.append(f"GOLDEN plan {case.name} {RESULTS[case.state]}")
    assert ran.beacons == ([] if case.name.startswith("com1-") else expected)


def test_a_hanging_child_is_gone_afterwards(outcomes: dict[str, Ran]) -> None:
    assert [call[0] for call in outcomes["script-hangs"].calls] == ["taskkill.exe"]


def test_a_failed_script_has_no_marker(machine: FakeMachine) -> None:
    plan = machine.plan(
        {"id": "s", "kind": "script", "payloads": [machine.payload("s.ps1", "exit 3")]}
    )
    first, second = machine.run(*[Run("agent.ps1", ["-Mode", "Apply", "-Plan", plan])] * 2)
    assert (first.exit, second.exit) == (1, 1)
    assert "SOFTWARE\\GoldenWindows\\Steps" not in machine.registry


def test_the_update_task_is_removed_even_after_a_failure(outcomes: dict[str, Ran]) -> None:
    hung = outcomes["update-hangs"].commands
    assert [line for line in hung if line.startswith("Stop-ScheduledTask")]
    for name in ("update-3010", "update-not-applicable", "update-hangs"):
        assert outcomes[name].state["tasks"] == {}
    call = next(call for call in outcomes["update-3010"].calls if call[0] == "wusa.exe")
    assert call[2:] == ["/quiet", "/norestart"]


def test_test_mode_looks_at_every_step_even_after_a_failure(machine: FakeMachine) -> None:
    plan = machine.plan(
        {"id": "bad", **missing(machine)},
        {"id": "wrong", "kind": "registry", "key": "HKLM:\\SOFTWARE\\Q", "name": "a", "value": "b"},
        {"id": "fine", "kind": "file", "path": "C:\\nothing", "ensure": "absent"},
    )
    ran = machine.apply(plan, mode="Test")
    assert ran.states == {"bad": "failed", "wrong": "wrong", "fine": "ok"}
    assert (ran.exit, ran.plan["result"]) == (1, "failed")
    assert ran.plan["message"].startswith("bad: ")
    assert "SOFTWARE\\Q" not in machine.registry


WRONG: list[tuple[Make, str]] = [
    (msi(code="{N}"), "version 1.2.3 of the package is not installed"),
    (driver, "the driver package b is not in the driver store"),
    (svc(binary="C:\\new.exe"), "the service Demo runs C:\\old.exe, not C:\\new.exe"),
    (svc(depend=["sshd"]), "the service Demo depends on [], not on [sshd]"),
    (svc(start="demand"), "the service Demo starts Auto, not demand"),
    (svc(), "the service Demo is Stopped, not running"),
]


def test_test_mode_says_what_is_wrong(machine: FakeMachine) -> None:
    machine.change(**with_service(binary="C:\\old.exe"))
    steps = [{"id": f"s{n}", **make(machine)} for n, (make, _) in enumerate(WRONG)]
    ran = machine.apply(machine.plan(*steps), mode="Test")
    assert [step["message"] for step in ran.steps] == [said for _, said in WRONG]


def test_what_a_service_needs_beyond_the_plan_is_not_the_plans_business(
    machine: FakeMachine,
) -> None:
    """Only a step that says which program runs says all that the service needs."""
    key = "SYSTEM\\CurrentControlSet\\Services\\Demo"
    machine.set_registry(key, "DependOnService", ["sshd"], "REG_MULTI_SZ")
    machine.change(**with_service(state="Running"))
    ran = machine.apply(machine.plan({"id": "it", **svc()(machine)}), mode="Test")
    assert ran.states == {"it": "ok"}, ran.text


def test_a_program_that_is_not_there(machine: FakeMachine) -> None:
    (machine.folder / "bin/msiexec.exe").unlink()
    ran = machine.apply(machine.plan({"id": "it", **msi()(machine)}))
    assert (ran.exit, ran.steps[0]["message"]) == (1, "msiexec.exe is not on this machine")
