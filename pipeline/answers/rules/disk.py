"""Disks: partitions that can be made, modifications that can be applied, and where Windows goes.

Partition identities are those that a wiped disk gets: the order of creation, from 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.answers.document import Document, Element, at, first, number, text, true, value
from pipeline.answers.findings import Severity
from pipeline.answers.rules.rule import Problem, rule

SETUP = "Microsoft-Windows-Setup"
GPT_TYPES = frozenset({"EFI", "MSR"})
MBR_TYPES = frozenset({"Extended", "Logical"})
SMALLEST_ESP = 100
# What can be changed of a partition, by its type; of the others, nothing.
MODIFIABLE = {
    "Primary": frozenset({"Active", "Extend", "Format", "Letter", "Label", "TypeID"}),
    "Logical": frozenset({"Extend", "Format", "Letter", "Label", "TypeID"}),
    "EFI": frozenset({"Format", "Letter", "Label"}),
}
CHANGES = MODIFIABLE["Primary"]


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of DiskConfiguration, with its partitions by the number they will have."""

    element: Element
    id: int | None
    wiped: bool
    created: dict[int, Element]
    modified: list[Element]

    def type(self, partition: int) -> str:
        """The type of a partition that is created."""
        return value(self.created[partition], "Type")

    def of_type(self, kind: str) -> list[Element]:
        """The partitions created with the type ``kind``."""
        return [item for item in self.created.values() if value(item, "Type") == kind]

    def is_gpt(self) -> bool:
        """Whether the layout can only be a GPT."""
        return any(self.of_type(kind) for kind in GPT_TYPES)


def disks(document: Document) -> list[Disk]:
    """Every disk that the file configures."""
    return [_disk(element) for element in document.every(SETUP, "DiskConfiguration/Disk")]


def _disk(element: Element) -> Disk:
    created = {
        order: partition
        for partition in at(element, "CreatePartitions/CreatePartition")
        if (order := number(partition, "Order")) is not None
    }
    return Disk(
        element,
        number(element, "DiskID"),
        true(element, "WillWipeDisk"),
        dict(sorted(created.items())),
        at(element, "ModifyPartitions/ModifyPartition"),
    )


@rule(
    "disk-duplicate",
    "each disk is configured once",
    "put all partitions of a disk into one Disk",
)
def duplicate(document: Document) -> Iterator[Problem]:
    """Two disks with one DiskID; a disk without any."""
    seen: Counter[int | None] = Counter()
    for disk in disks(document):
        seen[disk.id] += 1
        if first(disk.element, "DiskID") is None:
            yield Problem(disk.element, "this disk has no DiskID", "the first disk is 0")
        elif seen[disk.id] > 1:
            yield Problem(disk.element, f"disk {disk.id} is configured twice")


@rule("partition-extent", "a partition takes Size or Extend=true, one of the two")
def extent(document: Document) -> Iterator[Problem]:
    """Partitions with both, or with neither."""
    for disk in disks(document):
        for partition in disk.created.values():
            sized, extended = first(partition, "Size") is not None, true(partition, "Extend")
            if sized and extended:
                yield Problem(partition, "Size and Extend=true exclude each other", "keep one")
            elif not sized and not extended:
                yield Problem(partition, "the partition has no size", "add Size or Extend=true")


@rule(
    "partition-last", "a partition that takes the rest of the disk leaves nothing for a later one"
)
def extended_is_last(document: Document) -> Iterator[Problem]:
    """A partition that is created after one that extends; logical ones lie inside Extended."""
    for disk in disks(document):
        extending: int | None = None
        for order, partition in disk.created.items():
            if extending is not None and value(partition, "Type") != "Logical":
                message = f"partition {extending} has taken the rest of the disk already"
                yield Problem(partition, message, "put the partition that extends last")
            if true(partition, "Extend") and value(partition, "Type") != "Extended":
                extending = order


@rule("partition-no-type", "every partition that is created has a Type")
def has_type(document: Document) -> Iterator[Problem]:
    """Created partitions without a type."""
    for disk in disks(document):
        for partition in disk.created.values():
            if first(partition, "Type") is None:
                yield Problem(partition, "the partition has no Type", "Primary, EFI, MSR …")


@rule(
    "partition-table",
    "EFI and MSR exist on GPT; Extended, Logical and Active on MBR",
    "EFI and MSR for UEFI; Primary, Extended and Logical for a BIOS",
)
def one_table(document: Document) -> Iterator[Problem]:
    """Layouts that no partition table can hold."""
    for disk in disks(document):
        if disk.is_gpt():
            for kind in sorted(MBR_TYPES):
                for partition in disk.of_type(kind):
                    yield Problem(partition, f"a GPT disk has no {kind} partitions")
            for change in disk.modified:
                if true(change, "Active"):
                    yield Problem(change, "a GPT disk has no active partition", "drop Active")
        elif len(disk.of_type("Primary")) + len(disk.of_type("Extended")) > 4:
            last = list(disk.created.values())[-1]
            yield Problem(last, "an MBR disk has at most four primary partitions")


@rule(
    "partition-esp",
    "the firmware starts Windows from a FAT32 EFI partition of 100 MB or more",
    "<Format>FAT32</Format> for the EFI partition",
)
def system_partition(document: Document) -> Iterator[Problem]:
    """EFI partitions that are too small, left unformatted or formatted otherwise."""
    for disk in disks(document):
        for order, partition in disk.created.items():
            if value(partition, "Type") != "EFI":
                continue
            size = number(partition, "Size")
            if size is not None and size < SMALLEST_ESP:
                yield Problem(partition, f"{size} MB is too small for an EFI partition", "Size 260")
            formats = [
                value(c, "Format") for c in disk.modified if number(c, "PartitionID") == order
            ]
            if not any(formats):
                yield Problem(partition, "nothing formats this EFI partition", "Format FAT32")
            elif formats[0] != "FAT32":
                yield Problem(partition, f"an EFI partition is FAT32, not {formats[0]}")


@rule(
    "partition-active",
    "a BIOS starts the active partition of an MBR disk",
    "one <Active>true</Active>, on the partition that the BIOS starts",
)
def active(document: Document) -> Iterator[Problem]:
    """A wiped MBR disk that gets Windows and has no active partition, or has two."""
    targets = {number(target, "DiskID") for target, _ in _targets(document)}
    for disk in disks(document):
        marked = [change for change in disk.modified if true(change, "Active")]
        if len(marked) > 1:
            yield Problem(marked[1], "a second partition is marked active")
        if disk.wiped and disk.created and not disk.is_gpt() and not marked and disk.id in targets:
            yield Problem(
                disk.element,
                "no partition of this MBR disk is active",
                "Active=true on the system partition",
                Severity.WARNING,
            )


@rule(
    "modify-target",
    "a modification names a partition that exists",
    "write the PartitionID of a partition that this file creates, once",
)
def modify_target(document: Document) -> Iterator[Problem]:
    """Modifications of a partition that a wiped disk will not have; two of the same."""
    for disk in disks(document):
        seen: Counter[int | None] = Counter()
        for change in disk.modified:
            target = number(change, "PartitionID")
            seen[target] += 1
            if first(change, "PartitionID") is None:
                yield Problem(change, "ModifyPartition has no PartitionID")
            elif disk.wiped and target not in disk.created:
                known = ", ".join(map(str, disk.created)) or "none"
                message = f"partition {target} does not exist on disk {disk.id}"
                yield Problem(change, message, f"created are: {known}")
            elif seen[target] == 2:
                yield Problem(change, f"partition {target} is modified twice")


@rule(
    "modify-allowed",
    "MSR and Extended cannot be modified; Active is for primary partitions alone",
    "leave it out: it is for partitions that get a file system or, on MBR, start",
)
def modify_allowed(document: Document) -> Iterator[Problem]:
    """Changes that the partition's type does not allow."""
    for disk in disks(document):
        for change in disk.modified:
            target = number(change, "PartitionID")
            if not disk.wiped or target not in disk.created or target is None:
                continue
            kind = disk.type(target)
            allowed = MODIFIABLE.get(kind, frozenset())
            for name in sorted(CHANGES - allowed):
                wrong = first(change, name)
                if wrong is not None and text(wrong).lower() not in ("false", "0"):
                    yield Problem(wrong, f"{name} cannot be set on a partition of type {kind}")


@rule(
    "partition-letters",
    "a drive letter is given once",
    "give each partition a letter of its own, or none",
)
def letters(document: Document) -> Iterator[Problem]:
    """Two partitions with the same letter."""
    seen: set[str] = set()
    for disk in disks(document):
        for change in disk.modified:
            letter = value(change, "Letter").upper()
            if letter and letter in seen:
                yield Problem(change, f"the letter {letter} is taken by another partition")
            seen.add(letter)


def _targets(document: Document) -> Iterator[tuple[Element, Element]]:
    """Every InstallTo with the image it belongs to."""
    for kind in ("OSImage", "DataImage"):
        for image in document.every(SETUP, f"ImageInstall/{kind}"):
            for target in at(image, "InstallTo"):
                yield target, image


@rule(
    "install-to",
    "InstallTo names a partition that will exist and can hold Windows",
    "write DiskID and PartitionID of an NTFS partition that this file makes",
)
def install_to(document: Document) -> Iterator[Problem]:
    """Targets that point nowhere, or at a partition that cannot hold Windows."""
    configured = {disk.id: disk for disk in disks(document)}
    for target, _ in _targets(document):
        disk_id, partition = number(target, "DiskID"), number(target, "PartitionID")
        for name in ("DiskID", "PartitionID"):
            if first(target, name) is None:
                yield Problem(target, f"InstallTo has no {name}")
        disk = configured.get(disk_id)
        if configured and disk is None and disk_id is not None:
            yield Problem(
                target, f"disk {disk_id} is not configured in this file", "", Severity.WARNING
            )
        elif disk is not None and disk.wiped and partition is not None:
            yield from _fits(target, disk, partition)


def _fits(target: Element, disk: Disk, partition: int) -> Iterator[Problem]:
    if partition not in disk.created:
        known = ", ".join(map(str, disk.created)) or "none"
        message = f"disk {disk.id} will have no partition {partition}"
        yield Problem(target, message, f"created are: {known}")
    elif (kind := disk.type(partition)) not in ("Primary", "Logical", ""):
        yield Problem(target, f"partition {partition} is of type {kind} and cannot hold Windows")
    else:
        formats = [
            value(c, "Format") for c in disk.modified if number(c, "PartitionID") == partition
        ]
        if not any(formats):
            message = f"nothing formats partition {partition}, where Windows goes"
            yield Problem(target, message, "Format NTFS")
        elif formats[0] != "NTFS":
            yield Problem(target, f"Windows goes on NTFS, partition {partition} is {formats[0]}")
