"""Every kind of step: Test says no, Apply sets, Test says yes, Apply again changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.powershell.fake_machine import (
    ADMINISTRATORS,
    SYSTEM,
    FakeMachine,
    Ran,
    Run,
    package,
    service,
)

pytestmark = pytest.mark.powershell

VIRTIOFS = "C:\\Program Files\\Golden Windows\\virtiofs.exe"
KEYS = "C:\\ProgramData\\ssh\\administrators_authorized_keys"
RAN = '[IO.File]::AppendAllText("$env:GOLDEN_MACHINE/ran", "$First|$Second|$Third`n")\n'
SCRIPT = f"param($First, $Second, $Third)\n{RAN}"
ENTRIES = [
    {"identity": SYSTEM, "rights": "FullControl"},
    {"identity": ADMINISTRATORS, "rights": "FullControl"},
]
MIXED = [
    {"identity": SYSTEM, "rights": "FullControl"},
    {"identity": "S-1-5-32-545", "rights": "ReadAndExecute"},
]


def every_kind(machine: FakeMachine) -> list[dict[str, Any]]:
    """Steps of all kinds, some twice in another form."""
    driver = [machine.payload(f"drv/viofs.{end}", end) for end in ("inf", "cat", "sys")]
    key = "HKLM:\\SOFTWARE\\Vendor\\Deep"
    return [
        {
            "id": "winfsp",
            "kind": "msi",
            "payloads": [machine.payload("w.msi", package())],
            "properties": {"ADDLOCAL": "Server", "NOTE": 'a "b" c'},
        },
        {
            "id": "wow",
            "kind": "msi",
            "payloads": [machine.payload("wow.msi", package("{32}", hive="SOFTWARE\\WOW6432Node"))],
        },
        {
            "id": "program",
            "kind": "file",
            "path": VIRTIOFS,
            "payloads": [machine.payload("x.exe", b"MZ\0\xff")],
        },
        {"id": "keys", "kind": "file", "path": KEYS, "content": "ssh-ed25519 AAAA j\u00f6rg\n"},
        {"id": "empty", "kind": "file", "path": "C:\\Windows\\empty.txt", "content": ""},
        {"id": "gone", "kind": "file", "path": "C:\\Windows\\gone.txt", "ensure": "absent"},
        {"id": "string", "kind": "registry", "key": key, "name": "s", "value": "A b"},
        {
            "id": "expand",
            "kind": "registry",
            "key": key,
            "name": "e",
            "type": "ExpandString",
            "value": "%SystemRoot%\\x",
        },
        {
            "id": "dword",
            "kind": "registry",
            "key": key,
            "name": "d",
            "type": "DWord",
            "value": 4294967295,
        },
        {
            "id": "qword",
            "kind": "registry",
            "key": key,
            "name": "q",
            "type": "QWord",
            "value": "0x1FFFFFFFF",
        },
        {
            "id": "multi",
            "kind": "registry",
            "key": key,
            "name": "m",
            "type": "MultiString",
            "value": ["a", "b c"],
        },
        {
            "id": "one",
            "kind": "registry",
            "key": key,
            "name": "o",
            "type": "MultiString",
            "value": ["only"],
        },
        {"id": "no-value", "kind": "registry", "key": key, "name": "old", "ensure": "absent"},
        {
            "id": "virtiofs",
            "kind": "service",
            "name": "VirtioFsSvc",
            "binary": VIRTIOFS,
            "display_name": "VirtIO-FS",
            "depend": ["WinFsp.Launcher", "VirtioFsDrv"],
        },
        {"id": "sshd", "kind": "service", "name": "sshd"},
        {
            "id": "updates-off",
            "kind": "service",
            "name": "wuauserv",
            "start": "disabled",
            "state": "stopped",
        },
        {"id": "keys-acl", "kind": "acl", "path": KEYS, "entries": ENTRIES},
        {"id": "folder-acl", "kind": "acl", "path": "C:\\ProgramData\\ssh", "entries": MIXED},
        {"id": "driver", "kind": "driver", "name": "viofs", "payloads": driver},
        {
            "id": "firewall",
            "kind": "firewall",
            "name": "OpenSSH-Server-In-TCP",
            "display_name": "OpenSSH",
            "port": 22,
        },
        {"id": "user", "kind": "user", "name": "ann", "groups": [ADMINISTRATORS]},
        {"id": "user-off", "kind": "user", "name": "bob", "enabled": False},
        {
            "id": "script",
            "kind": "script",
            "payloads": [machine.payload("s.ps1", SCRIPT)],
            "arguments": ['a "b" c\\', "", "z"],
        },
    ]


class Lifecycle:
    """Test, Apply, Test, Apply on one machine; the machine is left for looking at."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        (machine.c / "Windows/gone.txt").write_text("x")
        machine.set_registry("SOFTWARE\\Vendor\\Deep", "old", "1")
        machine.set_registry("SOFTWARE\\Vendor\\Deep", "sibling", "stays")
        self.before = machine.registry
        plan = machine.plan(*every_kind(machine))
        modes = ("Test", "Apply", "Test", "Apply")
        ran = machine.run(*[Run("agent.ps1", ["-Mode", mode, "-Plan", plan]) for mode in modes])
        assert len(ran) == 4, ran[-1].text
        self.fresh, self.applied, self.tested, self.again = ran


@pytest.fixture(scope="module", params=[False, True], ids=["own-registry", "bare-engine"])
def life(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Lifecycle:
    from tests.powershell.fake_machine import find_powershell

    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    return Lifecycle(FakeMachine(tmp_path_factory.mktemp("kinds"), bare=request.param))


def test_a_fresh_machine_is_wrong_everywhere_and_untouched(life: Lifecycle) -> None:
    assert set(life.fresh.states.values()) == {"wrong"}, life.fresh.states
    assert (life.fresh.exit, life.fresh.plan["result"]) == (3, "wrong")
    assert life.fresh.calls == []
    changing = {"New", "Set", "Remove", "Add", "Enable", "Disable", "Register"}
    assert not [line for line in life.fresh.commands if line.split("-")[0] in changing]


def test_apply_makes_every_step_so(life: Lifecycle) -> None:
    assert set(life.applied.states.values()) == {"changed"}, life.applied.text
    assert (life.applied.exit, life.applied.plan["result"]) == (0, "done")
    assert life.applied.plan["steps"] == len(life.applied.steps) == 23
    assert all(record["message"] == "" for record in life.applied.steps)


def test_then_test_mode_is_content(life: Lifecycle) -> None:
    assert set(life.tested.states.values()) == {"ok"}, life.tested.states
    assert (life.tested.exit, life.tested.plan["result"]) == (0, "done")


def test_a_second_apply_changes_nothing(life: Lifecycle) -> None:
    assert set(life.again.states.values()) == {"ok"}, life.again.states
    assert life.again.calls == []
    assert life.again.state == life.applied.state
    assert (life.machine.folder / "ran").read_text() == 'a "b" c\\||z\n'


def test_lines_and_beacons_are_as_the_contract_says(life: Lifecycle) -> None:
    first, last = life.applied.records[0], life.applied.plan
    assert list(first) == ["step", "kind", "state", "seconds", "message"]
    assert list(last) == ["plan", "result", "steps", "seconds", "message"]
    assert (first["step"], first["kind"], last["plan"]) == ("winfsp", "msi", "provision")
    assert isinstance(first["seconds"], int | float)
    assert life.applied.beacons[0] == "GOLDEN step provision 1/23 winfsp changed"
    assert life.applied.beacons[-2:] == [
        "GOLDEN step provision 23/23 script changed",
        "GOLDEN plan provision done",
    ]
    assert len(life.applied.beacons) == 24


def test_the_transcript_is_appended_to_the_default_log(life: Lifecycle) -> None:
    log = (life.machine.golden / "log/provision.log").read_text()
    assert log.count("step winfsp:") == 4
    assert log.count("PowerShell transcript end") == 4


def test_files_are_exact(life: Lifecycle) -> None:
    c = life.machine.c
    assert (c / "Program Files/Golden Windows/virtiofs.exe").read_bytes() == b"MZ\0\xff"
    keys = c / "ProgramData/ssh/administrators_authorized_keys"
    assert keys.read_bytes() == "ssh-ed25519 AAAA j\u00f6rg\n".encode()
    assert (c / "Windows/empty.txt").read_bytes() == b""
    assert not (c / "Windows/gone.txt").exists()
    assert not list(c.rglob("*.golden-new"))


def test_registry_values_have_type_and_data_and_siblings_stay(life: Lifecycle) -> None:
    values = life.machine.registry["SOFTWARE\\Vendor\\Deep"]
    assert values == {
        "sibling": {"type": "REG_SZ", "data": "stays"},
        "s": {"type": "REG_SZ", "data": "A b"},
        "e": {"type": "REG_EXPAND_SZ", "data": "%SystemRoot%\\x"},
        "d": values["d"],
        "q": {"type": "REG_QWORD", "data": 0x1FFFFFFFF},
        "m": {"type": "REG_MULTI_SZ", "data": ["a", "b c"]},
        "o": {"type": "REG_MULTI_SZ", "data": ["only"]},
    }
    assert values["d"]["type"] == "REG_DWORD"
    assert values["d"]["data"] in (0xFFFFFFFF, -1)


def test_services_have_quoted_binary_dependencies_and_state(life: Lifecycle) -> None:
    services = life.applied.state["services"]
    assert services["VirtioFsSvc"] == {
        "binary": f'"{VIRTIOFS}"',
        "display_name": "VirtIO-FS",
        "start": "Auto",
        "state": "Running",
        "depend": ["WinFsp.Launcher", "VirtioFsDrv"],
        "exit_code": 0,
    }
    assert (services["sshd"]["start"], services["sshd"]["state"]) == ("Auto", "Running")
    assert (services["wuauserv"]["start"], services["wuauserv"]["state"]) == ("Disabled", "Stopped")


def rules(ran: Ran, path: Path) -> list[tuple[str, int, int, bool]]:
    entry = ran.state["acl"][str(path)]
    assert entry["protected"] is True
    return sorted((r["sid"], r["rights"], r["flags"], r["inherited"]) for r in entry["rules"])


def test_access_lists_are_exact(life: Lifecycle) -> None:
    folder = life.machine.c / "ProgramData/ssh"
    full, read = 0x1F01FF, 0x1200A9
    assert rules(life.applied, folder / "administrators_authorized_keys") == [
        (SYSTEM, full, 0, False),
        (ADMINISTRATORS, full, 0, False),
    ]
    assert rules(life.applied, folder) == [
        (SYSTEM, full, 3, False),
        ("S-1-5-32-545", read, 3, False),
    ]


def test_msi_properties_reach_msiexec_with_their_quotes(life: Lifecycle) -> None:
    assert life.applied.state["msi"] == [{"ADDLOCAL": "Server", "NOTE": 'a "b" c'}, {}]
    call = next(call for call in life.applied.calls if call[0] == "msiexec.exe")
    assert call[3:6] == ["/qn", "/norestart", "/l*v"]
    assert (life.machine.golden / "log/winfsp.msi.log").exists()


def test_users_have_groups_a_password_nobody_knows_and_no_expiry(life: Lifecycle) -> None:
    users = life.applied.state["users"]
    assert users["ann"]["enabled"] is True
    assert users["ann"]["never_expires"] is True
    assert users["ann"]["sid"] in life.applied.state["groups"][ADMINISTRATORS]
    assert users["bob"]["enabled"] is False


def test_the_firewall_rule_is_open_on_all_profiles(life: Lifecycle) -> None:
    assert life.applied.state["firewall"]["OpenSSH-Server-In-TCP"] == {
        "DisplayName": "OpenSSH",
        "Enabled": "True",
        "Direction": "Inbound",
        "Action": "Allow",
        "Profile": "Any",
        "Protocol": "TCP",
        "LocalPort": "22",
        "RemoteAddress": "Any",
    }


def test_the_marker_of_a_script_keeps_its_digest(life: Lifecycle) -> None:
    markers = life.machine.registry["SOFTWARE\\GoldenWindows\\Steps"]
    digest = life.machine.payload("s.ps1", SCRIPT)["sha256"]
    assert markers == {"provision/script": {"type": "REG_SZ", "data": digest}}


def spoil(state: dict[str, Any], machine: FakeMachine) -> None:
    """Every declared thing is changed a little, as time and people do."""
    virtiofs, wuauserv = state["services"]["VirtioFsSvc"], state["services"]["wuauserv"]
    virtiofs["binary"] = "E:\\virtiofs.exe"
    virtiofs["depend"] = []
    wuauserv["start"] = "Manual"
    state["services"]["sshd"]["state"] = "Stopped"
    state["firewall"]["OpenSSH-Server-In-TCP"]["Profile"] = "Private"
    state["users"]["ann"]["enabled"] = False
    state["users"]["bob"]["enabled"] = True
    for path, entry in state["acl"].items():
        if path.endswith("ssh"):  # what is inherited may be what is wanted, today
            entry["protected"] = False
            continue
        entry["rules"].append(
            {"sid": "S-1-1-0", "allow": True, "rights": 0x1F01FF, "flags": 0, "inherited": False}
        )
        entry["rules"].append(
            {"sid": SYSTEM, "allow": False, "rights": 2, "flags": 0, "inherited": False}
        )
    (machine.c / "ProgramData/ssh/administrators_authorized_keys").write_text("ssh-rsa other")
    (machine.c / "Windows/gone.txt").write_text("back")
    for values in (machine.c / "Windows/System32/DriverStore/FileRepository").iterdir():
        (values / "viofs.inf").write_text("older")


def test_what_was_changed_behind_its_back_is_mended(life: Lifecycle) -> None:
    """One field after another: each is seen by Test, and set again by Apply."""
    machine = life.machine
    state = machine.state
    spoil(state, machine)
    machine.state = state
    key = "SOFTWARE\\Vendor\\Deep"
    services = "SYSTEM\\CurrentControlSet\\Services"
    machine.set_registry(f"{services}\\VirtioFsSvc", "DependOnService", [], "REG_MULTI_SZ")
    machine.set_registry(key, "s", "a b")
    machine.set_registry(key, "e", "%SystemRoot%\\x", "REG_SZ")
    machine.set_registry(key, "old", "again")
    machine.set_registry(
        "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\"
        "{11111111-2222-3333-4444-555555555555}",
        "DisplayVersion",
        "1.2.2",
    )
    plan = "C:\\ProgramData\\golden\\provision.json"
    tested, applied, after = machine.run(
        *[Run("agent.ps1", ["-Mode", mode, "-Plan", plan]) for mode in ("Test", "Apply", "Test")]
    )
    wrong = {step for step, state in tested.states.items() if state == "wrong"}
    assert wrong == {
        "winfsp",
        "keys",
        "gone",
        "string",
        "expand",
        "no-value",
        "virtiofs",
        "sshd",
        "updates-off",
        "keys-acl",
        "folder-acl",
        "driver",
        "firewall",
        "user",
        "user-off",
    }
    assert {step for step, state in applied.states.items() if state == "changed"} == wrong, (
        applied.text
    )
    assert set(after.states.values()) == {"ok"}
    assert machine.state["services"]["VirtioFsSvc"]["depend"] == ["WinFsp.Launcher", "VirtioFsDrv"]


def test_a_service_that_needs_nothing_any_more(machine: FakeMachine) -> None:
    demo = service(binary="C:\\old.exe", depend=["sshd"])
    machine.change(services=machine.state["services"] | {"Demo": demo})
    key = "SYSTEM\\CurrentControlSet\\Services\\Demo"
    machine.set_registry(key, "DependOnService", ["sshd"], "REG_MULTI_SZ")
    step = {"id": "demo", "kind": "service", "name": "Demo", "binary": "C:\\old.exe"}
    ran = machine.apply(machine.plan(step))
    assert ran.states == {"demo": "changed"}, ran.text
    assert ran.state["services"]["Demo"]["depend"] == []


def test_a_service_may_need_one_that_is_not_there_yet(machine: FakeMachine) -> None:
    """The driver of a device that the machine lacks has no service: asking for it would fail."""
    depend = ["Nobody", "sshd"]
    step = {"id": "demo", "kind": "service", "name": "Demo", "binary": "C:\\x.exe", "state": "any"}
    ran = machine.apply(machine.plan(step | {"depend": depend}))
    assert ran.states == {"demo": "changed"}, ran.text
    assert ran.state["services"]["Demo"]["depend"] == depend


def test_an_empty_file_an_account_and_a_script_that_are_not_so_any_more(
    machine: FakeMachine,
) -> None:
    def steps(text: str) -> str:
        payload = machine.payload("s.ps1", text)
        return machine.plan(
            {
                "id": "file",
                "kind": "file",
                "path": "C:\\empty.bin",
                "payloads": [machine.payload("empty", b"")],
            },
            {"id": "user", "kind": "user", "name": "ann", "groups": [ADMINISTRATORS]},
            {"id": "script", "kind": "script", "payloads": [payload], "arguments": ["a"]},
        )

    first = machine.apply(steps(SCRIPT))
    assert set(first.states.values()) == {"changed"}, first.text
    assert (machine.c / "empty.bin").read_bytes() == b""
    machine.change(groups=machine.state["groups"] | {ADMINISTRATORS: []})
    (machine.c / "empty.bin").write_bytes(b"x")
    again = machine.apply(steps(SCRIPT + "# another\n"))
    assert set(again.states.values()) == {"changed"}, again.text
    assert (machine.folder / "ran").read_text() == "a||\n" * 2
    assert machine.state["groups"][ADMINISTRATORS]
    assert (machine.c / "empty.bin").read_bytes() == b""


def test_what_is_the_default_may_be_said(machine: FakeMachine) -> None:
    value = {"key": "HKLM:\\SOFTWARE\\Own", "name": "Said", "type": "String", "value": "x"}
    plan = machine.plan(
        {"id": "value", "kind": "registry", **value},
        {"id": "sshd", "kind": "service", "name": "sshd", "start": "auto", "state": "running"},
    )
    ran = machine.apply(plan)
    assert ran.states == {"value": "changed", "sshd": "changed"}, ran.text


def test_a_plan_is_utf_8(machine: FakeMachine) -> None:
    """Windows PowerShell reads a file without a byte order mark in the old code page by itself."""
    step = {"id": "name", "kind": "registry", "key": "HKLM:\\SOFTWARE\\Own", "name": "Name"}
    path = machine.plan(step | {"value": "j\u00f6rg"})
    file = machine.golden / "provision.json"
    file.write_text(file.read_text().replace("\\u00f6", "\u00f6"), "utf-8")
    assert machine.apply(path).exit == 0
    assert machine.registry["SOFTWARE\\Own"]["Name"]["data"] == "j\u00f6rg"
