"""The table of values: which setting takes what, and where that is known from.

A pattern is a component and a setting's path; ``*`` stands for anything, ``/`` included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.answers.document import Document, text
from pipeline.answers.rules import checks
from pipeline.answers.rules.checks import Boolean, Check, Choice, Integer, Length, Pattern
from pipeline.answers.rules.rule import RULES, Problem, Rule


@dataclass(frozen=True, slots=True)
class Value:
    """Settings that match one of ``patterns`` take what ``check`` allows."""

    id: str
    patterns: tuple[str, ...]
    check: Check
    fact: str


BOOLEANS = (
    *("*/DynamicUpdate/Enable", "*/AcceptEula", "*/WillWipeDisk", "*/Extend", "*/PlainText"),
    *("*/ModifyPartition/Active", "*/OOBE/Hide*", "*/OOBE/Skip*", "*/AutoLogon/Enabled"),
    *("*/RequiresUserInput", "*/fDenyTSConnections", "*/PreventDeviceEncryption"),
    *("*/UseConfigurationSet", "*/EnableFirewall", "*/EnableNetwork", "*/CopyProfile"),
    *("*/InstallToAvailablePartition", "*/DoNotOpenServerManagerAtLogon", "*/EnableLUA"),
    *("*/PersistAllDeviceInstalls", "*/DoNotCleanUpNonPresentDevices", "*/UpgradeData/Upgrade"),
    *("*/DisableAutoDaylightTimeSet", "*/IEHardenAdmin", "*/IEHardenUser", "*/DhcpEnabled"),
    *("*/SkipAutoActivation", "*/UninstallWindowsRE", "*/ForceShutdownNow", "*/Diagnostics/OptIn"),
    *("*/Compact", "*/FirewallGroup/Active", "*/DisableEncryptedDiskProvisioning"),
)
LANGUAGES = ("*/UILanguage", "*/UILanguageFallback", "*/SystemLocale", "*/UserLocale")
PROCESS_LIMIT = "Setup refuses a command of 260 characters or more: MAX_PATH with its final zero"

VALUES = (
    Value("boolean", BOOLEANS, Boolean(), "a Boolean setting is true or false"),
    Value(
        "will-show-ui",
        ("*/WillShowUI",),
        Choice(("Always", "OnError", "Never")),
        "WillShowUI is Always, OnError or Never",
    ),
    Value(
        "will-reboot",
        ("*/WillReboot",),
        Choice(("Always", "OnRequest", "Never")),
        "WillReboot is Always, OnRequest or Never",
    ),
    Value(
        "partition-type",
        ("*/CreatePartition/Type",),
        Choice(("Primary", "EFI", "Extended", "Logical", "MSR")),
        "Type is Primary, EFI, Extended, Logical or MSR",
    ),
    Value(
        "partition-format",
        ("*/ModifyPartition/Format",),
        Choice(("NTFS", "FAT32")),
        "Setup formats partitions as NTFS or FAT32",
    ),
    Value(
        "partition-size",
        ("*/CreatePartition/Size",),
        Integer(1, 2**31 - 1),
        "Size is a whole number of megabytes",
    ),
    Value(
        "partition-letter",
        ("*/ModifyPartition/Letter",),
        Pattern("[C-Zc-z]", "a letter C to Z"),
        "Letter is one letter, C to Z",
    ),
    Value(
        "partition-label",
        ("*/ModifyPartition/Label",),
        Length(32, "label", empty=True),
        "a volume label has at most 32 characters",
    ),
    Value(
        "partition-type-id",
        ("*/ModifyPartition/TypeID",),
        Pattern(
            r"0[xX][0-9A-Fa-f]{2}|\{?[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}?",
            "a type: 0x27 on MBR, a GUID on GPT",
        ),
        "TypeID is a byte on MBR and a GUID on GPT",
    ),
    Value("disk-id", ("*/DiskID",), Integer(0, 255), "the first disk is 0"),
    Value(
        "partition-id",
        ("*/PartitionID",),
        Integer(1, 128),
        "partitions are numbered from 1; a GPT has room for 128",
    ),
    Value(
        "order",
        ("*/RunSynchronous/*/Order", "*/RunAsynchronous/*/Order"),
        Integer(1, 500),
        "a command's Order is 1 to 500",
    ),
    Value(
        "order",
        ("*Partitions/*/Order", "*Commands/*/Order"),
        Integer(1, 2**31 - 1),
        "Order counts from 1",
    ),
    Value(
        "command-length", ("*/RunSynchronousCommand/Path",), Length(259, "command"), PROCESS_LIMIT
    ),
    Value(
        "command-length", ("*/RunAsynchronousCommand/Path",), Length(259, "command"), PROCESS_LIMIT
    ),
    Value(
        "command-length",
        ("*/CommandLine",),
        Length(1024, "command"),
        "Windows takes a first-logon command of at most 1024 characters",
    ),
    Value(
        "description-length",
        ("*Command/Description",),
        Length(256, "description", empty=True),
        "a description has at most 256 characters",
    ),
    Value(
        "image-key",
        ("*/InstallFrom/MetaData/Key",),
        Choice(("/IMAGE/INDEX", "/IMAGE/NAME", "/IMAGE/DESCRIPTION")),
        "an image is chosen by /IMAGE/INDEX, /IMAGE/NAME or /IMAGE/DESCRIPTION",
    ),
    Value(
        "image-value",
        ("*/InstallFrom/MetaData/Value",),
        Length(256, "value"),
        "the value is the name, number or description in install.wim",
    ),
    Value(
        "product-key",
        ("*/UserData/ProductKey/Key", "Microsoft-Windows-Shell-Setup/ProductKey"),
        checks.product_key,
        "an empty key stops Setup of 2019 and 2022; leave it out and keep WillShowUI",
    ),
    Value(
        "owner-length",
        ("*/UserData/FullName", "*/UserData/Organization"),
        Length(63, "text", empty=True),
        "FullName and Organization have at most 63 characters",
    ),
    Value(
        "computer-name",
        ("Microsoft-Windows-Shell-Setup/ComputerName",),
        checks.computer_name,
        "a NetBIOS name; a bad one fails the specialize pass",
    ),
    Value(
        "account-name",
        ("*/LocalAccount/Name",),
        checks.account_name,
        "a local account's name in the account database has at most 20 characters",
    ),
    Value(
        "account-group",
        ("*/LocalAccount/Group",),
        Length(256, "list of groups", empty=True),
        "Group is a list of groups, by semicolon",
    ),
    Value(
        "logon-count",
        ("*/AutoLogon/LogonCount",),
        Integer(1, 2**31 - 1),
        "LogonCount is 1 or more; Windows adds one to it",
    ),
    Value(
        "protect-your-pc", ("*/OOBE/ProtectYourPC",), Integer(1, 3), "ProtectYourPC is 1, 2 or 3"
    ),
    Value(
        "network-location",
        ("*/OOBE/NetworkLocation",),
        Choice(("Home", "Work", "Other")),
        "NetworkLocation is Home, Work or Other",
    ),
    Value(
        "reseal-mode",
        ("*/Reseal/Mode", "*/Generalize/Mode"),
        Choice(("Audit", "OOBE")),
        "Mode is Audit or OOBE",
    ),
    Value(
        "skip-rearm",
        ("Microsoft-Windows-Security-SPP/SkipRearm",),
        Integer(0, 1),
        "SkipRearm is 0 or 1",
    ),
    Value(
        "language", LANGUAGES, checks.language, "a language is named as in RFC 5646, such as en-US"
    ),
    Value(
        "input-locale",
        ("*/InputLocale",),
        checks.input_locale,
        "InputLocale is a list of languages or of language:keyboard, by semicolon",
    ),
    Value("layered-driver", ("*/LayeredDriver",), Integer(0, 6), "LayeredDriver is 0 to 6"),
    Value(
        "time-zone",
        ("*/TimeZone",),
        checks.time_zone,
        "names are those of the registry, not IANA's; a wrong one fails the pass",
    ),
    Value(
        "driver-path",
        ("*/PathAndCredentials/Path",),
        Length(259, "path"),
        "a path has at most 259 characters",
    ),
)


def _pattern(row: Value) -> re.Pattern[str]:
    """All patterns of a row as one."""
    escaped = (re.escape(pattern).replace(r"\*", ".*") for pattern in row.patterns)
    return re.compile("|".join(escaped))


def _rule(row: Value) -> Rule:
    pattern = _pattern(row)

    def check(document: Document) -> Iterator[Problem]:
        for component, path, element in document.settings:
            named = pattern.fullmatch(f"{component.name}/{path}")
            if named and (wrong := row.check(text(element))):
                yield Problem(element, wrong.message, wrong.fix)

    return Rule(row.id, row.fact, check)


RULES.extend(_rule(row) for row in VALUES)
