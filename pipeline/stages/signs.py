"""What logs say when something known went wrong, what it means, and what to do.

A table: the first row that a line matches explains it, and rows that come earlier tell more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sign:
    """A pattern in a log, its meaning and the remedy."""

    pattern: re.Pattern[str]
    meaning: str
    remedy: str


def _sign(pattern: str, meaning: str, remedy: str) -> Sign:
    return Sign(re.compile(pattern, re.IGNORECASE), meaning, remedy)


MEDIUM = "the medium is damaged or not the one that was pinned"
REFETCH = "compare the ISO's SHA-256 with its pin; purge it and fetch it again"

SIGNS: tuple[Sign, ...] = (
    # The stand-in of the rehearsal
    _sign(
        r"STAND-IN stopped: STAND_IN_BUG (.+)",
        "the rehearsal's stand-in itself is broken, not the image",
        "com1.log has its traceback; report it",
    ),
    # Sysprep
    _sign(
        r"Package (\S+) was installed for a user, but not provisioned for all users",
        "sysprep refuses to generalise: an app is there for one user only",
        "remove that package for all users in a step before seal, or keep the guest from updating "
        "its apps (it must have no network)",
    ),
    _sign(
        r"SYSPRP.*0x80310039|BitLocker.*(?:on|enabled)",
        "sysprep refuses to generalise an encrypted drive",
        "turn device encryption off in the answer file (PreventDeviceEncryption)",
    ),
    _sign(r"SYSPRP.*0x80073cf2", "sysprep found an app that it can't remove", "see setupact.log"),
    # Setup and its answer file
    _sign(
        r"could not parse or process (?:the )?unattend answer file.*pass \[?(\w+)",
        "Setup did not understand the answer file's settings of that pass",
        "run golden lint on the answer file; setupact.log names the component just before",
    ),
    _sign(
        r"setting (?:specified|in) .*(?:cannot be applied|is invalid)",
        "Setup did not take one setting of the answer file",
        "setupact.log names the component; a value may not exist in this release",
    ),
    _sign(
        r"No images are available|install\.wim.*not found|selected image.*could not be found"
        r"|can(?:no|')t find the edition",
        "the medium has no edition of the name that the image asks for",
        "run golden media on the ISO and correct the image's edition",
    ),
    _sign(
        r"cannot find the Microsoft Software License Terms|product key .*(?:not|match)",
        "the product key does not fit the edition",
        "leave the key out, or use the edition's own; see the image's definition",
    ),
    _sign(
        r"media driver your computer needs is missing|couldn.t find any drives"
        r"|We couldn.t find any drives|CD/DVD drive device driver is missing"
        r"|no (?:disk|drive)s? (?:was|were) found",
        "Setup sees no disk: the storage driver was not loaded",
        "see which drivers are on the build's disc under $WinPEDriver$, for this release",
    ),
    _sign(
        r"Windows could not complete the installation"
        r"|computer restarted unexpectedly or encountered an unexpected error",
        "Setup was interrupted in specialize or in oobeSystem",
        "setuperr.log in Windows\\Panther names what failed",
    ),
    _sign(
        r"INACCESSIBLE_BOOT_DEVICE|0x0000007b",
        "the installed Windows has no driver for its system disk",
        "viostor must be bound during Setup: see setupapi.dev.log",
    ),
    _sign(
        r"0x80070490",
        "something that was asked for is not there (an edition, a component, a driver's partner)",
        "the lines before it name what was looked for",
    ),
    _sign(r"0x8007000d|0x80070570|0xC1420127", MEDIUM, REFETCH),
    _sign(r"0x8007045d", "reading the medium failed", REFETCH),
    _sign(r"0x80070002|0x80070003", "a file that Setup needs was not found", REFETCH),
    _sign(r"0x80070070|0xC190020E", "the guest's disk is too small", "raise machine.disk"),
    _sign(r"0xC1900101", "a driver failed during Setup", "see setupapi.dev.log"),
    # Steps
    _sign(r"GOLDEN (?:step|plan|seal|firstboot) .*failed", "a step failed", "see its log"),
    _sign(r"Return value 3", "an MSI package failed in the action before that line", "see its log"),
    # The guest's system
    _sign(r"Kernel panic - not syncing", "the guest's kernel panicked", "see com1.log"),
    _sign(
        r"No bootable (?:option or )?device|No bootable option|UEFI Interactive Shell|^Shell>",
        "the firmware found nothing to boot from",
        "either the CD's prompt was not answered, or no boot loader was installed",
    ),
    # The host
    _sign(
        r"No space left on device|Disk quota exceeded",
        "the host's disk is full",
        "free space where the image is built, then run it again",
    ),
    _sign(
        r"Could not access KVM kernel module|failed to initialize kvm",
        "QEMU may not use /dev/kvm",
        "run golden doctor",
    ),
    _sign(
        r"Could not set up host forwarding rule|Address already in use",
        "the port is taken by another program",
        "choose another port, or none: a free one is found then",
    ),
    _sign(
        r'Failed to get "write" lock|Failed to lock byte',
        "another QEMU uses the disk",
        "end that machine first",
    ),
    _sign(
        r"(?:unshare|clone|pivot_root|mount).*(?:Operation not permitted|EPERM)"
        r"|Error (?:creating|entering) sandbox|Failed to create sandbox",
        "virtiofsd can't make its sandbox on this host",
        "run golden doctor; GOLDEN_VIRTIOFSD_SANDBOX=chroot|none chooses another",
    ),
    _sign(r"Permission denied", "the host refused access to a file or device", "run golden doctor"),
)


def explain(line: str) -> tuple[int, Sign] | None:
    """The sign in ``line`` and its rank (lower tells more)."""
    for rank, sign in enumerate(SIGNS):
        if sign.pattern.search(line):
            return rank, sign
    return None
