r"""First boot of a sealed system, by the contract: what a consumer's disc says, applied once.

Goes in: attached discs and memory sticks, by label and content. Comes out: keys, accounts, a host
name, new SSH host keys, ``C:\ProgramData\golden\first-boot.json`` and beacons. Nothing on a disc
is trusted to be well-formed: what can be read of it is applied, above all the keys.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import discs, linux, oobe, services, sshd
from .discs import Wishes
from .machine import ADMINISTRATORS, SYSTEM, Machine

SEALED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
STATE = r"HKLM\SYSTEM\Setup\State"
KEY = r"HKLM\SOFTWARE\GoldenWindows\FirstBoot"
CRYPTOGRAPHY = r"HKLM\SOFTWARE\Microsoft\Cryptography"
RECORD = r"C:\ProgramData\golden\first-boot.json"
GROW_FROM = 8192  # sectors; less is alignment
LIMA_DONE = r"C:\ProgramData\Lima\lima-boot-done.txt"


def grow(disk: str, device: str) -> None:
    """Let the last partition and its file system have the whole disk, if the disk is larger."""
    total = int(Path(f"/sys/block/{disk}/size").read_text())
    place = Path(f"/sys/block/{disk}") / Path(device).name
    start, size = (int((place / name).read_text()) for name in ("start", "size"))
    if total - (start + size) < GROW_FROM:
        return
    number = (place / "partition").read_text().strip()
    linux.run("sfdisk", "-q", "--force", "-N", number, f"/dev/{disk}", stdin=", +\n", ok=(0, 1))
    linux.run("ntfsresize", "--force", "--force", "--no-progress-bar", device)
    linux.log(f"C: has grown from {size} sectors")


def _authorise(machine: Machine, keys: list[str]) -> None:
    """Exactly these keys open the door to administrators; without any all stays as it is."""
    if not keys:
        return
    path = machine.c / sshd.KEYS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{key}\n" for key in dict.fromkeys(keys)).encode())
    entries = [{"identity": sid, "rights": "FullControl"} for sid in (SYSTEM, ADMINISTRATORS)]
    machine.set_acl(path, sorted(entries, key=lambda entry: entry["identity"]))


def _run_commands(machine: Machine, wishes: Wishes, errors: list[str]) -> None:
    from . import programs
    from .shell import Shell

    shell = Shell(machine.drives, programs.windows(machine))
    codes = [shell.run(command) for command in wishes.commands]
    errors += [f"a command ended with exit code {code}" for code in codes if code]
    errors += [f"{name}: the stand-in runs no PowerShell" for name in wishes.scripts]


def _apply(machine: Machine, wishes: Wishes) -> dict[str, Any]:
    """Apply what a disc asks for; the record of it."""
    errors = list(wishes.errors)
    owner = str(machine.registry.data(KEY, "User", "golden"))
    machine.rename(wishes.host_name or oobe.random_name())
    linux.run("hostname", machine.name)
    users = [name for name in wishes.users if name.lower() != owner.lower()]
    for name in users:
        have = machine.user(name) or {"groups": []}
        machine.set_user(name, sorted({ADMINISTRATORS, *have["groups"]}), enabled=True)
    _authorise(machine, wishes.keys)
    _run_commands(machine, wishes, errors)
    if wishes.disc == "lima":
        done = machine.path(LIMA_DONE)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.write_text("done\r\n")
    return {
        "disc": wishes.disc,
        "instance": wishes.instance,
        "host_name": machine.name.upper(),  # as %COMPUTERNAME% has it
        "users": [owner, *users] if wishes.keys else users,
        "errors": errors,
    }


def _record(machine: Machine, record: dict[str, Any]) -> None:
    path = machine.path(RECORD)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")


def _tell(record: dict[str, Any]) -> None:
    if record["errors"]:
        linux.serial(f"GOLDEN firstboot failed {record['errors'][0]}"[:200])
    os.sync()  # who sees the machine ready may cut its power
    linux.serial("GOLDEN firstboot ready")


def run(machine: Machine, start_services: Callable[[], None]) -> None:
    """The first boot of a sealed system: a machine of its own, while services start beside it.

    As on Windows sshd answers before the keys are there.
    """
    linux.serial("GOLDEN firstboot started")
    machine.registry.set(CRYPTOGRAPHY, "MachineGuid", secrets.token_hex(16))
    oobe.specialize(machine)
    sshd.make_host_keys(machine)
    start_services()
    wishes = discs.find(machine.drives)
    linux.serial(f"GOLDEN firstboot disc {wishes.disc}")
    record = _apply(machine, wishes)
    machine.registry.set(STATE, "ImageState", oobe.COMPLETE)
    machine.registry.set(KEY, "Done", 1, "DWord")
    # Setup's copy of the answer file has done its work; a build's copy could hold secrets.
    machine.path(r"C:\Windows\Panther\unattend.xml").unlink(missing_ok=True)
    _record(machine, record)
    _tell(record)


def again(machine: Machine) -> None:
    """A later boot: another instance's disc is applied, the same one changes nothing."""
    if machine.registry.data(KEY, "Done") != 1:
        return  # not sealed yet: this is a build's own boot
    record = json.loads(machine.path(RECORD).read_text())
    wishes = discs.find(machine.drives)
    if wishes.disc == "none" or wishes.instance == record.get("instance"):
        linux.serial("GOLDEN firstboot ready")
        return
    linux.serial("GOLDEN firstboot started")
    linux.serial(f"GOLDEN firstboot disc {wishes.disc}")
    services.stop(machine, "sshd")
    for path in (machine.c / sshd.FOLDER).glob("ssh_host_*"):
        path.unlink()
    record = _apply(machine, wishes)
    _record(machine, record)
    services.start(machine, "sshd")
    _tell(record)
