"""Seeded defects: each kind of mistake put into a correct answer file, and whether lint finds it.

``python -m tests.unit.answers.mutations`` prints kinds, caught, missed and false alarms as a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.answers.findings import Finding
from pipeline.answers.passwords import encode
from pipeline.answers.validate import validate
from pipeline.definitions.model import Firmware, Machine, Release
from tests.unit.answers import samples

Change = Callable[[str], str]
LONG = "x" * 300


@dataclass(frozen=True, slots=True)
class Mutation:
    """A kind of mistake: the rule that must find it, the file it is put into, and how."""

    kind: str
    rule: str
    base: str
    change: Change

    def findings(self) -> list[Finding]:
        """What lint says of the mutated file."""
        return validate(self.mutated().encode(), "mutated.xml")

    def mutated(self) -> str:
        """The file with the mistake in it."""
        original = bases()[self.base]
        mutated = self.change(original)
        assert mutated != original, f"{self.kind}: the mutation changes nothing"
        return mutated

    def caught(self) -> bool:
        """Whether the rule that should find it did."""
        return any(finding.rule == self.rule for finding in self.findings())


def bases() -> dict[str, str]:
    """The correct files that mistakes are put into."""
    uefi = samples.image(Release.WINDOWS_11)
    bios = samples.image(Release.SERVER_2022, Machine(firmware=Firmware.BIOS))
    domain = (samples.FOREIGN / "server-domain.xml").read_text()
    client = (samples.FOREIGN / "client-bios.xml").read_text()
    return {
        "uefi": samples.answers(uefi)["autounattend.xml"],
        "bios": samples.answers(bios)["autounattend.xml"],
        "oobe": samples.answers(uefi)["unattend-oobe.xml"],
        "domain": domain,
        "client": client,
    }


def swap(old: str, new: str, which: int = 0) -> Change:
    """Put ``new`` where the ``which``-th ``old`` stands."""

    def change(text: str) -> str:
        parts = text.split(old)
        assert len(parts) > which + 1, f"the file has no {old!r} number {which}"
        return old.join(parts[: which + 1]) + new + old.join(parts[which + 1 :])

    return change


def drop(old: str, which: int = 0) -> Change:
    """Remove the ``which``-th ``old``."""
    return swap(old, "", which)


def element(name: str, new: str, which: int = 0) -> Change:
    """Replace the ``which``-th element ``name``, whatever it holds."""

    def change(text: str) -> str:
        found = list(re.finditer(rf"<{name}(?: [^>]*)?>.*?</{name}>", text, re.DOTALL))
        assert len(found) > which, f"the file has no element {name} number {which}"
        start, end = found[which].span()
        return text[:start] + new + text[end:]

    return change


def within(name: str, change: Change, which: int = 0) -> Change:
    """Apply ``change`` inside the ``which``-th element ``name``."""

    def outer(text: str) -> str:
        found = list(re.finditer(rf"<{name}(?: [^>]*)?>.*?</{name}>", text, re.DOTALL))
        start, end = found[which].span()
        return text[:start] + change(text[start:end]) + text[end:]

    return outer


def again(name: str, which: int = 0) -> Change:
    """Write the ``which``-th element ``name`` twice."""

    def change(text: str) -> str:
        found = list(re.finditer(rf"<{name}(?: [^>]*)?>.*?</{name}>", text, re.DOTALL))
        end = found[which].end()
        return text[:end] + found[which][0] + text[end:]

    return change


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(text: str) -> str:
        for one in changes:
            text = one(text)
        return text

    return change


def in_pass(old: str, new: str) -> Change:
    """Give a pass another name."""
    return swap(f'pass="{old}"', f'pass="{new}"')


ADD = ' wcm:action="add"'
TOKEN = 'publicKeyToken="31bf3856ad364e35"'
WRONG_SUFFIX = encode("secret", "AdministratorPassword")
OTHER = encode("another.Password-0", "Password")
UTF8 = "c2VjcmV0UGFzc3dvcmQ="  # Base64 over the wrong encoding

MUTATIONS = (
    # the file and its envelope
    Mutation("tag not closed", "xml", "uefi", drop("</OSImage>")),
    Mutation("ampersand not escaped", "xml", "uefi", swap("&amp;", "&")),
    Mutation("unknown entity", "xml", "uefi", swap("&amp;", "&nbsp;")),
    Mutation("document type", "doctype", "uefi", swap("<unattend ", "<!DOCTYPE unattend [<!ENTITY a 'b'>]>\n<unattend ")),
    Mutation("other root", "root", "oobe", lambda text: "<answers/>" if text else ""),
    Mutation("no namespace", "namespace", "oobe", drop(' xmlns="urn:schemas-microsoft-com:unattend"')),
    Mutation("misspelt namespace", "namespace", "oobe", swap("com:unattend", "com:unatend")),
    Mutation("element of another namespace", "namespace", "uefi", swap("<TimeZone>", '<TimeZone xmlns="urn:x">')),
    Mutation("file far too large", "size", "oobe", lambda text: text + " " * (1 << 20)),
    Mutation("unknown pass", "envelope", "uefi", in_pass("specialize", "specialise")),
    Mutation("pass in other capitals", "envelope", "uefi", in_pass("windowsPE", "windowspe")),
    Mutation("pass missing", "envelope", "uefi", drop(' pass="oobeSystem"')),
    Mutation("pass given twice", "envelope", "uefi", in_pass("specialize", "oobeSystem")),
    Mutation("architecture missing", "envelope", "uefi", drop(' processorArchitecture="amd64"')),
    Mutation("architecture x64", "envelope", "uefi", swap('"amd64"', '"x64"')),
    Mutation("token missing", "envelope", "uefi", drop(f" {TOKEN}")),
    Mutation("token too short", "envelope", "uefi", swap("31bf3856ad364e35", "31bf3856ad364e3")),
    Mutation("token of somebody else", "token", "uefi", swap("31bf3856ad364e35", "b03f5f7f11d50a3a")),
    Mutation("version scope missing", "envelope", "uefi", drop(' versionScope="nonSxS"')),
    Mutation("component outside a pass", "envelope", "oobe", both(drop('<settings pass="generalize">'), drop("</settings>"))),
    # components and settings
    Mutation("component misspelt", "component-unknown", "uefi", swap("Microsoft-Windows-Deployment", "Microsoft-Windows-Deploymnt")),
    Mutation("component in a pass without settings of it", "component-pass", "uefi", in_pass("windowsPE", "offlineServicing")),
    Mutation("component given twice", "component-twice", "uefi", again("component", 1)),
    Mutation("setting in the wrong pass", "setting-pass", "uefi", both(drop("<ComputerName>golden-build</ComputerName>"), swap("<OOBE>", "<ComputerName>golden-build</ComputerName><OOBE>"))),
    Mutation("OOBE in specialize", "setting-pass", "uefi", swap("<ComputerName>", "<OOBE><HideEULAPage>true</HideEULAPage></OOBE><ComputerName>")),
    Mutation("setting misspelt", "setting-unknown", "uefi", element("HideEULAPage", "<HideEulaPage>true</HideEulaPage>")),
    Mutation("setting one level too deep", "setting-unknown", "uefi", swap("<DiskID>0</DiskID>", "<DiskID>0</DiskID><WillShowUI>Never</WillShowUI>")),
    Mutation("setting given twice", "setting-twice", "uefi", again("ComputerName")),
    Mutation("text in a group", "setting-group", "uefi", swap("<OOBE>", "<OOBE>yes")),
    Mutation("group given as a value", "setting-group", "uefi", element("OOBE", "<OOBE>true</OOBE>")),
    Mutation("empty value", "setting-empty", "domain", element("RegisteredOrganization", "<RegisteredOrganization/>")),
    # lists
    Mutation("wcm:action missing on a disk", "list-action", "uefi", swap(f"<Disk{ADD}>", "<Disk>")),
    Mutation("wcm:action missing on a command", "list-action", "uefi", swap(f"<SynchronousCommand{ADD}>", "<SynchronousCommand>")),
    Mutation("wcm:action missing on an account", "list-action", "uefi", swap(f"<LocalAccount{ADD}>", "<LocalAccount>")),
    Mutation("wcm:action unknown", "list-action", "uefi", swap('action="add"', 'action="insert"')),
    Mutation("wcm namespace misspelt", "list-action", "uefi", swap("WMIConfig/2002/State", "WMIConfig/2002/state")),
    Mutation("wcm:keyValue missing", "list-key", "uefi", drop(' wcm:keyValue="3"')),
    Mutation("wcm:keyValue twice", "list-key", "uefi", swap('wcm:keyValue="2"', 'wcm:keyValue="1"')),
    Mutation("Order missing", "order-missing", "uefi", within("RunSynchronous", element("Order", ""))),
    Mutation("Order twice among commands", "order-duplicate", "uefi", within("FirstLogonCommands", swap("<Order>2<", "<Order>1<"))),
    Mutation("Order twice among partitions", "order-duplicate", "uefi", within("CreatePartitions", swap("<Order>3<", "<Order>2<"))),
    Mutation("Order with a gap among partitions", "order-gap", "uefi", within("ModifyPartitions", swap("<Order>3<", "<Order>4<"))),
    Mutation("Order from zero", "order", "uefi", within("RunSynchronous", swap("<Order>1<", "<Order>0<"))),
    Mutation("Order above 500", "order", "uefi", within("RunSynchronous", swap("<Order>2<", "<Order>501<"))),
    Mutation("Order no number", "order", "uefi", within("RunSynchronous", swap("<Order>2<", "<Order>two<"))),
    # values
    Mutation("Boolean yes", "boolean", "uefi", swap("<HideEULAPage>true", "<HideEULAPage>yes")),
    Mutation("WillShowUI unknown", "will-show-ui", "uefi", swap("OnError", "OnFailure")),
    Mutation("WillReboot unknown", "will-reboot", "oobe", swap("</Path>", "</Path><WillReboot>Maybe</WillReboot>")),
    Mutation("ProtectYourPC out of range", "protect-your-pc", "uefi", swap("<ProtectYourPC>3", "<ProtectYourPC>4")),
    Mutation("NetworkLocation unknown", "network-location", "client", swap("<NetworkLocation>Home", "<NetworkLocation>Public")),
    Mutation("ComputerName too long", "computer-name", "uefi", swap("golden-build", "golden-build-host")),
    Mutation("ComputerName too long in bytes", "computer-name", "uefi", swap("golden-build", "größe-größe-gr")),
    Mutation("ComputerName digits alone", "computer-name", "uefi", swap("golden-build", "20251126")),
    Mutation("ComputerName with a dot", "computer-name", "uefi", swap("golden-build", "golden.build")),
    Mutation("ComputerName with a space", "computer-name", "uefi", swap("golden-build", "golden build")),
    Mutation("time zone of IANA", "time-zone", "uefi", swap("<TimeZone>UTC", "<TimeZone>Europe/Berlin")),
    Mutation("time zone misspelt", "time-zone", "client", swap("W. Europe Standard Time", "W Europe Standard Time")),
    Mutation("language with an underscore", "language", "uefi", swap("<UILanguage>en-US", "<UILanguage>en_US")),
    Mutation("keyboard without its language", "input-locale", "uefi", swap("0409:00000409", "00000409")),
    Mutation("owner too long", "owner-length", "uefi", swap("Golden Windows", LONG)),
    Mutation("product key empty", "product-key", "uefi", swap("<ProductKey>", "<ProductKey><Key></Key>")),
    Mutation("product key malformed", "product-key", "client", swap("ABCDE-FGHIJ", "ABCDE-FGHI")),
    Mutation("SkipRearm out of range", "skip-rearm", "oobe", swap('<component name="Microsoft-Windows-PnpSysprep"', '<component name="Microsoft-Windows-Security-SPP" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"><SkipRearm>2</SkipRearm></component><component name="Microsoft-Windows-PnpSysprep"')),
    # disks
    Mutation("Size with Extend", "partition-extent", "uefi", swap("<Extend>true", "<Size>40000</Size><Extend>true")),
    Mutation("neither Size nor Extend", "partition-extent", "uefi", drop("<Size>16</Size>")),
    Mutation("Extend=false and no Size", "partition-extent", "uefi", swap("<Extend>true", "<Extend>false")),
    Mutation("Size with a unit", "partition-size", "uefi", swap("<Size>260", "<Size>260 MB")),
    Mutation("Size zero", "partition-size", "uefi", swap("<Size>260", "<Size>0")),
    Mutation("partition after the one that extends", "partition-last", "uefi", both(swap("<Size>260</Size>", "<Extend>true</Extend>"))),
    Mutation("partition type unknown", "partition-type", "uefi", swap("<Type>EFI", "<Type>ESP")),
    Mutation("partition without a type", "partition-no-type", "bios", element("Type", "")),
    Mutation("format unknown", "partition-format", "bios", swap("<Format>NTFS", "<Format>EXT4")),
    Mutation("Extended on GPT", "partition-table", "uefi", swap("<Type>Primary", "<Type>Extended")),
    Mutation("active partition on GPT", "partition-table", "uefi", swap("<Format>NTFS", "<Active>true</Active><Format>NTFS")),
    Mutation("five primary partitions on MBR", "partition-table", "client", swap("<CreatePartitions>", "<CreatePartitions>" + "".join(f'<CreatePartition wcm:action="add"><Order>{n}</Order><Type>Primary</Type><Size>100</Size></CreatePartition>' for n in (4, 5)))),
    Mutation("EFI partition too small", "partition-esp", "uefi", swap("<Size>260", "<Size>64")),
    Mutation("EFI partition on NTFS", "partition-esp", "uefi", swap("<Format>FAT32", "<Format>NTFS")),
    Mutation("EFI partition not formatted", "partition-esp", "uefi", drop("<Format>FAT32</Format>")),
    Mutation("no active partition on MBR", "partition-active", "bios", drop("<Active>true</Active>")),
    Mutation("two active partitions", "partition-active", "client", swap("<Label>WinRE", "<Active>true</Active><Label>WinRE")),
    Mutation("MSR formatted", "modify-allowed", "uefi", swap("<PartitionID>2</PartitionID>", "<PartitionID>2</PartitionID><Format>NTFS</Format>")),
    Mutation("type of an EFI partition changed", "modify-allowed", "uefi", swap("<Format>FAT32", "<TypeID>0x27</TypeID><Format>FAT32")),
    Mutation("modifying a partition that is not created", "modify-target", "uefi", within("ModifyPartitions", swap("<PartitionID>2<", "<PartitionID>7<"))),
    Mutation("modifying a partition twice", "modify-target", "uefi", within("ModifyPartitions", swap("<PartitionID>2<", "<PartitionID>1<"))),
    Mutation("PartitionID missing", "modify-target", "uefi", within("ModifyPartitions", element("PartitionID", ""))),
    Mutation("letter given twice", "partition-letters", "domain", swap("<Letter>D<", "<Letter>C<")),
    Mutation("letter with a colon", "partition-letter", "client", swap("<Letter>C", "<Letter>C:")),
    Mutation("TypeID malformed", "partition-type-id", "client", swap("0x27", "27")),
    Mutation("label too long", "partition-label", "uefi", swap("<Label>Windows", f"<Label>{LONG}")),
    Mutation("disk configured twice", "disk-duplicate", "domain", swap("<DiskID>1<", "<DiskID>0<")),
    Mutation("disk without a DiskID", "disk-duplicate", "uefi", drop("<DiskID>0</DiskID>")),
    Mutation("DiskID no number", "disk-id", "uefi", swap("<DiskID>0", "<DiskID>first")),
    # where and what to install
    Mutation("InstallTo pointing nowhere", "install-to", "uefi", within("InstallTo", swap("<PartitionID>3", "<PartitionID>4"))),
    Mutation("InstallTo the MSR partition", "install-to", "uefi", within("InstallTo", swap("<PartitionID>3", "<PartitionID>2"))),
    Mutation("InstallTo another disk", "install-to", "uefi", within("InstallTo", swap("<DiskID>0", "<DiskID>1"))),
    Mutation("InstallTo without a partition", "install-to", "uefi", within("InstallTo", element("PartitionID", ""))),
    Mutation("Windows on FAT32", "install-to", "bios", swap("<Format>NTFS</Format>", "<Format>FAT32</Format>", 1)),
    Mutation("Windows partition not formatted", "install-to", "uefi", drop("<Format>NTFS</Format>")),
    Mutation("InstallTo and InstallToAvailablePartition", "image-target", "uefi", swap("<InstallFrom>", "<InstallToAvailablePartition>true</InstallToAvailablePartition><InstallFrom>")),
    Mutation("no target at all", "image-target", "uefi", element("InstallTo", "")),
    Mutation("image key unknown", "image-key", "uefi", swap("/IMAGE/NAME", "/IMAGE/EDITION")),
    Mutation("image key in lower case", "image-key", "uefi", swap("/IMAGE/NAME", "/image/name")),
    Mutation("index no number", "image-choice", "client", swap("<Value>6<", "<Value>Windows 10 Pro<")),
    Mutation("MetaData without Value", "image-choice", "uefi", within("MetaData", element("Value", ""))),
    Mutation("no edition chosen", "image-choice", "uefi", element("MetaData", "")),
    Mutation("licence refused", "eula", "uefi", swap("<AcceptEula>true", "<AcceptEula>false")),
    Mutation("licence not mentioned", "eula", "uefi", element("AcceptEula", "")),
    Mutation("no language for Setup", "language-page", "uefi", element("SetupUILanguage", "")),
    Mutation("no WinPE language component", "language-page", "uefi", element("component", "")),
    Mutation("driver path relative", "driver-path", "uefi", swap("<Path>D:\\", "<Path>")),
    Mutation("driver path missing", "driver-path", "uefi", within("PathAndCredentials", element("Path", ""))),
    # accounts
    Mutation("password with the suffix of another element", "password-form", "uefi", element("Value", f"<Value>{WRONG_SUFFIX}</Value>", 1)),
    Mutation("password Base64 over UTF-8", "password-form", "uefi", element("Value", f"<Value>{UTF8}</Value>", 1)),
    Mutation("password no Base64", "password-form", "uefi", element("Value", "<Value>pass word!</Value>", 1)),
    Mutation("administrator's password with the suffix of a user's", "password-form", "bios", within("AdministratorPassword", element("Value", f"<Value>{OTHER}</Value>"))),
    Mutation("password in plain text", "password-plain", "uefi", within("AutoLogon", element("Password", "<Password><Value>secret</Value><PlainText>true</PlainText></Password>"))),
    Mutation("PlainText missing", "password-plain", "uefi", within("AutoLogon", element("PlainText", ""))),
    Mutation("account without a name", "account-missing-name", "uefi", within("LocalAccount", element("Name", ""))),
    Mutation("account given twice", "account-missing-name", "uefi", again("LocalAccount")),
    Mutation("account that exists already", "account-missing-name", "uefi", within("LocalAccount", swap("<Name>golden", "<Name>Administrator"))),
    Mutation("account name too long", "account-name", "uefi", within("LocalAccount", swap("<Name>golden", "<Name>golden-golden-golden-x"))),
    Mutation("account name with a slash", "account-name", "uefi", within("LocalAccount", swap("<Name>golden", "<Name>EXAMPLE\\golden"))),
    Mutation("account without a group", "account-groupless", "uefi", element("Group", "")),
    Mutation("account called like the computer", "account-computer", "uefi", swap("golden-build", "GOLDEN")),
    Mutation("automatic logon of nobody", "autologon", "uefi", element("Username", "")),
    Mutation("automatic logon of an account that is not made", "autologon", "uefi", swap("<Username>golden", "<Username>goldie")),
    Mutation("automatic logon without a password", "autologon", "uefi", within("AutoLogon", element("Password", ""))),
    Mutation("automatic logon without an end", "autologon-count", "uefi", element("LogonCount", "")),
    Mutation("LogonCount zero", "logon-count", "uefi", swap("<LogonCount>1", "<LogonCount>0")),
    Mutation("automatic logon with another password", "autologon-password", "uefi", within("AutoLogon", element("Value", f"<Value>{OTHER}</Value>"))),
    # commands
    Mutation("command of 260 characters", "command-length", "uefi", swap("cmd /c echo GOLDEN pass specialize", "cmd /c echo " + "x" * (260 - 18))),
    Mutation("first-logon command of 1025 characters", "command-length", "uefi", swap("powershell.exe -NoProfile", "powershell.exe " + "x" * 1025)),
    Mutation("description too long", "description-length", "uefi", swap("</CommandLine>", f"</CommandLine><Description>{LONG}</Description>")),
    Mutation("command missing", "command-missing", "uefi", within("FirstLogonCommands", element("CommandLine", ""))),
    Mutation("command empty", "command-length", "uefi", within("FirstLogonCommands", element("CommandLine", "<CommandLine></CommandLine>"))),
    Mutation("built-in command without cmd", "command-built-in", "uefi", swap("cmd /c echo GOLDEN pass specialize", "echo GOLDEN pass specialize")),
    Mutation("redirection without cmd", "command-built-in", "uefi", swap("/d 1 /f<", "/d 1 /f &gt; NUL<")),
    Mutation("digit before >", "command-handle", "uefi", swap("pass specialize&gt;", "pass 4&gt;")),
    Mutation("wmic", "command-gone", "domain", swap("net user administrator", "wmic useraccount")),
    Mutation("command that waits for a key", "command-interactive", "uefi", swap("pass specialize&gt; COM1", "pass specialize&gt; COM1 &amp; pause")),
)


def false_alarms() -> list[str]:
    """Findings on files that are right."""
    return [
        finding.text(name)
        for name, data in samples.correct().items()
        for finding in validate(data, name)
    ]


def main() -> None:
    """Print the table."""
    width = max(len(mutation.kind) for mutation in MUTATIONS)
    missed = 0
    for mutation in MUTATIONS:
        caught = mutation.caught()
        missed += not caught
        print(f"{mutation.kind:{width}}  {mutation.rule:22}  {'caught' if caught else 'MISSED'}")
    alarms = false_alarms()
    print("\n".join(alarms))
    kinds = len(MUTATIONS)
    print(f"kinds {kinds}, caught {kinds - missed}, missed {missed};", end=" ")
    print(f"correct files {len(samples.correct())}, false alarms {len(alarms)}")


if __name__ == "__main__":
    main()
