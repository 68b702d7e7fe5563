"""The installed system: from the boot loader to services that run, then waiting for the end.

C: is found with the drivers that the boot loader was given, as a boot-start driver is; specialize
and the first logon run when Setup has left them to do; a sealed system does its first boot
instead.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

from . import drivers, faults, firstboot, init, linux, oobe, power, services, sshd
from .machine import PENDING, Machine
from .registry import FILE

C = Path("/C:")
STATE = r"HKLM\SYSTEM\Setup\State"
UDHCPC = """#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev $interface
ip addr add $ip/${mask:-24} dev $interface
[ -n "$router" ] && ip route replace default via ${router%% *}
exit 0
"""


def _system_volume() -> tuple[str, str]:
    """The disk and device of C:, among what the boot-start drivers show."""
    names = linux.command_line().get("standin.boot", "").split(",")
    linux.load("virtio_pci", *filter(None, names), "ahci", "sd_mod", "sr_mod", "fuse", "nvme")
    linux.load("udf", "isofs", "vfat", "nls_utf8", "nls_cp437", "nls_iso8859_1", "nls_ascii")
    linux.settle(1)
    for disk in linux.disks():
        for device in reversed(linux.partitions(disk)):
            if linux.file_system(device) == "ntfs":
                return disk, device
    init.bugcheck("INACCESSIBLE_BOOT_DEVICE", "no driver for the disk's controller is installed")
    raise AssertionError("unreachable")


def _mount(disk: str, device: str) -> None:
    firstboot.grow(disk, device)
    linux.mount_ntfs(device, C)
    if (C / power.DIRTY).exists():
        linux.serial("STAND-IN C: was not closed in order: chkdsk would run now")
    (C / power.DIRTY).touch()


def _media() -> None:
    """Mount the discs; each gets the next letter."""
    for disc in linux.discs():
        for kind in ("udf", "iso9660"):
            try:
                linux.mount(f"/dev/{disc}", f"/run/media/{disc}", kind, "ro")
                break
            except linux.Failed:
                continue


def _network() -> None:
    """An address by DHCP, when a driver for the adapter is installed."""
    linux.run("ip", "link", "set", "lo", "up")
    if not Path("/sys/class/net/eth0").exists():
        return
    script = Path("/run/udhcpc")
    script.write_text(UDHCPC)
    script.chmod(0o755)
    linux.run("ip", "link", "set", "eth0", "up")
    linux.run("udhcpc", "-i", "eth0", "-s", str(script), "-b", "-t", "5", "-T", "1", "-S")


def _child(work: Callable[[], None]) -> None:
    """Do something beside the first process, which must stay free to switch the machine off."""
    if os.fork():
        return
    code = 0
    try:
        work()
    except BaseException:
        code = 1
        for line in traceback.format_exc().splitlines():
            linux.serial(f"STAND-IN {line}")
    finally:
        os._exit(code)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


class _Keys:
    """Tells the server of keys and accounts that came by another way than the agent."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.seen: tuple[float, ...] = ()

    def __call__(self) -> None:
        paths = (self.machine.c / sshd.KEYS, self.machine.c / FILE)
        now = tuple(_changed_at(path) for path in paths)
        if now != self.seen:
            self.seen = now
            sshd.refresh(self.machine)


def _start(machine: Machine) -> None:
    for driver in drivers.stored(machine.c):
        if driver.name in ("viostor", "vioscsi", "NetKVM"):
            drivers.bind(driver, machine.release)
    machine.registry.delete_key(PENDING)
    linux.run("hostname", machine.name)
    _network()


def _life(machine: Machine) -> None:
    """What the system does by itself after its drivers: passes, first boot, services."""
    state = machine.registry.data(STATE, "ImageState", "")
    if state == oobe.AFTER_SETUP:
        oobe.specialize(machine)
        oobe.first_logon(machine, lambda: services.start_all(machine))
    elif state == firstboot.SEALED:
        firstboot.run(machine, lambda: services.start_all(machine))
    else:
        services.start_all(machine)
        firstboot.again(machine)


def main() -> None:
    """Run the system until it is restarted or switched off."""
    os.mkfifo(power.PIPE)
    disk, device = _system_volume()
    _mount(disk, device)
    _media()
    machine = Machine.at(C)
    if faults.on("panic"):
        init.crash("CRITICAL_PROCESS_DIED", "a fault of the rehearsal: panic")
    linux.draw("Windows", machine.name)
    _start(machine)
    sshd.refresh(machine)
    _child(lambda: _life(machine))
    power.switch(power.wait(_Keys(machine)), C)
