"""What Setup decides before it touches a disk: answer file, drivers, partitions, edition."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from pipeline.answers.credentials import Credentials
from pipeline.answers.render import render
from pipeline.definitions.loader import load
from pipeline.foundation.paths import Workspace
from pipeline.rehearsal import driver_disc, elf, loader
from pipeline.rehearsal.guest import answer, bootfiles, drivers, faults, linux, partitioning, setup
from pipeline.rehearsal.guest.partitioning import Impossible
from pipeline.rehearsal.guest.setup import Stall
from pipeline.rehearsal.guest.winpath import Drives

DEFINITIONS = load(Workspace.default())
IMAGES = [
    {"INDEX": "1", "NAME": "Server CORE", "DESCRIPTION": "one"},
    {"INDEX": "2", "NAME": "Server", "DESCRIPTION": "two"},
]


@pytest.fixture(autouse=True)
def _no_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "active", frozenset)


def answers(name: str) -> dict[str, bytes]:
    """The answer files of an image."""
    image = DEFINITIONS.images[name]
    facts = DEFINITIONS.pins[image.media].media
    assert facts is not None
    return render(
        image, facts, Credentials.generate("ssh-ed25519 AAAA"), Workspace.default().templates
    )


@pytest.mark.parametrize("name", sorted(DEFINITIONS.images))
def test_both_readings_agree_on_every_shipped_image(name: str) -> None:
    for data in answers(name).values():
        passes = answer.read(data)
        assert passes["oobeSystem"]
        if "windowsPE" in passes:
            setup._judge(passes)


def medium(edition: str | None, key: str = "/IMAGE/NAME") -> dict[str, Any]:
    """Settings that name an edition."""
    items = [] if edition is None else [{"Key": key, "Value": edition}]
    return {setup.SETUP: {"ImageInstall": {"OSImage": {"InstallFrom": {"MetaData": items}}}}}


@pytest.mark.parametrize(
    ("value", "key", "index"),
    [
        ("Server", "/IMAGE/NAME", "2"),
        ("1", "/IMAGE/INDEX", "1"),
        ("two", "/IMAGE/DESCRIPTION", "2"),
    ],
)
def test_edition_by_name_index_or_description(value: str, key: str, index: str) -> None:
    assert setup.choose(IMAGES, medium(value, key)) == index


@pytest.mark.parametrize("value", ["server", "Server DATACENTER", None])
def test_a_wrong_edition_stops_at_the_list(value: str | None) -> None:
    with pytest.raises(Stall) as caught:
        setup.choose(IMAGES, medium(value))
    assert "Select the operating system" in caught.value.page


def test_answer_file_on_a_writable_root_comes_first(tmp_path: Path) -> None:
    for name in ("sr0", "sr1", "vda1"):
        (tmp_path / name).mkdir()
    drives = Drives({"D": tmp_path / "sr0", "E": tmp_path / "sr1", "C": tmp_path / "vda1"})
    assert setup.find_answer_file(drives) is None
    (tmp_path / "sr1/autounattend.xml").touch()
    assert setup.find_answer_file(drives) == tmp_path / "sr1/autounattend.xml"
    (tmp_path / "vda1/AUTOUNATTEND.XML").touch()
    assert setup.find_answer_file(drives) == tmp_path / "vda1/AUTOUNATTEND.XML"


def test_only_drivers_of_this_release_bind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "load", lambda *names: None)
    for release in ("2k19", "2k25"):
        for kind in driver_disc.KINDS[:2]:
            folder = tmp_path / f"$WinPEDriver$/{kind.folder}-{release}"
            folder.mkdir(parents=True)
            for name, data in driver_disc.package(kind, release, "0.1.302").items():
                (folder / name).write_bytes(data)
    (tmp_path / "$WinPEDriver$/vioscsi-2k25/vioscsi.cat").unlink()
    bound = setup.load_drivers(Drives({"D": tmp_path}), {}, "2k25")
    assert [(d.name, d.release, d.version) for d in bound] == [("viostor", "2k25", "100.100.302.0")]


def test_every_driver_of_the_disc_is_read(tmp_path: Path) -> None:
    for kind in driver_disc.KINDS:
        for name, data in driver_disc.package(kind, "w11", "0.1.302").items():
            (tmp_path / name).write_bytes(data)
    found = {d.name: d for d in drivers.scan(tmp_path)}
    assert found.keys() == {kind.folder for kind in driver_disc.KINDS}
    services = {drivers.service(driver) for driver in found.values()}
    assert {"VirtioFsDrv", "viostor", "netkvm"} <= services


def create(*items: dict[str, str]) -> list[dict[str, str]]:
    """CreatePartition items in order."""
    return [{"Order": str(number), **item} for number, item in enumerate(items, 1)]


UEFI = create(
    {"Type": "EFI", "Size": "260"},
    {"Type": "MSR", "Size": "16"},
    {"Type": "Primary", "Extend": "true"},
)


def test_partition_table_as_sfdisk_takes_it() -> None:
    partitioning._check(UEFI, True)
    assert partitioning._script(UEFI, {}, True).splitlines() == [
        "label: gpt",
        "unit: sectors",
        f"size=260MiB, type={partitioning.GPT['EFI']}",
        f"size=16MiB, type={partitioning.GPT['MSR']}",
        f"type={partitioning.GPT['Primary']}",
    ]


@pytest.mark.parametrize(
    ("items", "gpt", "reason"),
    [
        (create({"Type": "Primary"}), True, "exactly one of Size and Extend"),
        (create({"Type": "Primary", "Size": "9", "Extend": "true"}), True, "exactly one"),
        (UEFI[::-1], True, "is not the last"),
        (UEFI, False, "cannot be made on a disk with MBR"),
        (create({"Type": "Logical", "Size": "9"}), True, "cannot be made on a disk with GPT"),
    ],
)
def test_impossible_partitions(items: list[dict[str, str]], gpt: bool, reason: str) -> None:
    with pytest.raises(Impossible, match=reason):
        partitioning._check(items, gpt)


def test_a_partition_that_is_not_created_cannot_be_modified() -> None:
    settings = {
        "WillWipeDisk": "true",
        "CreatePartitions": {"CreatePartition": UEFI},
        "ModifyPartitions": {"ModifyPartition": [{"PartitionID": "4"}]},
    }
    with pytest.raises(Impossible, match="partition 4, which is not there"):
        partitioning.apply("nodisk", settings, gpt=True)


def test_load_option_is_what_firmware_reads() -> None:
    unique = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
    data = bootfiles.load_option(1, 2048, 532480, unique)
    title = "Windows Boot Manager\0".encode("utf-16-le")
    assert data[:4] == b"\1\0\0\0"
    length = int.from_bytes(data[4:6], "little")
    assert data[6 : 6 + len(title)] == title
    path = data[6 + len(title) :]
    assert len(path) == length
    assert path[:4] == b"\x04\x01\x2a\x00"
    assert path[24:40] == unique.bytes_le
    assert path.endswith(b"\x7f\xff\x04\x00")


def test_faults_reach_the_kernel_and_the_prompt_is_microsofts() -> None:
    for firmware in ("uefi", "bios"):
        config = loader.medium_config(firmware, "LABEL", "panic,step-fails")
        assert "standin.faults=panic,step-fails" in config
        assert "Press any key to boot from CD or DVD......" in config
    assert "set other=" in loader.medium_config("bios", "LABEL", "")
    assert "set other=" not in loader.medium_config("uefi", "LABEL", "")


def test_what_is_no_elf_needs_nothing() -> None:
    assert elf.depends(b"text") == []
