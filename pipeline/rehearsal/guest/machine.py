r"""The state of an installed Windows: registry, accounts, firewall rules, permissions.

Goes in: the folder that is C:. Everything lasts in files on C:, in the registry where Windows has
it there, and below ``HKLM\StandIn`` where Windows has a data base of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import linux
from .registry import FILE, Registry
from .winpath import Drives

SERVICES = r"HKLM\SYSTEM\CurrentControlSet\Services"
USERS = r"HKLM\StandIn\Users"
RULES = r"HKLM\StandIn\Firewall"
PERMISSIONS = r"HKLM\StandIn\Acl"
HOTFIXES = r"HKLM\StandIn\Hotfixes"
UNINSTALL = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall"
COMPUTER = r"HKLM\SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName"
PENDING = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending"
ADMINISTRATORS = "S-1-5-32-544"
SYSTEM = "S-1-5-18"
STARTS = {"boot": 0, "system": 1, "auto": 2, "demand": 3, "disabled": 4}


@dataclass(slots=True)
class Machine:
    """An installed system; ``c`` is the folder of its system drive."""

    c: Path
    drives: Drives
    registry: Registry

    @classmethod
    def at(cls, c: Path) -> Machine:
        """The system in a folder, with the drives that are mounted now."""
        return cls(c, Drives({"C": c, **mounted()}), Registry(c / FILE))

    @property
    def release(self) -> str:
        """The release that this Windows is, such as ``2k25``."""
        return (self.c / "Windows/System32/standin.txt").read_text().split()[0]

    def path(self, windows: str) -> Path:
        """The real path of a Windows path."""
        return self.drives.resolve(windows)

    # Accounts

    def users(self) -> dict[str, dict[str, Any]]:
        """Accounts by name: ``groups`` (SIDs) and ``enabled``."""
        return {name: json.loads(text) for name, text in self.registry.values(USERS).items()}

    def user(self, name: str) -> dict[str, Any] | None:
        """One account, its name in any case."""
        text = self.registry.data(USERS, name)
        return None if text is None else dict(json.loads(text))

    def set_user(self, name: str, groups: Sequence[str], *, enabled: bool) -> None:
        """Make or change an account; whoever asks next at the door sees it."""
        entry = {"groups": sorted(groups), "enabled": enabled}
        self.registry.set(USERS, name, json.dumps(entry))

    # The firewall

    def rules(self) -> dict[str, dict[str, Any]]:
        """Inbound allow rules by name."""
        return {name: json.loads(text) for name, text in self.registry.values(RULES).items()}

    def rule(self, name: str) -> dict[str, Any] | None:
        """One rule, its name in any case."""
        text = self.registry.data(RULES, name)
        return None if text is None else dict(json.loads(text))

    def set_rule(self, name: str, rule: dict[str, Any]) -> None:
        """Make a rule anew."""
        self.registry.set(RULES, name, json.dumps(rule, sort_keys=True))

    def open_to(self, port: int) -> bool:
        """Whether anything from outside may reach a TCP port."""
        return any(r["port"] == port and r["protocol"] == "TCP" for r in self.rules().values())

    # Permissions

    def _acl_name(self, path: Path) -> str:
        return str(path.relative_to(self.c)).lower()

    def acl(self, path: Path) -> list[dict[str, str]] | None:
        """The allow entries that were set; ``None`` where permissions are inherited."""
        text = self.registry.data(PERMISSIONS, self._acl_name(path))
        return None if text is None else list(json.loads(text))

    def set_acl(self, path: Path, entries: list[dict[str, str]] | None) -> None:
        """Set exactly these entries, or let them be inherited."""
        name = self._acl_name(path)
        if entries is None:
            self.registry.delete(PERMISSIONS, name)
        else:
            self.registry.set(PERMISSIONS, name, json.dumps(entries))

    def private(self, path: Path) -> bool:
        """Whether just SYSTEM and Administrators have full control, as sshd insists."""
        entries = self.acl(path) or []
        have = {(entry["identity"], entry["rights"]) for entry in entries}
        return have == {(SYSTEM, "FullControl"), (ADMINISTRATORS, "FullControl")}

    # Names and restarts

    @property
    def name(self) -> str:
        """The computer's name."""
        return str(self.registry.data(COMPUTER, "ComputerName", "WINDOWS"))

    def rename(self, name: str) -> None:
        """Give the computer a name, at once."""
        self.registry.set(COMPUTER, "ComputerName", name)

    @property
    def restart_pending(self) -> bool:
        """Whether Windows waits for a restart."""
        return bool(self.registry.values(PENDING))

    def waits_for_restart(self, why: str) -> bool:
        """Whether a restart is needed for this very reason."""
        return self.registry.get(PENDING, why) is not None

    def need_restart(self, why: str) -> None:
        """Remember that a restart is needed; the next boot forgets it."""
        self.registry.set(PENDING, why, 1, "DWord")


def mounted() -> dict[str, Path]:
    """Drive letters of what is mounted now: discs from D: on, the host's share at Z:."""
    mounts = [line.split()[1].replace("\\040", " ") for line in _mounts()]
    media = sorted(target for target in mounts if target.startswith("/run/media/"))
    found = {chr(ord("D") + n): Path(target) for n, target in enumerate(media)}
    return found | ({"Z": Path("/Z:")} if "/Z:" in mounts else {})


def _mounts() -> list[str]:
    try:
        return Path("/proc/mounts").read_text().splitlines()
    except OSError as error:  # not on Linux's own /proc: a test
        linux.log(str(error))
        return []
