"""What each kind of step looks at and sets, on the stand-in.

A kind is a pair: ``look`` returns "" when all is as desired, else a sentence that says what is not;
``change`` makes it so and returns whether a restart is needed before going on.
"""

from __future__ import annotations

from typing import Any

from . import services, software, sshd
from .context import Context, Kind, StepFailed
from .machine import ADMINISTRATORS, STARTS

GROUPS = {ADMINISTRATORS, "S-1-5-32-545", "S-1-5-32-555"}


# file


def _content(c: Context) -> bytes:
    return c.main.read_bytes() if c.files else str(c.get("content", "")).encode()


def look_file(c: Context) -> str:
    """The file has exactly this content, or is not there."""
    path, shown = c.path(), c.get("path")
    if c.get("ensure", "present") == "absent":
        return f"{shown} exists" if path.exists() else ""
    if not path.is_file():
        return f"{shown} does not exist"
    return "" if path.read_bytes() == _content(c) else f"{shown} has another content"


def change_file(c: Context) -> bool:
    """Write the file, or remove it; a new file inherits its permissions."""
    path = c.path()
    if c.get("ensure", "present") == "absent":
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(c))
    if path.is_relative_to(c.machine.c):
        c.machine.set_acl(path, None)
    sshd.refresh(c.machine)
    return False


# registry


def look_registry(c: Context) -> str:
    """The value exists with this type and data, or is absent."""
    key, name = str(c.get("key")), str(c.get("name"))
    have = c.machine.registry.get(key, name)
    if c.get("ensure", "present") == "absent":
        return f"{key} has a value {name}" if have else ""
    if have is None:
        return f"{key} has no value {name}"
    wanted = (c.get("type", "String"), c.get("value"))
    if (have["type"], have["value"]) != wanted:
        return (
            f"{key} {name} is {have['value']!r} ({have['type']}), not {wanted[1]!r} ({wanted[0]})"
        )
    return ""


def change_registry(c: Context) -> bool:
    """Set or remove the value."""
    key, name = str(c.get("key")), str(c.get("name"))
    if c.get("ensure", "present") == "absent":
        c.machine.registry.delete(key, name)
    else:
        c.machine.registry.set(key, name, c.get("value"), c.get("type", "String"))
    return False


# service


def look_service(c: Context) -> str:
    """The service exists, with this program, these dependencies, start type and state."""
    machine, name = c.machine, str(c.get("name"))
    if not services.exists(machine, name):
        return f"there is no service {name}"
    start = c.get("start", "auto")
    if (have := services.start_type(machine, name)) != start:
        return f"{name} starts {have}, not {start}"
    values = machine.registry.values(services.key(name))
    if "binary" in c.step and str(values.get("ImagePath", "")).strip('"') != c.get("binary"):
        return f"{name} runs {values.get('ImagePath')}, not {c.get('binary')}"
    if "depend" in c.step and values.get("DependOnService", []) != c.get("depend"):
        return f"{name} depends on {values.get('DependOnService')}, not {c.get('depend')}"
    state = c.get("state", "running")
    if state != "any" and services.running(name) is not (state == "running"):
        return f"{name} is not {state}"
    return ""


def change_service(c: Context) -> bool:
    """Make or change the service, then start or stop it."""
    machine, name = c.machine, str(c.get("name"))
    if not services.exists(machine, name) and "binary" not in c.step:
        raise StepFailed(f"there is no service {name}, and the step names no program to make it of")
    key = services.key(name)
    if "binary" in c.step:
        program = str(c.get("binary"))
        quoted = f'"{program}"' if " " in program else program
        services.define(
            machine,
            name,
            binary=quoted,
            display=c.get("display_name", ""),
            depend=c.get("depend", []),
        )
    machine.registry.set(key, "Start", STARTS[c.get("start", "auto")], "DWord")
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
    found = [{"identity": e["identity"], "rights": e["rights"]} for e in c.get("entries", [])]
    return sorted(found, key=lambda e: (e["identity"], e["rights"]))


def look_acl(c: Context) -> str:
    """Exactly these entries are set, and none is inherited."""
    path, shown = c.path(), c.get("path")
    if not path.exists():
        return f"{shown} does not exist"
    if (have := c.machine.acl(path)) is None:
        return f"{shown} inherits its permissions"
    return "" if have == _entries(c) else f"{shown} has other permissions: {have}"


def change_acl(c: Context) -> bool:
    """Set exactly these entries."""
    if not c.path().exists():
        raise StepFailed(f"{c.get('path')} does not exist")
    c.machine.set_acl(c.path(), _entries(c))
    sshd.refresh(c.machine)
    return False


# firewall


def _rule(c: Context) -> dict[str, Any]:
    protocol = c.get("protocol", "TCP")
    return {"display_name": c.get("display_name"), "port": int(c.get("port")), "protocol": protocol}


def look_firewall(c: Context) -> str:
    """The rule is there as described."""
    name = str(c.get("name"))
    have = c.machine.rules().get(name)
    if have == _rule(c):
        return ""
    return f"the rule {name} differs" if have else f"there is no rule {name}"


def change_firewall(c: Context) -> bool:
    """Make the rule anew; the server behind it becomes reachable."""
    c.machine.set_rule(str(c.get("name")), _rule(c))
    sshd.reconcile(c.machine, wanted=services.running("sshd"))
    return False


# user


def look_user(c: Context) -> str:
    """The account is there, in these groups, enabled or not."""
    name = str(c.get("name"))
    have = c.machine.user(name)
    if have is None:
        return f"there is no account {name}"
    if have["enabled"] is not c.get("enabled", True):
        return f"the account {name} is {'enabled' if have['enabled'] else 'disabled'}"
    missing = set(c.get("groups", [])) - set(have["groups"])
    return f"{name} is not in {', '.join(sorted(missing))}" if missing else ""


def change_user(c: Context) -> bool:
    """Make or change the account."""
    name, groups = str(c.get("name")), set(c.get("groups", []))
    if unknown := groups - GROUPS:
        raise StepFailed(f"there is no group {min(unknown)}")
    have = c.machine.user(name) or {"groups": []}
    c.machine.set_user(name, sorted(groups | set(have["groups"])), enabled=c.get("enabled", True))
    sshd.refresh(c.machine)
    return False


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
KEYS: dict[str, set[str]] = {
    "msi": {"properties"},
    "file": {"content", "path", "ensure"},
    "registry": {"key", "name", "type", "value", "ensure"},
    "service": {"name", "start", "state", "binary", "display_name", "depend"},
    "acl": {"path", "entries"},
    "driver": {"name"},
    "firewall": {"name", "display_name", "port", "protocol"},
    "user": {"name", "groups", "enabled"},
    "script": {"arguments", "interpreter"},
    "update": {"kb"},
    "reboot": {"when"},
}
