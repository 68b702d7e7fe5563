"""Kinds of step that bring software: msi, driver, script, update."""

from __future__ import annotations

import os
import subprocess
import sys

from . import drivers, services, virtiofs
from .context import Context, StepFailed
from .machine import HOTFIXES, UNINSTALL, Machine
from .msi import BadPackage, Package

# What the installers that the rehearsal knows do besides copying files.
SERVICES = {
    "sshd.exe": ("sshd", "OpenSSH SSH Server", "demand"),
    "launcher-x64.exe": ("WinFsp.Launcher", "WinFsp Launcher", "auto"),
}


# msi


def _package(c: Context) -> Package:
    try:
        return Package(c.main.read_bytes())
    except BadPackage as error:
        raise StepFailed(f"{c.main.name}: {error} (1620)") from None


def look_msi(c: Context) -> str:
    """The product's code is installed in the package's version."""
    properties = _package(c).properties
    code, version = properties["ProductCode"], properties["ProductVersion"]
    have = c.machine.registry.data(f"{UNINSTALL}\\{code}", "DisplayVersion")
    if have == version:
        return ""
    name = properties.get("ProductName", code)
    return f"{name} is installed in {have}, not {version}" if have else f"{name} is not installed"


def change_msi(c: Context) -> bool:
    """Unpack the files, and define the services that the known installers define."""
    package = _package(c)
    wanted = [n for n in str(c.get("properties", {}).get("ADDLOCAL", "")).split(",") if n]
    if unknown := [n for n in wanted if n != "ALL" and n not in package.features]:
        raise StepFailed(f"{c.main.name}: there is no feature {unknown[0]} (1603)")
    try:
        files = package.files()
    except BadPackage as error:
        raise StepFailed(f"{c.main.name}: {error} (1603)") from None
    for name, data in files.items():
        path = c.machine.path("C:/" + name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if service := SERVICES.get(path.name):
            _define(c.machine, "C:\\" + name.replace("/", "\\"), *service)
    properties = package.properties
    key = f"{UNINSTALL}\\{properties['ProductCode']}"
    c.machine.registry.set(key, "DisplayName", properties.get("ProductName", ""))
    c.machine.registry.set(key, "DisplayVersion", properties["ProductVersion"])
    return False


def _define(machine: Machine, program: str, name: str, display: str, start: str) -> None:
    if not services.exists(machine, name):
        services.define(machine, name, binary=f'"{program}"', start=start, display=display)


# driver


def look_driver(c: Context) -> str:
    """This very package is in the driver store; other versions of it may be beside it."""
    try:
        wanted = drivers.read(c.main)
    except drivers.BadDriver as error:
        return str(error)
    if any(drivers.same(wanted, other) for other in drivers.stored(c.machine.c)):
        return ""
    return f"the driver {wanted.name} {wanted.version} is not in the driver store"


def _driver(c: Context) -> drivers.Driver:
    try:
        driver = drivers.read(c.main)
    except drivers.BadDriver as error:
        raise StepFailed(str(error)) from None
    if driver.release != c.machine.release:
        raise StepFailed(f"{driver.name} is for {driver.release}, this is {c.machine.release}")
    return driver


def change_driver(c: Context) -> bool:
    """Put the package into the store and bind it; a driver's service starts with the system.

    Windows makes the service when it installs the driver on a device. Every machine of ours has
    the devices but for virtio-fs.
    """
    driver = _driver(c)
    drivers.store(driver, c.machine.c)
    if driver.name == "viofs" and not virtiofs.present():
        return False
    drivers.bind(driver, c.machine.release)
    name = drivers.service(driver)
    if not services.exists(c.machine, name):
        program = f"C:\\Windows\\System32\\drivers\\{driver.inf.stem}.sys"
        services.define(c.machine, name, binary=program, start="demand")
    return False


# script, update, reboot


def look_script(c: Context) -> str:
    """It has run with exit code 0 in this content."""
    return "" if c.marker() == c.digest else f"{c.main.name} has not run in this content"


def change_script(c: Context) -> bool:
    """Run a script that is written for the stand-in."""
    interpreter = c.get("interpreter", "powershell")
    if interpreter != "stand-in":
        raise StepFailed(f"the stand-in has no {interpreter}: it cannot run {c.main.name}")
    environment = os.environ | {"STANDIN_C": str(c.machine.c), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(c.main), *map(str, c.get("arguments", []))],
        env=environment,
        cwd=c.main.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise StepFailed(f"{c.main.name}: exit code {done.returncode}: {(said or [''])[-1]}")
    c.mark(c.digest)
    return False


def _hotfix(c: Context) -> str:
    return str(c.get("kb")).upper()


def look_update(c: Context) -> str:
    """The hotfix is installed, and the restart that completes it has been."""
    kb, machine = _hotfix(c), c.machine
    there = machine.registry.get(HOTFIXES, kb) and not machine.waits_for_restart(kb)
    return "" if there else f"{kb} is not installed"


def change_update(c: Context) -> bool:
    """Note the hotfix as installed; Windows restarts after one."""
    kb = _hotfix(c)
    if c.main.read_bytes()[:4] != b"MSCF":
        raise StepFailed(f"{c.main.name} is not a .msu")
    c.machine.registry.set(HOTFIXES, kb, c.digest)
    c.machine.need_restart(kb)
    return True
