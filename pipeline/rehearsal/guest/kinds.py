"""What each kind of step looks at and sets, on the stand-in.

A kind is a pair: ``look`` returns "" when all is as desired, else a sentence that says what is not;
``change`` makes it so and returns whether a restart is needed before going on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import services, software, sshd
from .context import Context, Kind, StepFailed
from .machine import ADMINISTRATORS, STARTS
from .plan import BITS, number
from .winpath import NoDrive

GROUPS = {ADMINISTRATORS, "S-1-5-32-545", "S-1-5-32-555"}
LONGEST_USER = 20


def _found(c: Context) -> Path | None:
    """What lies at the step's path; on a drive that is not there lies nothing."""
    try:
        return path if (path := c.path()).exists() else None
    except NoDrive:
        return None


# file


def _content(c: Context) -> bytes:
    return c.main.read_bytes() if c.files else str(c.get("content", "")).encode()


def look_file(c: Context) -> str:
    """The file has exactly this content, or is not there."""
    path, shown = _found(c), c.get("path")
    if path and path.is_dir():
        raise StepFailed(f"{shown} is a folder")
    if c.get("ensure", "present") == "absent":
        return f"{shown} exists" if path else ""
    if not path:
        return f"{shown} does not exist"
    return "" if path.read_bytes() == _content(c) else f"{shown} has another content"


def change_file(c: Context) -> bool:
    """Write the file, or remove it. One that is new inherits its permissions, others keep them."""
    path = c.path()
    new = not path.exists()
    if c.get("ensure", "present") == "absent":
        path.unlink(missing_ok=True)
        new = True
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(c))
    if new and path.is_relative_to(c.machine.c):
        c.machine.set_acl(path, None)
    sshd.refresh(c.machine)
    return False


# registry


def _data(c: Context) -> tuple[str, Any]:
    """The type and the data of the value that is wanted."""
    kind, value = c.get("type", "String"), c.get("value")
    if kind in BITS:
        return kind, number(value, kind)
    if kind == "MultiString":
        return kind, value if isinstance(value, list) else [value]
    return kind, value


def look_registry(c: Context) -> str:
    """The value exists with this type and data, or is absent."""
    key, name = str(c.get("key")), str(c.get("name"))
    have = c.machine.registry.get(key, name)
    if c.get("ensure", "present") == "absent":
        return f"{key} has a value {name}" if have else ""
    if have is None:
        return f"{key} has no value {name}"
    kind, wanted = _data(c)
    if (have["type"], have["value"]) != (kind, wanted):
        return f"{key} {name} is {have['value']!r} ({have['type']}), not {wanted!r} ({kind})"
    return ""


def change_registry(c: Context) -> bool:
    """Set or remove the value."""
    key, name = str(c.get("key")), str(c.get("name"))
    if c.get("ensure", "present") == "absent":
        c.machine.registry.delete(key, name)
    else:
        kind, value = _data(c)
        c.machine.registry.set(key, name, value, kind)
    return False


# service


def _program(c: Context) -> str:
    """The command line of the service; a path with blanks is quoted."""
    program = str(c.get("binary", ""))
    return f'"{program}"' if " " in program and not program.startswith('"') else program


def _needed(names: Any) -> list[str]:
    """The services that one depends on, as they are compared."""
    return sorted(str(name).lower() for name in names or [])


def _look_definition(c: Context, name: str) -> str:
    """Program and dependencies; those are compared when the step says what the service is."""
    values = c.machine.registry.values(services.key(name))
    program, depend = _program(c), c.get("depend", [])
    if program and str(values.get("ImagePath", "")).lower() != program.lower():
        return f"{name} runs {values.get('ImagePath')}, not {program}"
    have = values.get("DependOnService", [])
    if (program or depend) and _needed(have) != _needed(depend):
        return f"{name} depends on {have}, not {depend}"
    return ""


def look_service(c: Context) -> str:
    """The service exists, with this program, these dependencies, start type and state."""
    machine, name = c.machine, str(c.get("name"))
    if not services.exists(machine, name):
        return f"there is no service {name}"
    if wrong := _look_definition(c, name):
        return wrong
    start = c.get("start", "auto")
    if (have := services.start_type(machine, name)) != start:
        return f"{name} starts {have}, not {start}"
    state = c.get("state", "running")
    if state != "any" and services.running(name) is not (state == "running"):
        return f"{name} is not {state}"
    return ""


def _define(c: Context, name: str) -> None:
    """Make the service, or give it what the step says of it."""
    registry, key = c.machine.registry, services.key(name)
    depend = c.get("depend", [])
    if program := _program(c):
        shown = str(c.get("display_name", registry.data(key, "DisplayName", "")))
        services.define(c.machine, name, binary=program, display=shown, depend=depend)
    elif not services.exists(c.machine, name):
        raise StepFailed(f"there is no service {name}, and the step names no program to make it of")
    elif depend:
        registry.set(key, "DependOnService", depend, "MultiString")
    registry.set(key, "Start", STARTS[c.get("start", "auto")], "DWord")


def change_service(c: Context) -> bool:
    """Make or change the service, then start or stop it."""
    machine, name = c.machine, str(c.get("name"))
    _define(c, name)
    state = c.get("state", "running")
    try:
        if state == "running":
            services.start(machine, name)
        elif state == "stopped":
            services.stop(machine, name)
    except services.CannotStart as error:
        raise StepFailed(str(error)) from None
    return False


# acl


def _entries(c: Context) -> list[dict[str, str]]:
    found = [(str(e["identity"]).upper(), e["rights"]) for e in c.get("entries", [])]
    return [{"identity": identity, "rights": rights} for identity, rights in sorted(found)]


def look_acl(c: Context) -> str:
    """Exactly these entries are set, and none is inherited."""
    path, shown = _found(c), c.get("path")
    if not path:
        return f"{shown} does not exist"
    if (have := c.machine.acl(path)) is None:
        return f"{shown} inherits its permissions"
    return "" if have == _entries(c) else f"{shown} has other permissions: {have}"


def change_acl(c: Context) -> bool:
    """Set exactly these entries; of two for one identity the last one stays."""
    if not (path := _found(c)):
        raise StepFailed(f"{c.get('path')} does not exist")
    c.machine.set_acl(path, list({e["identity"]: e for e in _entries(c)}.values()))
    sshd.refresh(c.machine)
    return False


# firewall


def _rule(c: Context) -> dict[str, Any]:
    protocol = c.get("protocol", "TCP")
    return {"display_name": c.get("display_name"), "port": c.get("port"), "protocol": protocol}


def look_firewall(c: Context) -> str:
    """The rule is there as described."""
    name = str(c.get("name"))
    if not (have := c.machine.rule(name)):
        return f"there is no rule {name}"
    return "" if have == _rule(c) else f"the rule {name} differs"


def change_firewall(c: Context) -> bool:
    """Make the rule anew; the server behind it becomes reachable."""
    c.machine.set_rule(str(c.get("name")), _rule(c))
    sshd.reconcile(c.machine, wanted=services.running("sshd"))
    return False


# user


def _groups(c: Context) -> set[str]:
    return {str(group).upper() for group in c.get("groups", [])}


def _known(groups: set[str]) -> None:
    if unknown := groups - GROUPS:
        raise StepFailed(f"there is no group {min(unknown)}")


def look_user(c: Context) -> str:
    """The account is there, in these groups, enabled or not."""
    name = str(c.get("name"))
    have = c.machine.user(name)
    if have is None:
        return f"there is no account {name}"
    if have["enabled"] is not bool(c.get("enabled", True)):
        return f"the account {name} is {'enabled' if have['enabled'] else 'disabled'}"
    _known(_groups(c))
    missing = _groups(c) - set(have["groups"])
    return f"{name} is not in {', '.join(sorted(missing))}" if missing else ""


def change_user(c: Context) -> bool:
    """Make or change the account, then put it into its groups."""
    name, enabled = str(c.get("name")), bool(c.get("enabled", True))
    if len(name) > LONGEST_USER:
        raise StepFailed(f"{name} is longer than {LONGEST_USER} characters")
    have = set((c.machine.user(name) or {"groups": []})["groups"])
    c.machine.set_user(name, sorted(have), enabled=enabled)
    _known(_groups(c))
    c.machine.set_user(name, sorted(_groups(c) | have), enabled=enabled)
    sshd.refresh(c.machine)
    return False


# reboot


def look_reboot(c: Context) -> str:
    """No restart is pending, or the one that was asked for has been."""
    if c.get("when", "pending") == "always":
        return "" if c.marker() == "done" else "the restart has not been"
    return "a restart is pending" if c.machine.restart_pending else ""


def change_reboot(c: Context) -> bool:
    """Ask for the restart."""
    if c.get("when", "pending") == "always":
        c.mark("done")
    return True


KINDS = {
    "msi": Kind(software.look_msi, software.change_msi),
    "file": Kind(look_file, change_file),
    "registry": Kind(look_registry, change_registry),
    "service": Kind(look_service, change_service),
    "acl": Kind(look_acl, change_acl),
    "driver": Kind(software.look_driver, software.change_driver),
    "firewall": Kind(look_firewall, change_firewall),
    "user": Kind(look_user, change_user),
    "script": Kind(software.look_script, software.change_script),
    "update": Kind(software.look_update, software.change_update),
    "reboot": Kind(look_reboot, change_reboot),
}
