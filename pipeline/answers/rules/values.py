"""The table of values: which setting takes what, and where that is known from.

A pattern is a component and a setting's path; ``*`` stands for anything, ``/`` included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from pipeline.answers.document import Document, text
from pipeline.answers.rules import checks
from pipeline.answers.rules.checks import Boolean, Check, Choice, Integer, Length, Pattern
from pipeline.answers.rules.rule import RULES, Problem, Rule

REFERENCE = "Unattended Windows Setup Reference"


@dataclass(frozen=True, slots=True)
class Value:
    """Settings that match one of ``patterns`` take what ``check`` allows."""

    id: str
    patterns: tuple[str, ...]
    check: Check
    fact: str = REFERENCE


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
    Value("boolean", BOOLEANS, Boolean()),
    Value("will-show-ui", ("*/WillShowUI",), Choice(("Always", "OnError", "Never"))),
    Value("will-reboot", ("*/WillReboot",), Choice(("Always", "OnRequest", "Never"))),
    Value(
        "partition-type",
        ("*/CreatePartition/Type",),
        Choice(("Primary", "EFI", "Extended", "Logical", "MSR")),
    ),
    Value("partition-format", ("*/ModifyPartition/Format",), Choice(("NTFS", "FAT32"))),
    Value("partition-size", ("*/CreatePartition/Size",), Integer(1, 2**31 - 1)),
    Value(
        "partition-letter", ("*/ModifyPartition/Letter",), Pattern("[C-Zc-z]", "a letter C to Z")
    ),
    Value("partition-label", ("*/ModifyPartition/Label",), Length(32, "label")),
    Value(
        "partition-type-id",
        ("*/ModifyPartition/TypeID",),
        Pattern(
            r"0[xX][0-9A-Fa-f]{2}|\{?[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}?",
            "a type: 0x27 on MBR, a GUID on GPT",
        ),
    ),
    Value("disk-id", ("*/DiskID",), Integer(0, 255)),
    Value("partition-id", ("*/PartitionID",), Integer(1, 128)),
    Value("order", ("*/RunSynchronous/*/Order", "*/RunAsynchronous/*/Order"), Integer(1, 500)),
    Value("order", ("*Partitions/*/Order", "*Commands/*/Order"), Integer(1, 2**31 - 1)),
    Value(
        "command-length", ("*/RunSynchronousCommand/Path",), Length(259, "command"), PROCESS_LIMIT
    ),
    Value(
        "command-length", ("*/RunAsynchronousCommand/Path",), Length(259, "command"), PROCESS_LIMIT
    ),
    Value("command-length", ("*/CommandLine",), Length(1024, "command")),
    Value("description-length", ("*Command/Description",), Length(256, "description")),
    Value(
        "image-key",
        ("*/InstallFrom/MetaData/Key",),
        Choice(("/IMAGE/INDEX", "/IMAGE/NAME", "/IMAGE/DESCRIPTION")),
    ),
    Value("image-value", ("*/InstallFrom/MetaData/Value",), Length(256, "value")),
    Value(
        "product-key",
        ("*/UserData/ProductKey/Key", "Microsoft-Windows-Shell-Setup/ProductKey"),
        checks.product_key,
        "an empty key stops Setup of 2019 and 2022; leave it out and keep WillShowUI",
    ),
    Value("owner-length", ("*/UserData/FullName", "*/UserData/Organization"), Length(63, "text")),
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
    Value("account-group", ("*/LocalAccount/Group",), Length(256, "list of groups")),
    Value("logon-count", ("*/AutoLogon/LogonCount",), Integer(1, 2**31 - 1)),
    Value("protect-your-pc", ("*/OOBE/ProtectYourPC",), Integer(1, 3)),
    Value("network-location", ("*/OOBE/NetworkLocation",), Choice(("Home", "Work", "Other"))),
    Value("reseal-mode", ("*/Reseal/Mode", "*/Generalize/Mode"), Choice(("Audit", "OOBE"))),
    Value("skip-rearm", ("Microsoft-Windows-Security-SPP/SkipRearm",), Integer(0, 1)),
    Value("language", LANGUAGES, checks.language),
    Value("input-locale", ("*/InputLocale",), checks.input_locale),
    Value("layered-driver", ("*/LayeredDriver",), Integer(0, 6)),
    Value(
        "time-zone",
        ("*/TimeZone",),
        checks.time_zone,
        "names are those of the registry, not IANA's; a wrong one fails the pass",
    ),
    Value("driver-path", ("*/PathAndCredentials/Path",), Length(259, "path")),
)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*"))


def _judge(row: Value, document: Document) -> Iterator[Problem]:
    patterns = [_compiled(pattern) for pattern in row.patterns]
    for component in document.components:
        for path, element in component.settings():
            here = f"{component.name}/{path}"
            named = any(pattern.fullmatch(here) for pattern in patterns)
            if named and (wrong := row.check(text(element))):
                yield Problem(element, wrong.message, wrong.fix)


def _rule(row: Value) -> Rule:
    return Rule(row.id, row.fact, lambda document: _judge(row, document))


RULES.extend(_rule(row) for row in VALUES)
