"""Seal: what is cleaned, what is kept, and that a machine that fails stays reachable."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.powershell.fake_machine import (
    ADMINISTRATORS,
    SYSTEM,
    FakeMachine,
    Ran,
    Run,
    find_powershell,
    service,
)

pytestmark = pytest.mark.powershell

STEPS = [
    "component-store",
    "caches",
    "logs",
    "pagefile",
    "hibernation",
    "recovery",
    "event-logs",
    "credentials",
    "panther",
    "first-boot",
    "trim",
    "generalise",
]
WINLOGON = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\Winlogon"
SECRET = "SECURITY\\Policy\\Secrets\\DefaultPassword\\CurrVal"
FILES = ["firstboot.ps1", "SetupComplete.cmd"]
REMOVED = [
    "Windows/SoftwareDistribution/Download/x/y.cab",
    "Windows/Temp/a.tmp",
    "Windows/Prefetch/A.pf",
    "Windows/ServiceProfiles/NetworkService/AppData/Local/Temp/n.tmp",
    "Users/golden/AppData/Local/Temp/b.tmp",
    "Windows/Logs/CBS/CBS.log",
    "Windows/Minidump/m.dmp",
    "Windows/LiveKernelReports/l.dmp",
    "ProgramData/Microsoft/Windows/WER/ReportQueue/r/r.wer",
    "ProgramData/Microsoft/Windows/WER/ReportArchive/a/a.wer",
    "Windows/System32/Recovery/Winre.wim",
    "Windows/Panther/unattend.xml",
    "Windows/Panther/Unattend/unattend.xml",
    "Windows/Panther/unattend-original.xml",
    "Windows/Panther/UnattendGC/unattend.xml",
    "Windows/System32/Sysprep/unattend.xml",
    "autounattend.xml",
    "unattend.xml",
    "Users/golden/.ssh/authorized_keys",
]
KEPT = [
    "Windows/Panther/setupact.log",
    "Windows/System32/Recovery/ReAgent.xml",
    "Users/golden/Documents/own.txt",
]
SSH = [
    "administrators_authorized_keys",
    "ssh_host_rsa_key",
    "ssh_host_ed25519_key.pub",
    "sshd_config",
]


def prepare(machine: FakeMachine, **config: Any) -> str:
    """A provisioned machine, and seal.json."""
    for name in [*REMOVED, *KEPT, *[f"ProgramData/ssh/{name}" for name in SSH]]:
        file = machine.c / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    for name in [
        *FILES,
        "unattend-oobe.xml",
        "agent.ps1",
        "seal.ps1",
        "payload/big.msi",
        "payload/driver/deep/x.inf",
        "log/provision.log",
    ]:
        file = machine.golden / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    machine.set_registry(WINLOGON, "DefaultPassword", "canary-secret")
    machine.set_registry(WINLOGON, "AutoAdminLogon", "1")
    machine.set_registry(WINLOGON, "AutoLogonCount", 1, "REG_DWORD")
    machine.set_registry(WINLOGON, "AutoLogonSID", "S-1-5-21-1-2-3-1000")
    machine.set_registry("SYSTEM\\Setup", "UnattendFile", "D:\\autounattend.xml")
    machine.set_registry(SECRET, "cipher", "00", "REG_BINARY")
    machine.set_registry("SECURITY\\Policy\\Secrets\\DPAPI_SYSTEM", "cipher", "01", "REG_BINARY")
    users = machine.state["users"] | {
        "Chef": {"sid": "S-1-5-21-7-8-9-500", "enabled": True, "passwords": 1}
    }
    services = machine.state["services"]
    services["bits"]["state"] = "Stop Pending"  # as Windows leaves it now and then
    machine.change(users=users, services=services, run_tasks="no")
    settings = {
        "schema": 1,
        "user": "golden",
        "generalise": True,
        "timeout_seconds": 60,
        "first_boot": {"files": FILES},
    } | config
    (machine.golden / "seal.json").write_text(json.dumps(settings))
    return "C:\\ProgramData\\golden\\seal.json"


def clean(machine: FakeMachine, config: str) -> Ran:
    return machine.run(Run("seal.ps1", ["-Config", config]))[0]


def run_task(machine: FakeMachine) -> Ran:
    """What the Task Scheduler would do: the registered command line, without any parent."""
    task = machine.state["tasks"]["Golden Windows Seal"]
    words = shlex.split(task["action"]["argument"].replace("\\", "\\\\"))
    assert words[:5] == ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"]
    return machine.run(Run(Path(words[5]).name, words[6:]))[0]


def sealed(machine: FakeMachine) -> tuple[Ran, Ran]:
    cleaned = clean(machine, prepare(machine))
    return cleaned, run_task(machine)


class Sealed:
    """One machine, sealed; looked at by many tests."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        self.config = prepare(machine)
        self.cleaned = clean(machine, self.config)
        self.between = sorted(
            path.relative_to(machine.c).as_posix()
            for path in machine.c.rglob("*")
            if path.is_file()
        )
        self.registry_between = machine.registry
        self.task = run_task(machine)

    def has(self, name: str) -> bool:
        return (self.machine.c / name).exists()


@pytest.fixture(scope="module")
def seal(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    return Sealed(FakeMachine(tmp_path_factory.mktemp("seal")))


def test_every_step_is_told_in_order(seal: Sealed) -> None:
    assert list(seal.cleaned.states) == STEPS, seal.cleaned.text
    assert set(seal.cleaned.states.values()) == {"changed"}, seal.cleaned.states
    assert (seal.cleaned.exit, seal.cleaned.plan["result"], seal.cleaned.plan["plan"]) == (
        0,
        "done",
        "seal",
    )
    assert seal.cleaned.beacons == ["GOLDEN seal cleaning"]


@pytest.mark.parametrize("name", REMOVED)
def test_is_removed(seal: Sealed, name: str) -> None:
    assert name not in seal.between


@pytest.mark.parametrize("name", KEPT)
def test_is_kept(seal: Sealed, name: str) -> None:
    assert seal.has(name)


def test_programs_get_what_they_need(seal: Sealed) -> None:
    calls = seal.cleaned.calls
    assert [
        "dism.exe",
        "/Online",
        "/Cleanup-Image",
        "/StartComponentCleanup",
        "/ResetBase",
        "/Quiet",
        "/NoRestart",
    ] in calls
    assert ["defrag.exe", "C:", "/L"] in calls
    stopped = [call[2] for call in calls if call[:2] == ["sc.exe", "stop"]]
    assert stopped == ["wuauserv", "bits", "dosvc"]
    state = seal.cleaned.state
    assert (state["winre"], state["hibernation"]) == (False, False)
    assert set(state["event_logs"].values()) == {0}


def test_the_page_file_is_cleared_at_shutdown(seal: Sealed) -> None:
    key = seal.machine.registry[
        "SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management"
    ]
    assert key["ClearPageFileAtShutdown"] == {"type": "REG_DWORD", "data": 1}


def test_nobody_knows_a_password_any_more(seal: Sealed) -> None:
    users = seal.cleaned.state["users"]
    assert {name: user["passwords"] for name, user in users.items()} == {"golden": 2, "Chef": 2}
    winlogon = seal.machine.registry[WINLOGON]
    assert winlogon == {"AutoAdminLogon": {"type": "REG_SZ", "data": "0"}}
    assert "UnattendFile" not in seal.machine.registry["SYSTEM\\Setup"]
    assert "canary-secret" not in json.dumps(seal.machine.registry)


def test_first_boot_is_registered_and_its_folder_is_locked(seal: Sealed) -> None:
    task = seal.cleaned.state["tasks"]["Golden Windows First Boot"]
    assert task["trigger"] == {"at": "startup"}
    assert task["principal"] == {"user": "S-1-5-18", "logon": "ServiceAccount", "level": "Highest"}
    assert task["action"]["execute"].endswith("powershell.exe")
    assert task["action"]["argument"] == (
        "-NoProfile -NonInteractive -ExecutionPolicy Bypass "
        '-File "C:\\ProgramData\\golden\\firstboot.ps1"'
    )
    assert task["settings"] == {"limit": "00:00:00", "batteries": True, "keep": True}
    acl = seal.cleaned.state["acl"][str(seal.machine.golden)]
    assert acl["protected"] is True
    assert {(rule["sid"], rule["rights"], rule["flags"]) for rule in acl["rules"]} == {
        (SYSTEM, 0x1F01FF, 3),
        (ADMINISTRATORS, 0x1F01FF, 3),
    }
    facts = seal.machine.registry["SOFTWARE\\GoldenWindows"]
    assert (facts["User"]["data"], facts["BuildHostName"]["data"]) == ("golden", "GOLDEN")
    assert (seal.machine.c / "Windows/Setup/Scripts/SetupComplete.cmd").read_text() == "x"


def test_until_it_is_sealed_the_build_can_come_in(seal: Sealed) -> None:
    assert {f"ProgramData/ssh/{name}" for name in SSH} <= set(seal.between)
    assert "Sealed" not in seal.registry_between["SOFTWARE\\GoldenWindows"]
    assert seal.cleaned.state["power"] == ""


def test_the_task_has_no_parent_and_no_trigger(seal: Sealed) -> None:
    task = seal.cleaned.state["tasks"]["Golden Windows Seal"]
    assert (task["started"], task["trigger"]) == (1, None)
    assert task["principal"]["user"] == "S-1-5-18"


def test_sysprep_then_removal_then_power_off(seal: Sealed) -> None:
    assert seal.task.exit == 0, seal.task.text
    assert seal.task.beacons == ["GOLDEN seal generalising", "GOLDEN seal generalised"]
    names = [call[0] for call in seal.task.calls]
    assert names == ["sysprep.exe", "shutdown.exe"]
    assert seal.task.calls[0][1:6] == ["/generalize", "/oobe", "/quit", "/quiet", "/mode:vm"]
    assert seal.task.calls[1][1:] == ["/s", "/t", "2", "/f"]
    assert "ProgramData/ssh/administrators_authorized_keys" in seal.task.state["sysprep_saw"]


def test_nothing_of_the_build_is_left(seal: Sealed) -> None:
    left = sorted(
        path.relative_to(seal.machine.golden).as_posix() for path in seal.machine.golden.rglob("*")
    )
    assert left == sorted(FILES)
    assert [path.name for path in (seal.machine.c / "ProgramData/ssh").iterdir()] == ["sshd_config"]
    assert seal.machine.registry["SOFTWARE\\GoldenWindows"]["Sealed"]["data"] == 1
    assert not [key for key in seal.machine.registry if "DefaultPassword" in key]
    assert "SECURITY\\Policy\\Secrets\\DPAPI_SYSTEM" in seal.machine.registry


def test_secrets_that_cannot_be_seen_are_not_taken_for_gone(machine: FakeMachine) -> None:
    """Nobody but SYSTEM sees them: seeing none would otherwise look like success."""
    assert clean(machine, prepare(machine)).exit == 0
    for key in [key for key in machine.registry if key.startswith("SECURITY")]:
        machine.remove_key(key)
    ran = run_task(machine)
    assert ran.exit == 1
    assert ran.beacons[-1] == (
        "GOLDEN seal failed the secrets of the LSA cannot be seen: this is not SYSTEM"
    )
    assert machine.state["power"] == ""
    assert (machine.c / "ProgramData/ssh/administrators_authorized_keys").exists()


def sysprep_fails(machine: FakeMachine) -> None:
    machine.change(programs={"sysprep.exe": {"exit": 1, "output": "oh"}}, sysprep_log="")
    panther = machine.c / "Windows/System32/Sysprep/Panther"
    panther.mkdir(parents=True)
    (panther / "setuperr.log").write_text(
        "SYSPRP Package X was installed for a user, but not provisioned\n"
    )


def image_state_is_wrong(machine: FakeMachine) -> None:
    machine.change(
        sysprep_state="IMAGE_STATE_UNDEPLOYABLE", sysprep_log="SYSPRP 0x80310039 BitLocker\n"
    )


def image_state_is_missing(machine: FakeMachine) -> None:
    machine.change(sysprep_state=None)


def sysprep_hangs(machine: FakeMachine) -> None:
    machine.change(programs={"sysprep.exe": {"hang": True, "output": "waiting"}})


@pytest.mark.parametrize(
    ("spoil", "reasons"),
    [
        (sysprep_fails, ["exit code 1", "not provisioned"]),
        (image_state_is_wrong, ["the image state is IMAGE_STATE_UNDEPLOYABLE", "0x80310039"]),
        (image_state_is_missing, ["after sysprep the image state is missing"]),
        (sysprep_hangs, ["did not end within 2 s", "waiting", "wrote no setuperr.log"]),
    ],
)
def test_a_machine_that_does_not_generalise_stays_reachable(
    machine: FakeMachine, spoil: Callable[[FakeMachine], None], reasons: list[str]
) -> None:
    assert clean(machine, prepare(machine, timeout_seconds=2)).exit == 0
    spoil(machine)
    ran = run_task(machine)
    assert ran.exit == 1, ran.text
    assert ran.beacons[0] == "GOLDEN seal generalising"
    assert ran.beacons[1].startswith("GOLDEN seal failed ")
    assert all(reason in ran.text for reason in reasons)
    assert machine.state["power"] == ""
    assert all((machine.c / "ProgramData/ssh" / name).exists() for name in SSH)
    assert (machine.golden / "seal.ps1").exists()
    assert "Sealed" not in machine.registry["SOFTWARE\\GoldenWindows"]


BROKEN = {
    "dism.exe": ("component-store", "dism.exe ended with exit code 1"),
    "powercfg.exe": ("hibernation", "powercfg.exe ended with exit code 1"),
    "reagentc.exe": ("recovery", "reagentc.exe ended"),
    "wevtutil.exe": ("event-logs", "wevtutil.exe ended"),
    "icacls.exe": ("first-boot", "icacls.exe ended"),
    "defrag.exe": ("trim", "must report a discard granularity of at least 8 KiB: defrag.exe"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """One program after another fails, on one machine."""
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    machine = FakeMachine(tmp_path_factory.mktemp("broken"))
    config = prepare(machine)
    (machine.c / "hiberfil.sys").touch()
    wishes = [{name: {"exit": 1, "output": "it says why"}} for name in BROKEN]
    states = [machine.state | {"programs": wish} for wish in wishes]
    ran = machine.run(*[Run("seal.ps1", ["-Config", config], state) for state in states])
    return dict(zip(BROKEN, ran, strict=True))


PENDING = -2146498554  # 0x800F0806: operations are pending in the component store


def test_the_component_store_is_asked_again_while_operations_are_pending(
    machine: FakeMachine,
) -> None:
    config = prepare(machine)
    machine.change(programs={"dism.exe": {"exit": [PENDING, 0]}})
    ran = clean(machine, config)
    assert ran.exit == 0, ran.text
    assert [call[0] for call in ran.calls].count("dism.exe") == 2
    machine.change(programs={"dism.exe": {"exit": PENDING}})
    (ran,) = machine.run(Run("seal.ps1", ["-Config", config, "-StoreTimeout", "0"]))
    assert ran.exit == 1
    assert "for 0 s dism.exe has ended with 0x800f0806" in ran.text


@pytest.mark.parametrize("program", BROKEN)
def test_a_failing_step_ends_it_before_anything_is_generalised(
    broken: dict[str, Ran], program: str
) -> None:
    ran, (step, said) = broken[program], BROKEN[program]
    assert (ran.exit, ran.plan["result"]) == (1, "failed")
    assert list(ran.states) == STEPS[: STEPS.index(step) + 1]
    assert ran.states[step] == "failed"
    assert said in ran.steps[-1]["message"]
    assert "it says why" in ran.steps[-1]["message"]
    assert ran.plan["message"] == f"{step}: {ran.steps[-1]['message']}"
    assert ran.beacons[-1].startswith(f"GOLDEN seal failed {step}: ")
    assert "Golden Windows Seal" not in ran.state["tasks"]


def test_a_machine_that_cannot_hibernate_is_sealed_as_well(machine: FakeMachine) -> None:
    """Without S4, as our own machines are, powercfg.exe may refuse; there is no file to go."""
    machine.change(
        programs={"powercfg.exe": {"exit": 1, "output": "The request is not supported."}}
    )
    ran = clean(machine, prepare(machine))
    assert (ran.exit, ran.states["hibernation"]) == (0, "ok"), ran.text
    assert "nothing hibernates here" in ran.text


def test_logs_that_refuse_are_no_failure_but_the_main_ones_are(machine: FakeMachine) -> None:
    config = prepare(machine)
    names = ["Vendor-Debug", "Application", "Security", "Setup", "System"]
    logs = {"event_logs": dict.fromkeys(names, 1)}
    states = [machine.state | logs | {"locked_logs": [name]} for name in names]
    vendors, *main = machine.run(*[Run("seal.ps1", ["-Config", config], state) for state in states])
    assert vendors.exit == 0
    assert [ran.states["event-logs"] for ran in main] == ["failed"] * 4


def test_a_second_cleaning_finds_less_to_do(machine: FakeMachine) -> None:
    first, again = machine.run(*[Run("seal.ps1", ["-Config", prepare(machine)])] * 2)
    assert (first.exit, again.exit) == (0, 0)
    quiet = {name for name, state in again.states.items() if state == "ok"}
    assert quiet == {"caches", "logs", "pagefile", "hibernation", "recovery", "panther"}


def test_a_machine_that_has_nothing_to_remove_is_sealed_as_well(machine: FakeMachine) -> None:
    config = prepare(machine)
    for name in ("Users", "Windows/Panther", "Windows/Logs", "ProgramData/ssh"):
        shutil.rmtree(machine.c / name)
    ran = clean(machine, config)
    assert ran.exit == 0, ran.text
    assert run_task(machine).exit == 0


def test_the_configuration_is_read_as_utf_8(machine: FakeMachine) -> None:
    """Windows PowerShell reads what has no byte order mark in the old code page by itself."""
    config = prepare(machine, user="J\u00fcrgen")
    settings = (machine.golden / "seal.json").read_text()
    (machine.golden / "seal.json").write_text(settings.replace("\\u00fc", "\u00fc"), "utf-8")
    own = {"sid": "S-1-5-21-1-2-3-1001", "enabled": True, "passwords": 1}
    machine.change(users=machine.state["users"] | {"J\u00fcrgen": own})
    ran = clean(machine, config)
    assert ran.exit == 0, ran.text
    assert machine.registry["SOFTWARE\\GoldenWindows"]["User"]["data"] == "J\u00fcrgen"


def app(name: str, type_: str = "Main", version: str = "1.0", **more: Any) -> dict[str, Any]:
    full = f"{name}_{version}_{'neutral_~' if type_ == 'Bundle' else 'x64_'}_abc"
    kept = {"fixed": False, "kind": "Store", "part_of": None, "used": False}
    return {"name": name, "type": type_, "version": version, "full": full} | kept | more


# In Windows a bundle and the package in it have versions of their own.
APPS = [
    app("Own.Kept"),
    app("Own.Bundle", "Bundle", "2019.1"),
    app("Own.Bundle", version="4.1", part_of="Own.Bundle_2019.1_neutral_~_abc"),
    app("VCLibs", "Framework"),
    app("Shell", fixed=True),
    app("Sys", kind="System"),
    app("Users.In.Use", used=True),
]
USERS_OWN = [
    app("Users.Only"),
    app("Users.Bundle", "Bundle"),
    app("Users.Bundle", version="4.2", part_of="Users.Bundle_1.0_neutral_~_abc"),
    app("Own.Updated", version="2.0"),
]
PROVISIONED = [
    app("Own.Kept"),
    app("Own.Bundle", "Bundle", "2019.1"),
    app("Own.Updated", version="1.0"),
]


@pytest.mark.parametrize("product", [1, 3])
def test_packages_of_one_user_only_are_removed(machine: FakeMachine, product: int) -> None:
    """They stop sysprep on servers, too: an installer registers them for whoever runs it."""
    config = prepare(machine)
    machine.change(appx=[*APPS, *USERS_OWN], provisioned=PROVISIONED, product_type=product)
    ran = clean(machine, config)
    assert ran.exit == 0, ran.text
    assert ran.state["appx"] == APPS
    assert "it stays: Deployment failed with HRESULT: 0x80073CFA" in ran.text
    asked = [command for command in ran.commands if "-AppxPackage" in command]
    assert [command.split()[0] for command in asked].count("Remove-AppxPackage") == 4
    assert all("AllUsers" in command for command in asked)


def test_a_store_without_its_service_keeps_nothing_from_being_sealed(machine: FakeMachine) -> None:
    config = prepare(machine)
    machine.change(appx="The service cannot be started.")
    ran = clean(machine, config)
    assert ran.exit == 0, ran.text
    assert "the store packages cannot be listed: The service cannot be started." in ran.text


def test_without_generalising_it_is_cleaned_and_powered_off(machine: FakeMachine) -> None:
    config = prepare(machine, generalise=False)
    (machine.golden / "unattend-oobe.xml").unlink()
    assert clean(machine, config).exit == 0
    ran = run_task(machine)
    assert [call[0] for call in ran.calls] == ["shutdown.exe"]
    assert ran.exit == 0
    assert not (machine.c / "ProgramData/ssh/administrators_authorized_keys").exists()


CLOUDBASE = {"service": "cloudbase-init", "files": ["firstboot.ps1", "cloudbase-complete.cmd"]}


def test_cloudbase_init_is_switched_on_by_the_end_of_setup_alone(machine: FakeMachine) -> None:
    config = prepare(machine, first_boot=CLOUDBASE)
    (machine.golden / "cloudbase-complete.cmd").write_text("cloudbase")
    services = machine.state["services"]
    machine.change(services=services | {"cloudbase-init": service(start="Manual")})
    ran = clean(machine, config)
    assert ran.exit == 0, ran.text
    assert "Golden Windows First Boot" not in ran.state["tasks"]
    complete = machine.c / "Windows/Setup/Scripts/SetupComplete.cmd"
    assert complete.read_text() == "cloudbase"
    acl = ran.state["acl"][str(machine.golden)]
    assert acl["protected"] is True
    assert run_task(machine).exit == 0
    left = {path.name for path in machine.golden.rglob("*")}
    assert left == {"firstboot.ps1", "cloudbase-complete.cmd"}


def test_cloudbase_init_has_to_be_there(machine: FakeMachine) -> None:
    config = prepare(machine, first_boot=CLOUDBASE)
    (machine.golden / "cloudbase-complete.cmd").write_text("x")
    ran = clean(machine, config)
    assert ran.states["first-boot"] == "failed"
    assert "cloudbase-init, which is not installed" in ran.plan["message"]


def test_without_first_boot_nothing_is_registered(machine: FakeMachine) -> None:
    config = prepare(machine, first_boot={"files": []})
    (machine.golden / "firstboot.ps1").unlink()
    ran = clean(machine, config)
    assert (ran.exit, ran.states["first-boot"]) == (0, "ok"), ran.text
    assert list(ran.state["tasks"]) == ["Golden Windows Seal"]


def test_a_host_key_that_stays_is_told_and_the_machine_does_not_count_as_sealed(
    machine: FakeMachine,
) -> None:
    assert clean(machine, prepare(machine)).exit == 0
    machine.change(open_files=["ssh_host_rsa_key"])
    ran = run_task(machine)
    assert ran.exit == 1
    assert "ssh_host_rsa_key: The process cannot access the file" in ran.beacons[-1]
    assert "Sealed" not in machine.registry["SOFTWARE\\GoldenWindows"]
    assert machine.state["power"] == ""


REFUSED = {
    "{": "JSON",
    '{"schema": 2}': "not of schema 1",
    '{"schema": 1}': "does not say which user",
    '{"schema": 1, "user": "golden", "timeout_seconds": "long"}': "the timeout 'long'",
    '{"schema": 1, "user": "x", "first_boot": {"service": "Golden"}}': "the first boot 'Golden'",
}


def test_a_configuration_that_is_not_understood(machine: FakeMachine) -> None:
    runs = [Run("seal.ps1", []), Run("seal.ps1", ["-Config", "C:\\none.json"])]
    for index, text in enumerate(REFUSED):
        (machine.golden / f"{index}.json").write_text(text)
        runs.append(Run("seal.ps1", ["-Config", f"C:\\ProgramData\\golden\\{index}.json"]))
    missing = "there is no seal configuration"
    for ran, said in zip(machine.run(*runs), [missing, missing, *REFUSED.values()], strict=True):
        assert (ran.exit, ran.plan["result"], ran.steps, ran.calls) == (1, "failed", [], [])
        assert said in ran.plan["message"]
        assert ran.beacons[0].startswith("GOLDEN seal failed ")


@pytest.mark.parametrize(
    ("name", "step"), [("firstboot.ps1", "first-boot"), ("unattend-oobe.xml", "generalise")]
)
def test_files_that_are_missing_are_named(machine: FakeMachine, name: str, step: str) -> None:
    config = prepare(machine)
    (machine.golden / name).unlink()
    ran = clean(machine, config)
    assert ran.states[step] == "failed"
    assert name in ran.plan["message"]


def test_cleaned_again_what_is_done_already_is_left_alone(machine: FakeMachine) -> None:
    """Sealing that was cut off is begun anew."""
    config = prepare(machine)
    first, again = machine.run(*[Run("seal.ps1", ["-Config", config]) for _ in range(2)])
    assert (first.exit, again.exit) == (0, 0), again.text
    done = {step for step, state in again.states.items() if state == "ok"}
    assert {"caches", "logs", "pagefile", "hibernation", "recovery"} <= done, again.states
