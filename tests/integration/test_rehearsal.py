"""The rehearsal's parts for real: made from packages, read by others, booted, and made to fail.

The way that goes well, from Setup to a proven clone, is the main job's test. Here are the medium as
other programs see it, and Setup where it must not go on.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.answers.credentials import Credentials
from pipeline.answers.disc import write_disc
from pipeline.answers.render import render
from pipeline.definitions.loader import load
from pipeline.definitions.model import Firmware, Image
from pipeline.foundation.files import sha256_bytes
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Size
from pipeline.inputs.drivers import read_drivers
from pipeline.inputs.media import read_medium
from pipeline.machine import image
from pipeline.machine.boot import boot
from pipeline.machine.loop import run
from pipeline.machine.machine import Machine
from pipeline.machine.spec import MachineSpec
from pipeline.machine.watch import answer_cd_prompt
from pipeline.rehearsal.guest.msi import Package
from pipeline.rehearsal.medium import make
from pipeline.rehearsal.packages import Packages, provide

pytestmark = pytest.mark.integration

DEADLINE = 240  # seconds; a boot takes 15 on an idle host
INSTALLED = 600  # seconds; up to the first logon an install takes as long as three boots
NOTE = b"From the disc of answers.\r\n"
CHECKOUT = Workspace.default()
DEFINITIONS = load(CHECKOUT)
IMAGES = {"uefi": DEFINITIONS.images["rehearsal"], "bios": DEFINITIONS.images["rehearsal-bios"]}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace of our own that uses what the checkout's cache has."""
    return Workspace(CHECKOUT.root, tmp_path_factory.mktemp("out put"), CHECKOUT.cache)


@pytest.fixture(scope="module")
def packages(workspace: Workspace) -> Packages:
    return provide(workspace, Silent())


def part(name: str, workspace: Workspace, *faults: str) -> Path:
    """A part in the version that the shipped pin has."""
    pin = next(pin for pin in DEFINITIONS.pins.values() if pin.made == name)
    return make(name, pin.version, workspace, Silent(), frozenset(faults))


# The parts, as others see them


def test_the_medium_says_what_its_pin_says(workspace: Workspace) -> None:
    found = read_medium(part("windows", workspace))
    facts = DEFINITIONS.pins["rehearsal-windows"].media
    assert facts is not None
    assert [(i.index, i.name) for i in found.images] == [(e.index, e.name) for e in facts.editions]
    assert all(image.evaluation for image in found.images)


def test_the_iso_side_shows_only_the_readme(workspace: Workspace, packages: Packages) -> None:
    iso = part("windows", workspace)
    listed = packages.run("bin/isoinfo", "-f", "-i", iso).output.split()
    assert listed == ["/README.TXT;1"]
    described = packages.run("bin/isoinfo", "-d", "-i", iso).output
    assert "Volume id: SSS_X64FREE_EN-US_DV9" in described
    assert "El Torito" in described


def test_the_driver_disc_has_every_driver_for_every_release(workspace: Workspace) -> None:
    image = IMAGES["uefi"]
    names = (*image.drivers.setup, *image.drivers.guest)
    for release in ("2k19", "2k22", "2k25", "w10", "w11"):
        found = read_drivers(part("drivers", workspace), release, "amd64", names)
        assert [driver.name for driver in found] == list(names)
        assert all(f'"release": "{release}"'.encode() in b"".join(d.files.values()) for d in found)


@pytest.mark.parametrize("name", ["winfsp", "openssh"])
def test_installers_are_real_packages(workspace: Workspace, name: str) -> None:
    package = Package(part(name, workspace).read_bytes())
    assert package.properties["ProductVersion"] == DEFINITIONS.pins[f"rehearsal-{name}"].version
    assert len(package.files()) > 2


# Setup, where it must not go on


class Trial:
    """One boot of Setup."""

    def __init__(self, workspace: Workspace, folder: Path, image: Image, iso: Path) -> None:
        self.workspace, self.folder, self.image, self.iso = workspace, folder, image, iso

    def disc(self) -> Path:
        """The disc of answers."""
        facts = DEFINITIONS.pins[self.image.media].media
        assert facts is not None
        credentials = Credentials.generate("ssh-ed25519 AAAA")
        answers = render(self.image, facts, credentials, CHECKOUT.templates)
        pin = self.image.drivers.pin
        driver_disc = part(str(DEFINITIONS.pins[pin].made), self.workspace)
        release = str(self.image.release)
        found = read_drivers(driver_disc, release, "amd64", self.image.drivers.setup)
        files: dict[str, bytes | Path] = {
            f"$WinPEDriver$/{driver.name}/{name}": data
            for driver in found
            for name, data in driver.files.items()
        }
        payload = {"file": "note.txt", "sha256": sha256_bytes(NOTE)}
        step = {"id": "note", "kind": "file", "path": r"C:\note.txt", "payloads": [payload]}
        plan = json.dumps({"schema": 1, "name": "bootstrap", "steps": [step]})
        files |= {"autounattend.xml": answers["autounattend.xml"]}
        files |= {"golden/agent.ps1": b"#\r\n", "golden/bootstrap.json": plan.encode()}
        files |= {"golden/payload/note.txt": NOTE}
        path = self.folder / "cidata.iso"
        write_disc(path, "GOLDEN", files, private=True)
        return path

    def expect(self, pattern: str, *discs: Path, press: bool = True) -> str:
        """Boot with the medium in the first drive, as :meth:`with_drives` does."""
        return self.with_drives(pattern, self.iso, *discs, press=press)

    def with_drives(
        self, pattern: str, *drives: Path, press: bool = True, deadline: float = DEADLINE
    ) -> str:
        """Boot, press a key at the prompt, wait for a line; return all of COM1."""
        return run(self._expect(pattern, drives, press, deadline))

    async def _expect(
        self, pattern: str, drives: tuple[Path, ...], press: bool, deadline: float
    ) -> str:
        disk = self.folder / "disk.qcow2"
        image.create(disk, Size.parse("4G"))
        machine = self.image.machine
        spec = MachineSpec(
            name="trial",
            firmware=machine.firmware,
            cpus=machine.cpus,
            memory=machine.memory,
            disk=disk,
            cdroms=drives,
            boot_cd=self.iso,
            throwaway=True,
        )
        evidence = self.folder / "evidence"
        async with boot(spec, self.workspace, evidence) as booted:
            async with _answering(booted, press):
                await booted.console.wait_for(pattern, deadline)
            await booted.kill()
        return (evidence / "com1.log").read_text(errors="replace")


class _answering:  # noqa: N801 - reads as a phrase
    """Answers the prompt while the block runs."""

    def __init__(self, machine: Machine, press: bool) -> None:
        self.task = asyncio.create_task(answer_cd_prompt(machine)) if press else None

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        if self.task:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task


@pytest.fixture
def trial(workspace: Workspace, tmp_path: Path, request: pytest.FixtureRequest) -> Trial:
    """A trial on ``(firmware, faults)``."""
    firmware, faults = request.param
    iso = part("windows", workspace, *faults)
    return Trial(workspace, tmp_path, IMAGES[firmware], iso)


@pytest.mark.parametrize("trial", [("uefi", ()), ("bios", ())], indirect=True)
def test_without_an_answer_file_setup_asks(trial: Trial) -> None:
    said = trial.expect("STAND-IN stalled at Select language settings: no disc has")
    # Microsoft's BIOS loader asks only where there is another disk to start from.
    asked = "Press any key to boot from CD or DVD" in said
    assert asked is (trial.image.machine.firmware is Firmware.UEFI)


@pytest.mark.parametrize("trial", [("uefi", ())], indirect=True)
def test_without_a_key_the_firmware_goes_on(trial: Trial) -> None:
    said = trial.expect(r"starting Boot0000|No bootable option|UiApp", press=False)
    assert "Press any key to boot from CD or DVD" in said
    assert "STAND-IN" not in said


# Each disc stands once at each place. The order of a build itself is the main job's.
ORDERS = [
    (("uefi", ()), "medium other answers"),
    (("uefi", ()), "other answers medium"),
    (("bios", ()), "answers medium other"),
]


@pytest.mark.parametrize(("trial", "order"), ORDERS, indirect=["trial"])
def test_the_discs_may_be_in_any_drive(trial: Trial, order: str) -> None:
    """The medium boots, and Setup finds its answers, its drivers and the agent: by no letter.

    Without the drivers there is no disk to install on, and without the agent no step is done.
    """
    other = trial.folder / "other.iso"
    write_disc(other, "OTHER", {"README.TXT": b"Nothing of ours.\r\n"}, private=False)
    discs = {"medium": trial.iso, "answers": trial.disc(), "other": other}
    drives = [discs[name] for name in order.split()]
    ends = "GOLDEN plan bootstrap (done|failed)|STAND-IN"
    said = trial.with_drives(ends, *drives, deadline=INSTALLED)
    beacons = [line.partition("GOLDEN ")[2].strip() for line in said.splitlines()]
    assert [beacon for beacon in beacons if beacon] == [
        *("pass windowsPE", "pass specialize", "pass oobeSystem"),
        *("step bootstrap 1/1 note changed", "plan bootstrap done"),
    ], said


STALLS = [
    (("uefi", ("no-edition",)), "stalled at Select the operating system"),
    (("bios", ("no-storage-driver",)), "no driver for its controller was supplied"),
    (("uefi", ("panic",)), "stopped: CRITICAL_PROCESS_DIED"),
]


@pytest.mark.parametrize(("trial", "line"), STALLS, indirect=["trial"])
def test_faults_are_seen(trial: Trial, line: str) -> None:
    said = trial.expect(line, trial.disc())
    assert "GOLDEN pass windowsPE" in said
