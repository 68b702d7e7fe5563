"""Windows Setup, as far as it can be read from outside: answer file, drivers, disk, image, restart.

Each step is one of Setup's own. Where Setup would stop at a page and wait for a person, so does
this: the reason goes to the screen and to COM1, and the machine waits for ever.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree as ET

from . import answer, bootfiles, drivers, faults, linux, partitioning, programs
from .answer import Refused, setting, true
from .registry import Registry
from .shell import Shell
from .winpath import Drives

MEDIA = Path("/run/media")
TARGET = Path("/run/target")
SETUP = "Microsoft-Windows-Setup"
PNP = "Microsoft-Windows-PnpCustomizationsWinPE"
INTERNATIONAL = "Microsoft-Windows-International-Core-WinPE"
BOOT_START = ("viostor", "vioscsi")  # without one of these the disk is not seen at boot
SYSTEM_VOLUME = Path("/run/system")


class Stall(Exception):
    """Setup shows a page and waits."""

    def __init__(self, page: str, reason: str) -> None:
        super().__init__(reason)
        self.page = page


def stall(page: str, reason: str) -> NoReturn:
    """Show a page and wait for ever."""
    linux.serial(f"STAND-IN stalled at {page}: {reason}")
    linux.draw("Windows Setup", page, "", *(reason[n : n + 74] for n in range(0, len(reason), 74)))
    linux.hold()
    raise AssertionError("unreachable")


def attach() -> Drives:
    """Mount what WinPE's inbox drivers see; letters from C: on, the RAM disk is X:."""
    drives = Drives({"X": Path("/run/winpe")}, current="X")
    Path("/run/winpe/Windows/Temp").mkdir(parents=True, exist_ok=True)
    linux.settle()
    for disk in linux.disks():
        for device in linux.partitions(disk):
            if linux.file_system(device) == "vfat":
                linux.mount(device, MEDIA / Path(device).name, "vfat")
                drives.add(MEDIA / Path(device).name, first="C")
    for disc in linux.discs():
        target = MEDIA / disc
        for kind in ("udf", "iso9660"):  # Windows, too, prefers UDF on a bridge disc
            try:
                linux.mount(f"/dev/{disc}", target, kind, "ro")
            except linux.Failed:
                continue
            drives.add(target, first="D")
            break
    return drives


def roots(drives: Drives) -> list[Path]:
    """The media's folders in Setup's order: what can be written comes before what cannot."""
    media = [path for letter, path in sorted(drives.letters.items()) if letter != "X"]
    return sorted(media, key=lambda path: path.name.startswith("sr"))


def find_answer_file(drives: Drives) -> Path | None:
    """The answer file by Setup's search order."""
    places = [*roots(drives), *(root / "sources" for root in roots(drives))]
    found = (drivers.beside(place, "autounattend.xml") for place in places if place.is_dir())
    return next((path for path in found if path), None)


def find_medium(drives: Drives) -> Path:
    """The installation medium: the one with an install image."""
    for root in roots(drives):
        if (root / "sources/install.wim").is_file():
            return root
    raise Stall("A media driver your computer needs is missing", "no medium has an install image")


def _driver_folders(drives: Drives, settings: answer.Settings) -> Iterator[Path]:
    for root in roots(drives):
        if folder := drivers.beside(root, "$WinPEDriver$"):
            yield folder
    for item in setting(settings, PNP, "DriverPaths", "PathAndCredentials", default=[]):
        if drives.exists(item.get("Path", "")):
            yield drives.resolve(item["Path"])


def load_drivers(drives: Drives, settings: answer.Settings, release: str) -> list[drivers.Driver]:
    """Bind every driver package that was supplied for this release, once each."""
    bound: dict[str, drivers.Driver] = {}
    for folder in _driver_folders(drives, settings):
        for driver in drivers.scan(folder):
            if faults.on("no-storage-driver") and driver.name in ("viostor", "vioscsi"):
                continue
            if driver.name not in bound and drivers.bind(driver, release):
                bound[driver.name] = driver
    linux.log(f"drivers bound: {sorted(bound)}")
    return list(bound.values())


def run_commands(shell: Shell, settings: answer.Settings, component: str) -> None:
    """RunSynchronous of a pass: in order, each waited for; a failure is noted and passed over."""
    for item in setting(settings, component, "RunSynchronous", "RunSynchronousCommand", default=[]):
        code = shell.run(item.get("Path", ""))
        linux.log(f"RunSynchronous {item['Order']}: exit code {code}")


def partition(settings: answer.Settings) -> tuple[str, dict[int, str]]:
    """Find the disk and lay it out; the disk's name and its partitions."""
    items = setting(settings, SETUP, "DiskConfiguration", "Disk", default=[])
    if not items:
        raise Stall(
            "Select location to install Windows Server", "the answer file configures no disk"
        )
    disks = linux.disks()
    item = items[0]
    number = int(item.get("DiskID", "0"))
    if number >= len(disks):
        raise Stall(
            "Select location to install Windows Server",
            f"disk {number} is not there: no driver for its controller was supplied"
            if not disks
            else f"disk {number} is not there",
        )
    try:
        return disks[number], partitioning.apply(disks[number], item, gpt=linux.uefi())
    except (partitioning.Impossible, linux.Failed) as error:
        raise Stall("Windows could not prepare the computer's disk", str(error)) from None


def wimlib(medium: Path, *arguments: str) -> None:
    """Run the medium's own wimlib; it is too large to be in memory."""
    folder = medium / "boot/standin/programs"
    loader = ("/lib64/ld-linux-x86-64.so.2", "--library-path", str(folder))
    linux.run(*loader, str(folder / "wimlib-imagex"), *arguments)


def _images(medium: Path) -> list[dict[str, str]]:
    wim = medium / "sources/install.wim"
    wimlib(medium, "info", str(wim), "--extract-xml", "/run/wim.xml")
    root = ET.fromstring(Path("/run/wim.xml").read_bytes().decode("utf-16"))  # noqa: S314
    found = []
    for image in root.iter("IMAGE"):
        names = {key: image.findtext(key) or "" for key in ("NAME", "DESCRIPTION")}
        found.append({"INDEX": image.get("INDEX", ""), **names})
    return found


def choose(images: list[dict[str, str]], settings: answer.Settings) -> str:
    """The index of the image that the answer file names."""
    items = setting(
        settings, SETUP, "ImageInstall", "OSImage", "InstallFrom", "MetaData", default=[]
    )
    page = "Select the operating system you want to install"
    if not items or faults.on("no-edition"):
        raise Stall(page, "the answer file names no image")
    matching = images
    for item in items:
        key = item.get("Key", "").removeprefix("/IMAGE/")
        matching = [image for image in matching if image[key] == item.get("Value")]
    if len(matching) != 1:
        names = ", ".join(image["NAME"] for image in images)
        raise Stall(page, f"no image is {items[0].get('Value')!r}; there are: {names}")
    return matching[0]["INDEX"]


def apply_image(medium: Path, settings: answer.Settings, devices: dict[int, str]) -> None:
    """Unpack the chosen image onto the chosen partition, which becomes C:."""
    to = setting(settings, SETUP, "ImageInstall", "OSImage", "InstallTo", default={})
    number = int(to.get("PartitionID", "0"))
    if number not in devices:
        raise Stall("Select location to install Windows Server", f"partition {number} is not there")
    index = choose(_images(medium), settings)
    linux.mount_ntfs(devices[number], TARGET)
    wim = str(medium / "sources/install.wim")
    wimlib(medium, "apply", wim, index, str(TARGET), "--no-acls")


def _judge(passes: dict[str, dict[str, Any]]) -> None:
    settings = passes.get("windowsPE", {})
    if SETUP not in settings:
        raise Stall("Select language settings", "the answer file has no windowsPE pass for Setup")
    if not setting(settings, INTERNATIONAL, "SetupUILanguage", "UILanguage"):
        raise Stall("Select language settings", "the answer file names no language for Setup")
    if not true(settings, SETUP, "UserData", "AcceptEula"):
        raise Stall("Applicable notices and license terms", "the answer file does not accept them")
    if setting(settings, SETUP, "UserData", "ProductKey", "Key"):
        raise Stall("Product key", "No images are available: an evaluation medium takes no key")
    if setting(settings, SETUP, "UserData", "ProductKey", "WillShowUI") != "Never":
        raise Stall("Product key", "the answer file does not say that Setup shall not ask for one")


def install_boot_files(
    medium: Path, disk: str, devices: dict[int, str], bound: list[drivers.Driver]
) -> None:
    """Make the disk start by itself, and on UEFI enter it into the firmware."""
    carried = ",".join(sorted(faults.active()))
    modules = ",".join(m for d in bound if d.name in BOOT_START for m in d.modules)
    settings = {"faults": carried, "drivers": modules}
    if not linux.uefi():
        linux.mount_ntfs(devices[1], SYSTEM_VOLUME)
        bootfiles.install_bios(medium, SYSTEM_VOLUME, disk, settings)
        return
    linux.mount(devices[1], SYSTEM_VOLUME, "vfat")
    bootfiles.install_uefi(medium, SYSTEM_VOLUME, settings)
    bootfiles.register(disk, 1)


def hand_over(file: Path, bound: list[drivers.Driver], winpe: Registry, disk: str) -> None:
    """Leave in C: what the installed system starts with: answer file, drivers, what was set."""
    panther = TARGET / "Windows/Panther"
    panther.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, panther / "unattend.xml")
    for driver in bound:
        drivers.store(driver, TARGET)
    registry = Registry(TARGET / "Windows/System32/config/registry.json")
    registry.set(r"HKLM\SYSTEM\Setup", "SystemSetupInProgress", 1, "DWord")
    registry.set(r"HKLM\SYSTEM\Setup\State", "ImageState", "IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE")
    size = int(Path(f"/sys/block/{disk}/size").read_text())
    (panther / "setup.json").write_text(json.dumps({"disk": disk, "sectors": size}))
    (panther / "winpe-registry.json").write_text(
        json.dumps(winpe.values(r"HKLM\SYSTEM\Setup\LabConfig"))
    )


def _setup() -> None:
    drives = attach()
    medium = find_medium(drives)
    file = find_answer_file(drives)
    if file is None:
        raise Stall("Select language settings", "no disc has an answer file")
    passes = answer.read(file.read_bytes())
    settings = passes.get("windowsPE", {})
    winpe = Registry()
    shell = Shell(drives, programs.winpe(winpe), linux.output())
    _judge(passes)
    run_commands(shell, settings, SETUP)
    if faults.on("hang-windowsPE"):
        linux.hold()
    release = (medium / "boot/standin/release").read_text().strip()
    bound = load_drivers(drives, settings, release)
    linux.draw("Windows Setup", "Installing", "Getting files ready")
    disk, devices = partition(settings)
    apply_image(medium, settings, devices)
    hand_over(file, bound, winpe, disk)
    install_boot_files(medium, disk, devices, bound)
    for folder in (SYSTEM_VOLUME, TARGET):
        linux.run("umount", str(folder))


def main() -> None:
    """Run Setup to its restart, or stop at the page where it waits."""
    linux.draw("Windows Setup", "Setup is starting")
    linux.load("ahci", "sr_mod", "sd_mod", "udf", "isofs", "vfat", "nls_utf8", "nls_cp437", "fuse")
    linux.load("nls_iso8859_1", "nls_ascii", "efivarfs", "virtio_pci_modern_dev")
    if linux.uefi():
        linux.mount("efivarfs", bootfiles.VARIABLES, "efivarfs")
    try:
        _setup()
    except Refused as error:
        stall("Windows could not apply the unattend answer file", str(error))
    except Stall as error:
        stall(error.page, str(error))
    linux.power("reboot")
