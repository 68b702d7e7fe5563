"""First boot: Lima's disc, NoCloud's disc, none; once per instance; never unreachable."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.powershell.fake_machine import (
    ADMINISTRATORS,
    HERE,
    SYSTEM,
    FakeMachine,
    Ran,
    Run,
    find_powershell,
)

pytestmark = pytest.mark.powershell

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIowner owner@laptop"
OTHER = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAI= other"
SHOW = str(HERE / "doubles" / "show.ps1")
FAST = ["-DiscTimeout", "0", "-SetupTimeout", "2"]
OUTSIDE = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2g= of meta-data"
LETTERS = "DEFGHIJKLMNOPQRSTUVW"
META = f"instance-id: i-1\nlocal-hostname: web01.example.org\npublic-keys:\n  - {OUTSIDE}\n"


def seal(machine: FakeMachine) -> FakeMachine:
    """As sealing and specialize leave a machine."""
    facts = "SOFTWARE\\GoldenWindows"
    machine.set_registry(facts, "User", "golden")
    machine.set_registry(facts, "BuildHostName", "GOLDEN")
    machine.set_registry(facts, "Sealed", 1, "REG_DWORD")
    memory = "SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management"
    machine.set_registry(memory, "ClearPageFileAtShutdown", 1, "REG_DWORD")
    machine.change(
        host_name="WIN-RANDOM1",
        partition={"size": 20 << 30, "max": 64 << 30},
        tasks={"Golden Windows Seal": {"result": 0}},
    )
    return machine


def disc(
    machine: FakeMachine, letter: str, label: str, files: dict[str, str | bytes]
) -> dict[str, Any]:
    """A disc's volume, to be put into the state."""
    folder = machine.folder / f"disc-{letter}"
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    folder.mkdir(exist_ok=True)
    return {
        "letter": letter,
        "label": label,
        "type": "CD-ROM",
        "system": "UDF",
        "path": "",
        "folder": str(folder),
    }


def attach(machine: FakeMachine, *volumes: dict[str, Any]) -> None:
    machine.change(
        volumes=[
            {"letter": "C", "label": "", "type": "Fixed", "system": "NTFS", "path": ""},
            *volumes,
        ]
    )


def nocloud(
    machine: FakeMachine, user: str | bytes | None, meta: str | None = META, letter: str = "E"
) -> dict[str, Any]:
    files = {"meta-data": meta, "user-data": user}
    given = {name: content for name, content in files.items() if content is not None}
    return disc(machine, letter, "CIDATA", given)


def boot(machine: FakeMachine, *more: str) -> Ran:
    ran = machine.run(Run("firstboot.ps1", [*FAST, *more]))[0]
    if ran.state.get("power") == "/r":
        machine.restart()
        second = machine.run(Run("firstboot.ps1", [*FAST, *more]))[0]
        second.calls = ran.calls + second.calls
        second.beacons = ran.beacons + second.beacons
        return second
    return ran


def result(machine: FakeMachine) -> dict[str, Any]:
    return dict(json.loads((machine.golden / "first-boot.json").read_text()))


def keys(machine: FakeMachine) -> list[str]:
    file = machine.c / "ProgramData/ssh/administrators_authorized_keys"
    data = file.read_bytes() if file.exists() else b""
    assert not data.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in data
    return data.decode().splitlines()


CONFIG = f"""#cloud-config
# a comment
hostname: db-server-with-a-long-name
users:
  - default
  - name: ann
    groups: [Administrators, "x, y"]
    ssh_authorized_keys:
      - {OTHER}
  - bob
ssh_authorized_keys:
- {KEY}
package_update: true
runcmd:
  - echo "one: two" # not said
  - [ hello.exe, /r, "/t", '5', a b ]
  - |
    echo first
      echo 50%
  - 'it''s'
  - "tab\\tquote\\" \\u0041"
  - >-
    folded
    line
  -
    echo deep
"""


class NoCloud:
    """One machine, booted twice with the same disc, then with another instance's."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = seal(machine)
        attach(machine, nocloud(machine, CONFIG))
        self.first = boot(machine)
        self.result, self.keys = result(machine), keys(machine)
        self.host_key = (machine.c / "ProgramData/ssh/ssh_host_rsa_key").read_text()
        self.registry = machine.registry
        self.files = snapshot(machine)
        self.state = machine.state
        self.second = boot(machine)
        self.files_after, self.state_after = snapshot(machine), machine.state
        attach(
            machine,
            nocloud(
                machine,
                f"#cloud-config\nssh_authorized_keys: [{OTHER}]\n",
                '{"instance-id": "i-2"}',
            ),
        )
        self.third = boot(machine)


def show(shown: Ran) -> tuple[dict[str, Any], list[str]]:
    """The result and the keys, as show.ps1 told them within a batch."""
    line = next(line for line in shown.text.splitlines() if line.startswith("##shown "))
    record = json.loads(line.removeprefix("##shown "))
    return dict(json.loads(record["result"])), record["keys"].splitlines()


def start_each(
    machine: FakeMachine,
    starts: dict[str, list[str]],
    volume: Callable[[str, str], dict[str, Any]],
) -> dict[str, tuple[Ran, dict[str, Any], list[str]]]:
    """One disc after the other: the first start with it, the result, and the keys.

    ``starts`` has the host name at each start with a disc, ``volume`` makes a disc for a letter. As
    many as there are letters share a process, which is most of what a start takes.
    """
    found = {}
    names = list(starts)
    for first in range(0, len(names), len(LETTERS)):
        part = dict(zip(names[first : first + len(LETTERS)], LETTERS, strict=False))
        volumes = {name: volume(name, letter) for name, letter in part.items()}
        attach(machine, *volumes.values())
        saved, runs = machine.state, []
        for name, one in volumes.items():
            for host_name in starts[name]:
                state = saved | {"host_name": host_name, "volumes": [one]}
                runs.append(Run("firstboot.ps1", FAST, json.loads(json.dumps(state))))
            runs.append(Run(SHOW))
        ran = machine.run(*runs)
        assert len(ran) == len(runs), ran[-1].text
        said = iter(ran)
        for name, one in volumes.items():
            begun, *_, shown = [next(said) for _ in range(len(starts[name]) + 1)]
            found[name] = (begun, *show(shown))
            shutil.rmtree(one["folder"])
    assert set(found) == set(starts)
    return found


def snapshot(machine: FakeMachine) -> dict[str, bytes]:
    return {
        path.relative_to(machine.c).as_posix(): path.read_bytes()
        for path in machine.c.rglob("*")
        if path.is_file() and path.suffix != ".log"
    }


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> NoCloud:
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    return NoCloud(FakeMachine(tmp_path_factory.mktemp("nocloud")))


def test_nocloud_is_told(cloud: NoCloud) -> None:
    assert cloud.first.exit == 0, cloud.first.text
    assert cloud.result == {
        "disc": "nocloud",
        "instance": "i-1",
        "host_name": "db-server-with",
        "users": ["golden", "ann", "bob"],
        "errors": [],
    }
    assert cloud.first.beacons == [
        "GOLDEN firstboot started",
        "GOLDEN firstboot disc nocloud",
        "GOLDEN firstboot started",
        "GOLDEN firstboot disc nocloud",
        "GOLDEN firstboot ready",
    ]
    unknown = [line for line in cloud.first.text.splitlines() if "is not known" in line]
    assert len(unknown) == 1
    assert "package_update" in unknown[0]


def test_keys_are_authorised_with_exact_access(cloud: NoCloud) -> None:
    assert cloud.keys == [OUTSIDE, KEY, OTHER]
    entry = cloud.state["acl"][
        str(cloud.machine.c / "ProgramData/ssh/administrators_authorized_keys")
    ]
    assert entry["protected"] is True
    assert sorted((rule["sid"], rule["rights"]) for rule in entry["rules"]) == [
        (SYSTEM, 0x1F01FF),
        (ADMINISTRATORS, 0x1F01FF),
    ]


def test_accounts_are_administrators(cloud: NoCloud) -> None:
    users = cloud.state["users"]
    assert set(users) == {"golden", "ann", "bob"}
    assert {users["ann"]["sid"], users["bob"]["sid"]} <= set(cloud.state["groups"][ADMINISTRATORS])
    assert users["ann"]["never_expires"] is True


def test_host_keys_are_new_and_sshd_runs(cloud: NoCloud) -> None:
    assert cloud.host_key == "key 1\n"
    assert (cloud.state["services"]["sshd"]["state"], cloud.state["services"]["sshd"]["start"]) == (
        "Running",
        "Auto",
    )


def test_the_disk_is_grown_and_sealing_is_undone(cloud: NoCloud) -> None:
    assert cloud.state["partition"]["size"] == 64 << 30
    assert cloud.state["tasks"] == {}
    memory = cloud.registry[
        "SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Memory Management"
    ]
    assert memory["ClearPageFileAtShutdown"]["data"] == 0


def test_commands_run_once_in_order_after_the_rename(cloud: NoCloud) -> None:
    said = [
        text.removeprefix("@echo off\n").removesuffix("\n") for text in cloud.state["commands_run"]
    ]
    assert said == [
        'echo "one: two"',
        "echo first\n  echo 50%\n",
        "it's",
        'tab\tquote" A',
        "folded line",
        "echo deep",
    ]
    names = [call[0] for call in cloud.first.calls]
    assert names.count("cmd.exe") == 6
    assert ["hello.exe", "/r", "/t", "5", "a b"] in cloud.first.calls
    assert names.index("cmd.exe") > names.index("shutdown.exe")
    assert not list(cloud.machine.golden.glob("run/*"))


def test_the_same_instance_changes_nothing(cloud: NoCloud) -> None:
    assert cloud.second.exit == 0
    assert cloud.second.calls == []
    assert cloud.files_after == cloud.files
    assert cloud.state_after == cloud.state
    assert cloud.second.beacons[-1] == "GOLDEN firstboot ready"


def test_another_instance_is_applied_and_shuts_the_old_owner_out(cloud: NoCloud) -> None:
    assert keys(cloud.machine) == [OTHER]
    calls = [call[:3] for call in cloud.third.calls]
    stopped = calls.index(["sc.exe", "stop", "sshd"])
    assert (
        stopped < calls.index(["ssh-keygen.exe", "-A"]) < calls.index(["sc.exe", "start", "sshd"])
    )
    assert result(cloud.machine)["instance"] == "i-2"
    assert (cloud.machine.c / "ProgramData/ssh/ssh_host_rsa_key").read_text() == "key 2\n"
    assert cloud.third.state["host_name"] == "db-server-with"


def ran(text: str) -> str:
    """A script that tells that it ran."""
    return f'[IO.File]::AppendAllText("$env:GOLDEN_MACHINE/ran", "{text}`n")'


LIMA = {
    "ssh_authorized_keys": f"# Lima\n{KEY}\r\n\n{OTHER}\n",
    "autounattend.xml": '<unattend xmlns="urn:x"><LocalAccounts><LocalAccount>'
    "<Name>lima</Name></LocalAccount></LocalAccounts></unattend>",
    "provision.system/00000001": ran("system1 \u00fc"),
    "provision.system/00000000": ran("system0"),
    "provision.dependency/00000000": ran("dependency"),
    "provision.user/00000000": ran("user") + "; exit 4",
}


def test_limas_disc(machine: FakeMachine) -> None:
    attach(
        seal(machine),
        disc(machine, "D", "", {"setup.exe": "x"}),
        disc(machine, "F", "autounattend", dict(LIMA)),
    )
    said = boot(machine)
    assert said.exit == 0, said.text
    assert keys(machine) == [KEY, OTHER]
    told = result(machine)
    assert (told["disc"], told["users"], told["host_name"]) == (
        "lima",
        ["golden", "lima"],
        "WIN-RANDOM1",
    )
    assert told["instance"].startswith("lima-")
    assert len(told["errors"]) == 1
    assert "provision.user/00000000: powershell.exe ended with exit code 4" in told["errors"][0]
    assert (machine.folder / "ran").read_text() == "dependency\nsystem0\nsystem1 \u00fc\nuser\n"
    assert (machine.c / "ProgramData/Lima/lima-boot-done.txt").exists()
    assert said.beacons[-2].startswith("GOLDEN firstboot failed provision.user/00000000")
    assert said.beacons[-1] == "GOLDEN firstboot ready"
    again = boot(machine)
    assert (again.calls, (machine.folder / "ran").read_text().count("\n")) == ([], 4)


def test_no_disc_then_one(machine: FakeMachine) -> None:
    seal(machine)
    first = boot(machine)
    assert first.beacons == [
        "GOLDEN firstboot started",
        "GOLDEN firstboot disc none",
        "GOLDEN firstboot ready",
    ]
    assert result(machine) == {
        "disc": "none",
        "instance": "none",
        "host_name": "WIN-RANDOM1",
        "users": [],
        "errors": [],
    }
    assert keys(machine) == []
    assert (machine.c / "ProgramData/ssh/ssh_host_rsa_key").read_text() == "key 1\n"
    attach(machine, disc(machine, "G", "", {"ssh_authorized_keys": KEY}))
    boot(machine)
    assert keys(machine) == [KEY]
    assert result(machine)["errors"] == []  # a disc of Lima's need not have an answer file
    attach(machine)
    assert boot(machine).calls == []
    assert keys(machine) == [KEY]
    assert result(machine)["disc"] == "lima"


def test_the_builds_own_name_does_not_stay(machine: FakeMachine) -> None:
    seal(machine).change(host_name="GOLDEN")
    ran = boot(machine)
    assert re.fullmatch(r"WIN-[0-9A-F]{8}", ran.state["host_name"])
    assert result(machine)["host_name"] == ran.state["host_name"] != "GOLDEN"


def test_keys_that_sshd_made_at_this_first_start_stay(machine: FakeMachine) -> None:
    ssh = seal(machine).c / "ProgramData/ssh"
    ssh.mkdir(parents=True)
    (ssh / "ssh_host_rsa_key").write_text("made by sshd")
    boot(machine)
    assert (ssh / "ssh_host_rsa_key").read_text() == "made by sshd"
    assert machine.state["host_keys_made"] == 0


def test_a_rename_that_does_not_take_effect_is_no_loop(machine: FakeMachine) -> None:
    attach(seal(machine), nocloud(machine, f"#cloud-config\nssh_authorized_keys:\n  - {KEY}\n"))
    first = machine.run(Run("firstboot.ps1", FAST))[0]
    assert first.state["power"] == "/r"
    machine.change(host_name_after_restart="", power="")
    second = machine.run(Run("firstboot.ps1", FAST))[0]
    assert second.state["power"] == ""
    assert result(machine)["errors"] == [
        "host name: after a restart the host name is WIN-RANDOM1, not web01"
    ]
    assert second.beacons[-1] == "GOLDEN firstboot ready"


def test_a_machine_that_is_not_sealed_is_left_alone(machine: FakeMachine) -> None:
    attach(machine, disc(machine, "F", "", {"ssh_authorized_keys": KEY}))
    ran = machine.run(Run("firstboot.ps1", FAST))[0]
    assert (ran.exit, ran.beacons, ran.calls, keys(machine)) == (0, [], [], [])


def test_one_first_boot_at_a_time(machine: FakeMachine) -> None:
    seal(machine).change(mutex_taken=True)
    ran = machine.run(Run("firstboot.ps1", FAST))[0]
    assert (ran.exit, ran.beacons, ran.calls) == (0, [], [])


@pytest.mark.parametrize("name", ["SystemSetupInProgress", "OOBEInProgress"])
def test_setup_is_waited_for(machine: FakeMachine, name: str) -> None:
    seal(machine).set_registry("SYSTEM\\Setup", name, 1, "REG_DWORD")
    boot(machine)
    assert result(machine)["errors"] == ["Setup has not ended within 2 s"]


def test_registering_makes_the_task_and_starts_it(machine: FakeMachine) -> None:
    seal(machine).change(run_tasks="no")
    ran = machine.run(Run("firstboot.ps1", ["-Register"]))[0]
    assert (ran.exit, ran.beacons) == (0, [])  # what it does is for the task to do
    task = ran.state["tasks"]["Golden Windows First Boot"]
    assert (task["started"], task["trigger"], task["principal"]["user"]) == (
        1,
        {"at": "startup"},
        "S-1-5-18",
    )
    assert "firstboot.ps1" in task["action"]["argument"]
    assert keys(machine) == []


def test_registering_takes_the_place_of_the_task_that_is_there(machine: FakeMachine) -> None:
    left = {"action": {"argument": "another"}, "result": 1, "started": 0}
    seal(machine).change(run_tasks="no", tasks={"Golden Windows First Boot": left})
    ran = machine.run(Run("firstboot.ps1", ["-Register"]))[0]
    task = ran.state["tasks"]["Golden Windows First Boot"]
    assert (ran.exit, task["started"]) == (0, 1)
    assert "firstboot.ps1" in task["action"]["argument"]


def test_what_none_of_its_parts_takes_ends_it_with_exit_code_1(machine: FakeMachine) -> None:
    seal(machine).change(deny={"Register-ScheduledTask": "Access is denied"})
    ran = machine.run(Run("firstboot.ps1", ["-Register"]))[0]
    assert (ran.exit, ran.beacons) == (1, ["GOLDEN firstboot failed Access is denied"])


def test_access_that_was_set_and_is_not_so_is_told(machine: FakeMachine) -> None:
    attach(seal(machine), nocloud(machine, f"#cloud-config\n{KEYS}", "instance-id: a\n"))
    machine.change(programs={"icacls.exe": {"exit": 0}})
    boot(machine)
    (told,) = result(machine)["errors"]
    assert told.startswith("authorized keys: ")
    assert "administrators_authorized_keys" in told


def test_a_machine_without_openssh_says_so(machine: FakeMachine) -> None:
    attach(seal(machine), nocloud(machine, f"#cloud-config\n{KEYS}", "instance-id: a\n"))
    (machine.c / "Program Files/OpenSSH/ssh-keygen.exe").unlink()
    boot(machine)
    assert result(machine)["errors"] == ["host keys: ssh-keygen.exe is not on this machine"]


PARTS: dict[str, dict[str, Any]] = {
    "disk: Not enough": {"deny": {"Resize-Partition": "Not enough"}},
    "account ann: No more": {"deny": {"New-LocalUser": "No more"}},
    "host name: No": {"deny": {"Rename-Computer": "No"}},
    "ssh-keygen.exe ended with exit code 1": {"programs": {"ssh-keygen.exe": {"exit": 1}}},
    "sshd: sc.exe ended with exit code 5": {"programs": {"sc.exe": {"exit": 5}}},
}


def test_one_part_that_fails_does_not_stop_the_others(machine: FakeMachine) -> None:
    """Each part on an instance of its own; but for one, the host name is as it is wanted."""
    discs = []
    for letter, said in zip("EFGHI", PARTS, strict=True):
        config = CONFIG if "host name" in said else CONFIG.replace("hostname:", "other:")
        discs.append(nocloud(machine, config, f"instance-id: {letter}\n", letter))
    attach(seal(machine), *discs)
    base = machine.state
    runs = []
    for one, spoil in zip(discs, PARTS.values(), strict=True):
        state = base | {"volumes": [one]} | spoil
        runs += [Run("firstboot.ps1", FAST, state), Run(SHOW)]
    ran = machine.run(*runs)
    for said, run, shown in zip(PARTS, ran[0::2], ran[1::2], strict=True):
        told, found = show(shown)
        assert any(said in error for error in told["errors"]), (said, told)
        assert found == [KEY, OTHER]
        assert run.beacons[-1] == "GOLDEN firstboot ready"
        assert run.beacons[-2].startswith("GOLDEN firstboot failed ")
        assert len(run.state["commands_run"]) == 6


def test_volumes_that_cannot_be_listed_yet_are_asked_for_again(machine: FakeMachine) -> None:
    config = CONFIG.replace("hostname:", "other:")
    attach(seal(machine), nocloud(machine, config, "instance-id: i-1\n"))
    machine.change(deny={"Get-Volume": ["The service is not ready", ""]})
    ran = machine.run(Run("firstboot.ps1", ["-SetupTimeout", "0", "-DiscTimeout", "30"]))[0]
    assert ran.commands.count("Get-Volume ") == 2
    assert "GOLDEN firstboot disc nocloud" in ran.beacons
    assert result(machine)["errors"] == []


def test_volumes_that_are_never_listed_keep_nobody_out(machine: FakeMachine) -> None:
    """It goes on as without a disc, says so, and takes the disc at the next start."""
    attach(seal(machine), nocloud(machine, CONFIG))
    machine.change(deny={"Get-Volume": "Access is denied"})
    ran = boot(machine)
    assert result(machine)["errors"] == ["the volumes cannot be listed: Access is denied"]
    assert ran.state["services"]["sshd"]["state"] == "Running"
    assert ran.beacons[-1] == "GOLDEN firstboot ready"
    machine.change(deny={})
    boot(machine)
    assert result(machine)["errors"] == []
    assert keys(machine) == [OUTSIDE, KEY, OTHER]


def test_a_command_beyond_ascii_is_told_to_cmd_as_utf_8(machine: FakeMachine) -> None:
    """cmd.exe reads its file in the OEM code page, unless a line before says another."""
    user = "#cloud-config\nruncmd:\n  - echo plain\n  - echo gr\u00fcn > C:\\x\n"
    attach(seal(machine), nocloud(machine, user))
    assert boot(machine).state["commands_run"] == [
        "@echo off\necho plain\n",
        "@echo off\nchcp 65001 > nul\necho gr\u00fcn > C:\\x\n",
    ]


def test_keys_that_could_not_be_authorised_are_tried_again(machine: FakeMachine) -> None:
    attach(
        seal(machine),
        nocloud(machine, f"#cloud-config\nssh_authorized_keys: ['{KEY}']\n", "instance-id: a\n"),
    )
    machine.change(programs={"icacls.exe": {"exit": 5}})
    boot(machine)
    assert "authorized keys: icacls.exe ended" in result(machine)["errors"][0]
    machine.change(programs={})
    boot(machine)
    assert result(machine)["errors"] == []
    assert machine.state["host_keys_made"] == 1  # whoever knows the machine's keys knows it still


def of_another(machine: FakeMachine, busy: int) -> str:
    """A machine that was another instance's, whose sshd takes no orders so many times."""
    attach(seal(machine), nocloud(machine, CONFIG, "instance-id: a\n"))
    boot(machine)
    attach(machine, nocloud(machine, CONFIG, "instance-id: b\n"))
    services = machine.state["services"]
    machine.change(services=services | {"sshd": services["sshd"] | {"busy": busy}})
    return (machine.c / "ProgramData/ssh/ssh_host_rsa_key").read_text()


def test_an_sshd_that_is_just_starting_is_asked_again(machine: FakeMachine) -> None:
    before = of_another(machine, busy=1)
    ran = boot(machine)
    assert result(machine)["errors"] == []
    assert (machine.c / "ProgramData/ssh/ssh_host_rsa_key").read_text() != before
    assert [call[:2] for call in ran.calls].count(["sc.exe", "stop"]) == 2
    assert ran.state["services"]["sshd"]["state"] == "Running"


def test_host_keys_that_could_not_be_made_are_made_at_the_next_start(machine: FakeMachine) -> None:
    """Also when the disc is no longer there; the owner's commands are not run again."""
    before = of_another(machine, busy=99)
    told = boot(machine).beacons
    assert told[-2] == "GOLDEN firstboot failed host keys: sshd neither starts nor stops"
    assert result(machine)["errors"] == ["host keys: sshd neither starts nor stops"]
    key = machine.c / "ProgramData/ssh/ssh_host_rsa_key"
    assert key.read_text() == before
    services = machine.state["services"]
    machine.change(services=services | {"sshd": services["sshd"] | {"busy": 0}})
    attach(machine)
    commands = len(machine.state["commands_run"])
    again = boot(machine)
    assert again.beacons == [
        "GOLDEN firstboot started",
        "GOLDEN firstboot disc none",
        "GOLDEN firstboot ready",
    ]
    assert key.read_text() != before
    assert again.state["services"]["sshd"]["state"] == "Running"
    assert len(again.state["commands_run"]) == commands
    assert boot(machine).calls == []


def test_a_disk_that_cannot_grow_later_is_told(machine: FakeMachine) -> None:
    attach(seal(machine), nocloud(machine, CONFIG))
    boot(machine)
    larger = {"size": 64 << 30, "max": 99 << 30}
    machine.change(partition=larger, deny={"Resize-Partition": "Not enough"})
    told = boot(machine)
    assert told.beacons[-2:] == [
        "GOLDEN firstboot failed disk: Not enough",
        "GOLDEN firstboot ready",
    ]
    machine.change(deny={})
    assert boot(machine).state["partition"]["size"] == 99 << 30


def test_a_beacon_is_ascii_whatever_a_disc_says(machine: FakeMachine) -> None:
    disc_of = nocloud(machine, "#cloud-config\nhostname: \u00f6\u00f6\n", "instance-id: a\n")
    attach(seal(machine), disc_of)
    wanted = "GOLDEN firstboot failed host name: '??' cannot be a host name"
    assert wanted in boot(machine).beacons


def test_what_it_did_is_in_its_log(machine: FakeMachine) -> None:
    attach(seal(machine), nocloud(machine, CONFIG))
    boot(machine)
    log = (machine.golden / "log/firstboot.log").read_text()
    assert "package_update is not known here" in log


KEYS = f"ssh_authorized_keys:\n  - {KEY}\n"
MALFORMED: list[tuple[str, str | bytes | None, str | None, list[str], str]] = [
    ("no-user-data", None, "instance-id: 0", [], "the disc has no user-data"),
    ("no-meta-data", f"#cloud-config\n{KEYS}", None, [KEY], "the disc has no meta-data"),
    (
        "no-instance",
        f"#cloud-config\n{KEYS}",
        "local-hostname: WIN-RANDOM1\n",
        [KEY],
        "meta-data has no instance-id",
    ),
    ("bad-meta", f"#cloud-config\n{KEYS}", "{not json", [KEY], "meta-data: "),
    (
        "tab",
        f"#cloud-config\nusers:\n\t- name: x\n{KEYS}",
        "instance-id: 1",
        [KEY],
        "user-data: line 3: a tab indents",
    ),
    (
        "anchor",
        f"#cloud-config\nruncmd: &a\n  - x\n{KEYS}",
        "instance-id: 2",
        [KEY],
        "user-data: line 2: '&' begins",
    ),
    (
        "flow",
        f"#cloud-config\nruncmd: [a, [b]]\n{KEYS}",
        "instance-id: 3",
        [KEY],
        "line 2: this [list] is not understood",
    ),
    (
        "open-flow",
        f"#cloud-config\n{KEYS}runcmd: [a, b\n",
        "instance-id: 4",
        [KEY],
        "a [list] is not closed",
    ),
    (
        "quote",
        f'#cloud-config\nhostname: "abc\n{KEYS}',
        "instance-id: 5",
        [KEY],
        "line 2: a quote is not closed",
    ),
    (
        "after-quote",
        f"#cloud-config\nhostname: 'a' b\n{KEYS}",
        "instance-id: 6",
        [KEY],
        "something follows a closing quote",
    ),
    (
        "twice",
        f"#cloud-config\nhostname: win-random1\n{KEYS}hostname: b\n",
        "instance-id: 7",
        [KEY],
        "hostname is there twice",
    ),
    (
        "twice-within",
        f"#cloud-config\nusers:\n  - name: x\n    name: y\n{KEYS}",
        "instance-id: 71",
        [KEY],
        "the key name is there twice",
    ),
    (
        "block",
        f"#cloud-config\n{KEYS}runcmd:\n  - |\n      deep\n    less\n",
        "instance-id: 72",
        [KEY],
        "line ",
    ),
    (
        "indent",
        f"#cloud-config\nusers:\n  - name: x\n      groups: y\n{KEYS}",
        "instance-id: 8",
        [KEY],
        "a key and a colon are expected",
    ),
    (
        "broken-keys",
        f"#cloud-config\nssh_authorized_keys:\n  - {KEY}\n   - {OTHER}\n",
        "instance-id: 9",
        [KEY, OTHER],
        "indented differently",
    ),
    (
        "broken-users",
        f'#cloud-config\nusers:\n  - name: {{x}}\n    ssh_authorized_keys: [ "{KEY}" \n',
        "instance-id: 10",
        [KEY],
        "user-data: line",
    ),
    (
        "not-a-key",
        f"#cloud-config\nssh_authorized_keys:\n  - hello\n  - {KEY}\n",
        "instance-id: 11",
        [KEY],
        "this is not a public key: hello",
    ),
    ("no-header", KEYS, "instance-id: 12", [KEY], "begins with neither #cloud-config nor #ps1"),
    ("gzip", b"\x1f\x8b\x08\0\0", "instance-id: 13", [], "begins with neither"),
    (
        "huge",
        f"#cloud-config\nhostname: a_b\n{KEYS.replace('owner@', 'huge@')}{'#' * 1048576}\n",
        "instance-id: 14",
        [KEY.replace("owner@", "huge@")],
        "user-data is larger than 1 MiB",
    ),
    (
        "bad-user",
        f"#cloud-config\nusers:\n  - name: a/b\n{KEYS}",
        "instance-id: 15",
        [KEY],
        "'a/b' is not the name of an account",
    ),
    (
        "user-list",
        f"#cloud-config\nusers:\n  - [a, b]\n{KEYS}",
        "instance-id: 151",
        [KEY],
        "user-data: an entry of users is neither a name nor a mapping",
    ),
    (
        "list-as-name",
        f"#cloud-config\nhostname: [a]\n{KEYS}",
        "instance-id: 152",
        [KEY],
        "hostname is not a text",
    ),
    (
        "bad-run",
        f"#cloud-config\nruncmd:\n  - a: b\n{KEYS}",
        "instance-id: 16",
        [KEY],
        "runcmd 1 is neither a text nor a list",
    ),
    (
        "bad-host",
        f"#cloud-config\nhostname: 12345\n{KEYS}",
        "instance-id: 17",
        [KEY],
        "host name: '12345' cannot be a host name",
    ),
    (
        "failing-run",
        f"#cloud-config\nruncmd:\n  - exit /b 9\n  - echo on\n{KEYS}",
        "instance-id: 18",
        [KEY],
        "runcmd 1: cmd.exe ended with exit code 9",
    ),
    (
        "top-list",
        "#cloud-config\n- a\n- b\n",
        "instance-id: 19",
        [],
        "user-data: line 2: a key and a colon are expected here",
    ),
    (
        "scalar",
        "#cloud-config\njust words\n",
        "instance-id: 20",
        [],
        "user-data: line 2: a key and a colon",
    ),
]


# These are told by one sentence; the others may be told by more than one.
TOLD_ONCE = ("no-user-data", "huge", "bad-user", "user-list", "list-as-name", "not-a-key")


@pytest.fixture(scope="module")
def malformed(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Ran, dict[str, Any], list[str]]]:
    """One machine; each disc is another instance, and its keys replace those of the one before."""
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    machine = seal(FakeMachine(tmp_path_factory.mktemp("malformed")))

    def volume(case: str, letter: str) -> dict[str, Any]:
        user, meta = next((user, meta) for name, user, meta, *_ in MALFORMED if name == case)
        return nocloud(machine, user, meta, letter)

    one_start = {case[0]: ["WIN-RANDOM1"] for case in MALFORMED}
    return start_each(machine, one_start, volume)


@pytest.mark.parametrize("case", MALFORMED, ids=[case[0] for case in MALFORMED])
def test_a_malformed_disc_is_told_and_what_is_readable_is_applied(
    malformed: dict[str, tuple[Ran, dict[str, Any], list[str]]], case: Any
) -> None:
    name, _, _, expected, said = case
    ran, told, found = malformed[name]
    assert ran.exit == 0, ran.text
    assert any(said in error for error in told["errors"]), told["errors"]
    assert set(told["users"]) <= {"golden", "x"}
    if name in TOLD_ONCE:
        assert len(told["errors"]) == 1, told["errors"]
    if expected:  # without any key those of the disc before stay
        assert found == expected
    if name in ("no-meta-data", "no-instance", "bad-meta"):
        assert told["instance"].startswith("nocloud-")
    failed = [line for line in ran.beacons if line.startswith("GOLDEN firstboot failed ")]
    assert len(failed) == 1
    assert ran.beacons[-1] == "GOLDEN firstboot ready"


PS1 = "#ps1_sysnative\n[IO.File]::WriteAllText(\"$env:GOLDEN_MACHINE/ran\", 'yes')\n"


def test_a_powershell_script_as_user_data(machine: FakeMachine) -> None:
    attach(seal(machine), nocloud(machine, PS1, "instance-id: x\n"))
    boot(machine)
    assert (machine.folder / "ran").read_text() == "yes"
    assert result(machine)["errors"] == []


def test_a_list_of_one_stays_a_list(machine: FakeMachine) -> None:
    """A program without arguments is not a line for cmd.exe."""
    text = "#cloud-config\nruncmd:\n  - [hello.exe]\n  - - hello.exe\n  -\n    - hello.exe\n"
    attach(seal(machine), nocloud(machine, text, "instance-id: one\n"))
    ran = boot(machine)
    assert [call for call in ran.calls if call[0] == "hello.exe"] == [["hello.exe"]] * 3
    assert ran.state["commands_run"] == []


@pytest.mark.parametrize(
    "text", ["  - [hello.exe, /r]", "  - - hello.exe\n    - /r", "- [hello.exe, /r]"]
)
def test_a_single_command_that_is_a_list_stays_one_command(machine: FakeMachine, text: str) -> None:
    """A list in a list of one, which PowerShell would take for its element."""
    attach(seal(machine), nocloud(machine, f"#cloud-config\nruncmd:\n{text}\n", META))
    ran = boot(machine)
    assert [call for call in ran.calls if call[0] == "hello.exe"] == [["hello.exe", "/r"]]
    assert ran.state["commands_run"] == []


def test_the_system_drive_is_no_disc_whatever_lies_there(machine: FakeMachine) -> None:
    seal(machine)
    (machine.c / "ssh_authorized_keys").write_text(f"{KEY}\n")
    assert "GOLDEN firstboot disc none" in boot(machine).beacons
    assert keys(machine) == []


def test_remarks_behind_keys_and_escapes_in_texts(machine: FakeMachine) -> None:
    user = 'users: # ours\n  - name: ann\nruncmd: # once\n  - "echo a\\necho b"\n'
    attach(seal(machine), nocloud(machine, f"#cloud-config\n{user}", "instance-id: a\n"))
    ran = boot(machine)
    assert result(machine)["errors"] == []
    assert result(machine)["users"] == ["ann"]
    assert ran.state["commands_run"] == ["@echo off\necho a\necho b\n"]


def test_a_script_begins_with_a_byte_order_mark(machine: FakeMachine) -> None:
    """Windows PowerShell reads a script without one in the code page of the country."""
    text = (
        "#ps1\n$bytes = [IO.File]::ReadAllBytes((Convert-Path -LiteralPath $PSCommandPath))\n"
        "[IO.File]::WriteAllText(\"$env:GOLDEN_MACHINE/ran\", ($bytes[0..3] -join ' '))\n"
    )
    attach(seal(machine), nocloud(machine, text, "instance-id: x\n"))
    boot(machine)
    assert (machine.folder / "ran").read_text() == f"{0xEF} {0xBB} {0xBF} {ord('#')}"


def test_blank_lines_escapes_and_empty_values(machine: FakeMachine) -> None:
    user = (
        "runcmd:\n  - |+\n    echo a\n\n  - |\n    echo b\n\n  - |-\n    echo c\n\n"
        '  - "a\\rb\\nc"\nusers:\n  - name: ann\n    groups:\n  - name: bob\n'
    )
    attach(seal(machine), nocloud(machine, f"#cloud-config\n{user}", "instance-id: a\n"))
    ran = boot(machine)
    assert result(machine)["errors"] == []
    assert result(machine)["users"] == ["ann", "bob"]
    said = [text.removeprefix("@echo off\n") for text in ran.state["commands_run"]]
    assert said == ["echo a\n\n\n", "echo b\n\n", "echo c\n", "a\nb\nc\n"]


@pytest.mark.parametrize(
    "meta",
    [
        json.dumps({"instance-id": "a", "uuid": "x", "public-keys": {"0": KEY, "1": OTHER}}),
        f"public-keys:\n  0:\n    openssh-key: {KEY}\n  1:\n    openssh-key: {OTHER}\n",
        f"instance-id: a\npublic-keys: ['{KEY}', '{OTHER}']\n",
    ],
)
def test_keys_of_the_meta_data_however_they_are_written(machine: FakeMachine, meta: str) -> None:
    """KubeVirt's access credentials, EC2's form, and a list."""
    attach(seal(machine), nocloud(machine, "#cloud-config\n{}\n", meta))
    boot(machine)
    assert keys(machine) == [KEY, OTHER]


@pytest.mark.parametrize("meta", [f'{{"public-keys": ["{KEY}"],', f"public-keys: &a\n  - {KEY}\n"])
def test_keys_of_meta_data_that_cannot_be_read(machine: FakeMachine, meta: str) -> None:
    attach(seal(machine), nocloud(machine, "#cloud-config\nruncmd: []\n", meta))
    boot(machine)
    assert result(machine)["errors"][0].startswith("meta-data: ")
    assert keys(machine) == [KEY]


def test_cloud_inits_other_name_of_keys(machine: FakeMachine) -> None:
    user = f"users:\n  - name: ann\n    ssh-authorized-keys:\n      - {OTHER}\n"
    user = f"ssh-authorized-keys: {KEY}\n{user}"
    attach(seal(machine), nocloud(machine, f"#cloud-config\n{user}", "instance-id: a\n"))
    ran = boot(machine)
    assert keys(machine) == [KEY, OTHER]
    assert "is not known here" not in ran.text


def test_numbers_in_json_are_texts(machine: FakeMachine) -> None:
    meta = '{"instance-id": 7, "local-hostname": null}'
    attach(seal(machine), nocloud(machine, f"#cloud-config\n{KEYS}", meta))
    boot(machine)
    assert result(machine)["errors"] == []
    assert result(machine)["instance"] == "7"


def test_a_disc_without_a_drive_letter_is_passed_over(machine: FakeMachine) -> None:
    seal(machine)
    found = nocloud(machine, f"#cloud-config\n{KEYS}", "instance-id: a\n")
    attach(machine, found | {"letter": "", "folder": ""}, found)
    ran = boot(machine)
    assert 'the volume "CIDATA" has no drive letter and is not looked at' in ran.text
    assert result(machine)["instance"] == "a"
    assert keys(machine) == [KEY]


def test_limas_disc_is_another_when_one_script_of_it_is(machine: FakeMachine) -> None:
    seal(machine)
    for name in ("one", "two"):
        files = {
            "ssh_authorized_keys": KEY,
            "autounattend.xml": "<unattend/>",  # names no account
            "provision.user/00000000": ran(name),
        }
        attach(machine, disc(machine, "D", "autounattend", dict(files)))
        boot(machine)
        assert result(machine)["errors"] == []
    assert (machine.folder / "ran").read_text() == "one\ntwo\n"


def test_limas_disc_is_known_by_its_label_without_any_key(machine: FakeMachine) -> None:
    attach(seal(machine), disc(machine, "G", "autounattend", {"other": "x"}))
    assert "GOLDEN firstboot disc lima" in boot(machine).beacons


def test_it_goes_on_as_soon_as_setup_has_ended(machine: FakeMachine) -> None:
    seal(machine).set_registry("SYSTEM\\Setup", "SystemSetupInProgress", 1, "REG_DWORD")
    ends = {
        "key": "HKLM:\\SYSTEM\\Setup", "name": "SystemSetupInProgress", "type": "DWord", "value": 0,
    }  # fmt: skip
    effects = machine.folder / "effects.jsonl"
    later = threading.Timer(3, lambda: effects.write_text(json.dumps(ends) + "\n"))
    later.start()
    ran = machine.run(Run("firstboot.ps1", ["-SetupTimeout", "60", "-DiscTimeout", "0"]))[0]
    later.join()
    assert ran.beacons[-1] == "GOLDEN firstboot ready"
    assert result(machine)["errors"] == []
