"""Services: what runs, what it depends on, and what the few that the stand-in knows really do.

A service exists in the registry, as on Windows; whether it runs is known until the next boot only.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from . import drivers, linux, sshd, virtiofs
from .machine import SERVICES, STARTS, Machine
from .winpath import NoDrive

RUNNING = Path("/run/services")


class CannotStart(Exception):
    """A service does not start; the sentence says why."""


def key(name: str) -> str:
    """The registry key of a service."""
    return f"{SERVICES}\\{name}"


def exists(machine: Machine, name: str) -> bool:
    """Whether there is such a service."""
    return machine.registry.get(key(name), "Start") is not None


def define(
    machine: Machine,
    name: str,
    *,
    binary: str,
    start: str = "auto",
    display: str = "",
    depend: list[str] | None = None,
) -> None:
    """Make a service, or give it these properties."""
    registry = machine.registry
    registry.set(key(name), "Start", STARTS[start], "DWord")
    registry.set(key(name), "ImagePath", binary, "ExpandString")
    registry.set(key(name), "DisplayName", display or name)
    registry.set(key(name), "DependOnService", depend or [], "MultiString")


def start_type(machine: Machine, name: str) -> str:
    """``auto``, ``demand`` or ``disabled``."""
    number = machine.registry.data(key(name), "Start", STARTS["demand"])
    return next(word for word, value in STARTS.items() if value == number)


def running(name: str) -> bool:
    """Whether a service runs."""
    return (RUNNING / name.lower()).exists()


def _mark(name: str, state: bool) -> None:
    RUNNING.mkdir(parents=True, exist_ok=True)
    if state:
        (RUNNING / name.lower()).touch()
    else:
        (RUNNING / name.lower()).unlink(missing_ok=True)


def start(machine: Machine, name: str, chain: tuple[str, ...] = ()) -> None:
    """Start a service after those it depends on; :class:`CannotStart` says why it will not."""
    if running(name):
        return
    if not exists(machine, name):
        raise CannotStart(f"there is no service {name}")
    if start_type(machine, name) == "disabled":
        raise CannotStart(f"the service {name} is disabled")
    if name.lower() in chain:
        raise CannotStart(f"the service {name} depends on itself")
    for other in machine.registry.data(key(name), "DependOnService", []):
        try:
            start(machine, other, (*chain, name.lower()))
        except CannotStart as error:
            raise CannotStart(f"{name} depends on {other}: {error}") from None
    _act(machine, name)
    _mark(name, True)


def _act(machine: Machine, name: str) -> None:
    """What starting the service does."""
    match name.lower():
        case "sshd":
            _binary(machine, name)
            _mark(name, True)
            sshd.reconcile(machine, wanted=True)
        case "virtiofssvc":
            _binary(machine, name)
            try:
                virtiofs.mount(machine)
            except virtiofs.NoShare as error:
                raise CannotStart(f"VirtioFsSvc: {error}") from None
        case _:
            if not _bound(machine, name):
                _binary(machine, name)


def _bound(machine: Machine, name: str) -> bool:
    """Whether the service is a driver's; it is loaded then."""
    for driver in drivers.stored(machine.c):
        if drivers.service(driver).lower() == name.lower():
            return drivers.bind(driver, machine.release)
    return False


def _binary(machine: Machine, name: str) -> None:
    image = str(machine.registry.data(key(name), "ImagePath", ""))
    program = image.split('"')[1] if image.startswith('"') else image
    if not program or not machine.path(program).is_file():
        raise CannotStart(f"the program of {name} is missing: {program or 'none is named'}")


def stop(machine: Machine, name: str) -> None:
    """Stop a service."""
    if not running(name):
        return
    _mark(name, False)
    if name.lower() == "sshd":
        sshd.reconcile(machine, wanted=False)
    if name.lower() == "virtiofssvc":
        with contextlib.suppress(linux.Failed):
            linux.run("umount", "/Z:")
        virtiofs.SHARE.rmdir()


def start_all(machine: Machine) -> None:
    """Start every service that starts by itself; one that cannot is noted, and the rest goes on."""
    for name in machine.registry.keys(SERVICES):
        if start_type(machine, name) == "auto":
            try:
                start(machine, name)
            except (CannotStart, NoDrive, OSError, linux.Failed) as error:
                linux.log(f"service: {error}")
