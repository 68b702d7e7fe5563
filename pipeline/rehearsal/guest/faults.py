"""Faults: failures that are switched on by name, so that every failure path can be seen for real.

The names come with the kernel's parameter ``standin.faults=a,b``, from the medium or, once
installed, from the boot loader's settings on the disk.
"""

from __future__ import annotations

from . import linux

KNOWN = {
    "no-edition": "no edition of the medium is the wanted one: Setup waits at its list",
    "hang-windowsPE": "Setup stops without a word after the windowsPE commands",
    "hang-specialize": "the first boot of the installed system stops in specialize",
    "boot-loop": "the installed system restarts in specialize, for ever",
    "panic": "the installed system stops with a bugcheck on its first boot",
    "sshd-never": "the service sshd runs and nothing listens",
    "key-refused": "sshd answers and accepts no key",
    "first-logon-fails": "first-logon commands fail before they do anything",
    "bootstrap-fails": "the last step of the first logon fails",
    "step-fails": "the agent's last step fails",
    "no-storage-driver": "no storage driver binds, so Setup sees no disk",
    "early-power-off": "the machine switches itself off while it provisions",
    "no-power-off": "sealing ends and the machine stays on",
    "generalise-fails": "sysprep fails",
}


def active() -> frozenset[str]:
    """The faults of this boot."""
    return frozenset(filter(None, linux.command_line().get("standin.faults", "").split(",")))


def on(name: str) -> bool:
    """Whether a fault is switched on."""
    assert name in KNOWN
    return name in active()
