"""specialize and oobeSystem: what Setup leaves for the first boot of the installed system.

Goes in: the answer file in ``C:\\Windows\\Panther``. Comes out: a computer with its name and
accounts, on which the first-logon commands have run.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable

from . import answer, faults, init, linux, power, programs
from .answer import Refused, Settings, password, setting, true
from .machine import ADMINISTRATORS, Machine
from .shell import Shell

AFTER_SETUP = "IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE"
COMPLETE = "IMAGE_STATE_COMPLETE"
STATE = r"HKLM\SYSTEM\Setup\State"
SETUP = r"HKLM\SYSTEM\Setup"
WINLOGON = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon"
SHELL = "Microsoft-Windows-Shell-Setup"
DEPLOYMENT = "Microsoft-Windows-Deployment"
GROUPS = {"administrators": ADMINISTRATORS, "users": "S-1-5-32-545"}
LETTERS = string.ascii_uppercase + string.digits


def random_name() -> str:
    """A computer name as Windows makes one up."""
    return "WIN-" + "".join(secrets.choice(LETTERS) for _ in range(11))


def settings(machine: Machine, which: str) -> Settings:
    """The settings of a pass in the cached answer file."""
    path = machine.path(r"C:\Windows\Panther\unattend.xml")
    if not path.is_file():
        return {}
    try:
        return answer.read(path.read_bytes()).get(which, {})
    except Refused as error:
        reason = f"Windows could not parse or process the unattend answer file for pass [{which}]"
        init.bugcheck("SETUP_ERROR", f"{reason}: {error}")
        raise


def specialize(machine: Machine) -> None:
    """The specialize pass: name, time zone, RunSynchronous."""
    wanted = settings(machine, "specialize")
    name = setting(wanted, SHELL, "ComputerName", default="*")
    machine.rename(random_name() if name == "*" else name)
    linux.run("hostname", machine.name)
    if zone := setting(wanted, SHELL, "TimeZone"):
        key = r"HKLM\SYSTEM\CurrentControlSet\Control\TimeZoneInformation"
        machine.registry.set(key, "TimeZoneKeyName", zone)
    shell = Shell(machine.drives, programs.windows(machine), linux.output())
    for item in setting(wanted, DEPLOYMENT, "RunSynchronous", "RunSynchronousCommand", default=[]):
        code = shell.run(item.get("Path", ""))
        linux.log(f"specialize {item['Order']}: exit code {code}")
    if faults.on("hang-specialize"):
        linux.hold()
    if faults.on("boot-loop"):
        power.ask("reboot")
        linux.hold()


def _accounts(machine: Machine, wanted: Settings) -> None:
    if "AdministratorPassword" in setting(wanted, SHELL, "UserAccounts", default={}):
        password(wanted[SHELL]["UserAccounts"]["AdministratorPassword"], "AdministratorPassword")
        machine.set_user("Administrator", [ADMINISTRATORS], enabled=True)
    accounts = ("UserAccounts", "LocalAccounts", "LocalAccount")
    for item in setting(wanted, SHELL, *accounts, default=[]):
        password(item.get("Password", {}), "Password")
        names = [n.strip().lower() for n in item.get("Group", "Users").split(";")]
        machine.set_user(item["Name"], [GROUPS[n] for n in names if n in GROUPS], enabled=True)


def _logs_on(machine: Machine, wanted: Settings) -> bool:
    """Whether AutoLogon takes us to a desktop: an enabled account and the password it has."""
    item = setting(wanted, SHELL, "AutoLogon")
    if not item or not true(item, "Enabled"):
        return False
    name = item.get("Username", "")
    secret = password(item.get("Password", {}), "Password")
    accounts = ("UserAccounts", "LocalAccounts", "LocalAccount")
    for account in setting(wanted, SHELL, *accounts, default=[]):
        if account["Name"].lower() == name.lower():
            if password(account.get("Password", {}), "Password") != secret:
                return False
            machine.registry.set(WINLOGON, "AutoAdminLogon", "1")
            # Windows adds one to what the answer file says.
            count = int(item.get("LogonCount", "1")) + 1
            machine.registry.set(WINLOGON, "AutoLogonCount", count, "DWord")
            machine.registry.set(WINLOGON, "DefaultUserName", name)
            machine.registry.set(
                WINLOGON, "DefaultPassword", "(kept by the stand-in as a mark only)"
            )
            return True
    return False


def _page(wanted: Settings) -> str:
    """The page of OOBE that would wait for a person; none when all is answered."""
    if not true(wanted, SHELL, "OOBE", "HideEULAPage"):
        return "the licence terms: HideEULAPage is not true"
    if not setting(wanted, "Microsoft-Windows-International-Core", "InputLocale"):
        return "the choice of a keyboard: Microsoft-Windows-International-Core names none"
    if not setting(wanted, SHELL, "UserAccounts"):
        return "the password of Administrator: UserAccounts is missing"
    return ""


def _stop_at(page: str) -> None:
    linux.serial(f"STAND-IN waits at {page}")
    linux.draw("Windows", page)
    linux.hold()


def first_logon(machine: Machine, start_services: Callable[[], None]) -> None:
    """The oobeSystem pass, then the first logon with its commands."""
    wanted = settings(machine, "oobeSystem")
    if page := _page(wanted):
        _stop_at(page)
    _accounts(machine, wanted)
    machine.registry.set(STATE, "ImageState", COMPLETE)
    machine.registry.set(SETUP, "SystemSetupInProgress", 0, "DWord")
    start_services()
    if not _logs_on(machine, wanted):
        linux.draw("Windows", "Press Ctrl+Alt+Delete to unlock.")
        return
    items = setting(wanted, SHELL, "FirstLogonCommands", "SynchronousCommand", default=[])
    shell = Shell(machine.drives, programs.windows(machine), linux.output())
    for item in items:
        line = item.get("CommandLine", "")
        if faults.on("first-logon-fails"):
            line = "the-fault-first-logon-fails.exe"
        code = shell.run(line)
        linux.log(f"first logon {item['Order']}: exit code {code}")
