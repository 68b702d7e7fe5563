"""Mistakes in the layout of disks, and in what goes where."""

from __future__ import annotations

from tests.unit.answers.mutate import LONG, Mutation, both, drop, element, swap, within

PRIMARY = "<Type>Primary</Type><Size>100</Size></CreatePartition>"
FOURTH = f'<CreatePartition wcm:action="add"><Order>4</Order>{PRIMARY}'
FIFTH = f'<CreatePartition wcm:action="add"><Order>5</Order>{PRIMARY}'

MUTATIONS = (
    # disks
    Mutation(
        "Size with Extend",
        "partition-extent",
        "uefi",
        swap("<Extend>true", "<Size>40000</Size><Extend>true"),
    ),
    Mutation("neither Size nor Extend", "partition-extent", "uefi", drop("<Size>16</Size>")),
    Mutation(
        "Extend=false and no Size",
        "partition-extent",
        "uefi",
        swap("<Extend>true", "<Extend>false"),
    ),
    Mutation("Size with a unit", "partition-size", "uefi", swap("<Size>260", "<Size>260 MB")),
    Mutation("Size zero", "partition-size", "uefi", swap("<Size>260", "<Size>0")),
    Mutation(
        "partition after the one that extends",
        "partition-last",
        "uefi",
        both(swap("<Size>260</Size>", "<Extend>true</Extend>")),
    ),
    Mutation("partition type unknown", "partition-type", "uefi", swap("<Type>EFI", "<Type>ESP")),
    Mutation("partition without a type", "partition-no-type", "bios", element("Type", "")),
    Mutation("format unknown", "partition-format", "bios", swap("<Format>NTFS", "<Format>EXT4")),
    Mutation("Extended on GPT", "partition-table", "uefi", swap("<Type>Primary", "<Type>Extended")),
    Mutation(
        "active partition on GPT",
        "partition-table",
        "uefi",
        swap("<Format>NTFS", "<Active>true</Active><Format>NTFS"),
    ),
    Mutation(
        "five primary partitions on MBR",
        "partition-table",
        "client",
        swap(
            "<CreatePartitions>",
            f"<CreatePartitions>{FOURTH}{FIFTH}",
        ),
    ),
    Mutation("EFI partition too small", "partition-esp", "uefi", swap("<Size>260", "<Size>64")),
    Mutation(
        "EFI partition on NTFS", "partition-esp", "uefi", swap("<Format>FAT32", "<Format>NTFS")
    ),
    Mutation(
        "EFI partition not formatted", "partition-esp", "uefi", drop("<Format>FAT32</Format>")
    ),
    Mutation(
        "no active partition on MBR", "partition-active", "bios", drop("<Active>true</Active>")
    ),
    Mutation(
        "two active partitions",
        "partition-active",
        "client",
        swap("<Label>WinRE", "<Active>true</Active><Label>WinRE"),
    ),
    Mutation(
        "MSR formatted",
        "modify-allowed",
        "uefi",
        swap("<PartitionID>2</PartitionID>", "<PartitionID>2</PartitionID><Format>NTFS</Format>"),
    ),
    Mutation(
        "type of an EFI partition changed",
        "modify-allowed",
        "uefi",
        swap("<Format>FAT32", "<TypeID>0x27</TypeID><Format>FAT32"),
    ),
    Mutation(
        "modifying a partition that is not created",
        "modify-target",
        "uefi",
        within("ModifyPartitions", swap("<PartitionID>2<", "<PartitionID>7<")),
    ),
    Mutation(
        "modifying a partition twice",
        "modify-target",
        "uefi",
        within("ModifyPartitions", swap("<PartitionID>2<", "<PartitionID>1<")),
    ),
    Mutation(
        "PartitionID missing",
        "modify-target",
        "uefi",
        within("ModifyPartitions", element("PartitionID", "")),
    ),
    Mutation(
        "PartitionID zero",
        "partition-id",
        "uefi",
        within("ModifyPartitions", swap("<PartitionID>1<", "<PartitionID>0<")),
    ),
    Mutation(
        "PartitionID above 128",
        "partition-id",
        "uefi",
        within("InstallTo", swap("<PartitionID>3<", "<PartitionID>129<")),
    ),
    Mutation("letter given twice", "partition-letters", "domain", swap("<Letter>D<", "<Letter>C<")),
    Mutation("letter with a colon", "partition-letter", "client", swap("<Letter>C", "<Letter>C:")),
    Mutation("TypeID malformed", "partition-type-id", "client", swap("0x27", "27")),
    Mutation("label too long", "partition-label", "uefi", swap("<Label>Windows", f"<Label>{LONG}")),
    Mutation("disk configured twice", "disk-duplicate", "domain", swap("<DiskID>1<", "<DiskID>0<")),
    Mutation("disk without a DiskID", "disk-duplicate", "uefi", drop("<DiskID>0</DiskID>")),
    Mutation("DiskID no number", "disk-id", "uefi", swap("<DiskID>0", "<DiskID>first")),
    # where and what to install
    Mutation(
        "InstallTo pointing nowhere",
        "install-to",
        "uefi",
        within("InstallTo", swap("<PartitionID>3", "<PartitionID>4")),
    ),
    Mutation(
        "InstallTo the MSR partition",
        "install-to",
        "uefi",
        within("InstallTo", swap("<PartitionID>3", "<PartitionID>2")),
    ),
    Mutation(
        "InstallTo another disk",
        "install-to",
        "uefi",
        within("InstallTo", swap("<DiskID>0", "<DiskID>1")),
    ),
    Mutation(
        "InstallTo without a partition",
        "install-to",
        "uefi",
        within("InstallTo", element("PartitionID", "")),
    ),
    Mutation(
        "Windows on FAT32",
        "install-to",
        "bios",
        swap("<Format>NTFS</Format>", "<Format>FAT32</Format>", 1),
    ),
    Mutation(
        "Windows partition not formatted", "install-to", "uefi", drop("<Format>NTFS</Format>")
    ),
    Mutation(
        "InstallTo and InstallToAvailablePartition",
        "image-target",
        "uefi",
        swap(
            "<InstallFrom>",
            "<InstallToAvailablePartition>true</InstallToAvailablePartition><InstallFrom>",
        ),
    ),
    Mutation("no target at all", "image-target", "uefi", element("InstallTo", "")),
    Mutation("image key unknown", "image-key", "uefi", swap("/IMAGE/NAME", "/IMAGE/EDITION")),
    Mutation("image key in lower case", "image-key", "uefi", swap("/IMAGE/NAME", "/image/name")),
    Mutation(
        "index no number", "image-choice", "client", swap("<Value>6<", "<Value>Windows 10 Pro<")
    ),
    Mutation(
        "MetaData without Value", "image-choice", "uefi", within("MetaData", element("Value", ""))
    ),
    Mutation(
        "name of an edition too long",
        "image-value",
        "uefi",
        within("MetaData", element("Value", f"<Value>{LONG}</Value>")),
    ),
    Mutation("no edition chosen", "image-choice", "uefi", element("MetaData", "")),
    Mutation("licence refused", "eula", "uefi", swap("<AcceptEula>true", "<AcceptEula>false")),
    Mutation("licence not mentioned", "eula", "uefi", element("AcceptEula", "")),
    Mutation("no language for Setup", "language-page", "uefi", element("SetupUILanguage", "")),
    Mutation("no WinPE language component", "language-page", "uefi", element("component", "")),
    Mutation("driver path relative", "driver-path", "uefi", swap("<Path>D:\\", "<Path>")),
    Mutation(
        "driver path missing",
        "driver-path",
        "uefi",
        within("PathAndCredentials", element("Path", "")),
    ),
)
