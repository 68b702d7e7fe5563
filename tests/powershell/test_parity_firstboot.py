"""The stand-in's first boot and the PowerShell one make the same of the same disc.

``prove`` shows a rehearsal's first boot only; it says something about Windows as far as the two
agree: on the disc that is taken, the keys, accounts and names, and whether anything was told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.rehearsal.guest import firstboot, linux, oobe, services, sshd
from pipeline.rehearsal.guest.machine import Machine
from pipeline.rehearsal.guest.registry import FILE, Registry
from pipeline.rehearsal.guest.winpath import Drives
from tests.powershell.fake_machine import FakeMachine, find_powershell
from tests.powershell.parity import StandIn, without_linux
from tests.powershell.test_firstboot import KEY, LIMA, OTHER, disc, seal, start_each

pytestmark = pytest.mark.powershell

MINE = KEY.replace("owner@", "before@")  # whose key it was before this disc came
META = "instance-id: {name}\n"
CONFIG = f"#cloud-config\nssh_authorized_keys:\n  - {KEY}\n"
USERS = f"users:\n  - default\n  - bob\n  - name: ann\n    ssh_authorized_keys: ['{OTHER}']\n"
LIMAS = {name: text for name, text in LIMA.items() if not name.startswith("provision")}
RANDOM = "WIN-RANDOM1"


@dataclass(frozen=True, slots=True)
class Disc:
    """A disc's label, what is on it, and the name that a machine has with it."""

    label: str
    files: dict[str, str] = field(default_factory=dict)
    becomes: str = RANDOM


def cidata(user_data: str, meta_data: str = META, becomes: str = RANDOM) -> Disc:
    return Disc("cidata", {"meta-data": meta_data, "user-data": user_data}, becomes)


# One after the other on one machine, as the discs of its owners.
DISCS: dict[str, Disc] = {
    "tools": Disc("virtio-win", {"setup.exe": "x"}),
    "no-keys-yet": cidata("#cloud-config\n"),
    "keys": cidata(CONFIG),
    "keys-of-users": cidata("#cloud-config\n" + USERS),
    "no-keys": cidata("#cloud-config\nusers:\n  - name: ann\n"),
    "users": cidata(CONFIG + USERS),
    "no-key": cidata("#cloud-config\nssh_authorized_keys: [hello]\n"),
    "host-name": cidata(f"{CONFIG}hostname: db-server-with-a-long-name\n", META, "DB-SERVER-WITH"),
    "both-names": cidata(f"{CONFIG}hostname: b\n", f"{META}local-hostname: a\n", "B"),
    "its-domain": cidata(CONFIG, f"{META}local-hostname: web01.example.org\n", "WEB01"),
    "underscore": cidata(f"{CONFIG}hostname: a_b\n", META, "A-B"),
    "only-digits": cidata(f"{CONFIG}hostname: '12345'\n"),
    "no-header": cidata(CONFIG.removeprefix("#cloud-config\n").replace("owner@", "no-header@")),
    "malformed": cidata(f"{CONFIG}nonsense\n"),
    "empty": cidata(""),
    "public-keys": cidata("#cloud-config\n", f"{META}public-keys:\n  0: {KEY}\n"),
    "no-instance": cidata(CONFIG, "local-hostname: web01\n", "WEB01"),
    "no-user-data": Disc("CIDATA", {"meta-data": f"{META}public-keys: ['{OTHER}']\n"}),
    "no-meta-data": Disc("CiData", {"user-data": CONFIG}),
    "nothing-on-it": Disc("cidata"),
    "other-label": Disc("config-2", {"meta-data": META, "user-data": CONFIG}),
    "lima": Disc("autounattend", LIMAS),
    "lima-by-its-keys": Disc("", {"ssh_authorized_keys": f"# me\n{KEY}\r\n\n{OTHER}\n"}),
    "lima-without-keys": Disc("autounattend", {"autounattend.xml": LIMAS["autounattend.xml"]}),
    "lima-malformed": Disc("autounattend", LIMAS | {"autounattend.xml": "<unattend>"}),
    "cidata-with-keys": Disc("cidata", cidata(CONFIG).files | LIMAS),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a machine with a disc."""

    disc: str
    instance: str  # or only what it begins with, where it is a digest
    host_name: str
    users: tuple[str, ...]
    keys: tuple[str, ...]
    told: bool


def outcome(record: dict[str, Any], keys: list[str]) -> Outcome:
    instance = str(record["instance"])
    return Outcome(
        record["disc"],
        instance if instance in DISCS else instance.partition("-")[0],
        str(record["host_name"]).upper(),
        tuple(record["users"]),
        tuple(keys),
        bool(record["errors"]),
    )


def files_of(name: str) -> dict[str, str]:
    return {file: text.replace("{name}", name) for file, text in DISCS[name].files.items()}


def windows(folder: Path) -> dict[str, Outcome]:
    """Each disc is there for two starts, as a name is given by a restart."""
    machine = seal(FakeMachine(folder))

    def volume(name: str, letter: str) -> dict[str, Any]:
        return disc(machine, letter, DISCS[name].label, dict(files_of(name)))

    starts = {name: [RANDOM, one.becomes] for name, one in DISCS.items()}
    found = start_each(machine, starts, volume)
    return {name: outcome(record, keys) for name, (_, record, keys) in found.items()}


def stand_in(folder: Path) -> dict[str, Outcome]:
    """The same discs, one start each: the stand-in takes a name at once."""
    side = StandIn(folder)
    side.machine.registry.set(firstboot.KEY, "User", "golden")
    found: dict[str, Outcome] = {}
    with without_linux(side, folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(linux, "run", lambda *words, **more: None)
        patch.setattr(oobe, "specialize", lambda machine: None)
        patch.setattr(oobe, "random_name", lambda: RANDOM)
        patch.setattr(sshd, "make_host_keys", lambda machine: None)
        patch.setattr(services, "start", lambda machine, name: None)
        patch.setattr(linux, "label", lambda disc: DISCS[disc].label)
        for name in DISCS:
            (folder / name).mkdir()
            for file, text in files_of(name).items():
                (folder / name / file).write_text(text)
            drives = Drives({"C": side.c, "E": folder / name})
            machine = Machine(side.c, drives, Registry(side.c / FILE))
            if found:
                firstboot.again(machine)
            else:
                firstboot.run(machine, lambda: None)
            record = json.loads(machine.path(firstboot.RECORD).read_text())
            keys = side.c / sshd.KEYS
            found[name] = outcome(record, keys.read_text().splitlines() if keys.exists() else [])
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Outcome, Outcome]]:
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    real, made = windows(tmp_path_factory.mktemp("w")), stand_in(tmp_path_factory.mktemp("s"))
    return {name: (real[name], made[name]) for name in DISCS}


@pytest.mark.parametrize("name", DISCS)
def test_both_make_the_same_of_a_disc(both: dict[str, tuple[Outcome, Outcome]], name: str) -> None:
    real, made = both[name]
    assert made == real


def test_the_discs_are_told_apart(both: dict[str, tuple[Outcome, Outcome]]) -> None:
    """The comparison is one of different outcomes: nobody does nothing."""
    real = [one for one, _ in both.values()]
    assert {one.disc for one in real} == {"none", "nocloud", "lima"}
    assert {one.told for one in real} == {True, False}
    assert len(set(real)) > len(DISCS) / 2
