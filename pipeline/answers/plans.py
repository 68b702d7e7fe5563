"""The two guest plans of an image, as the steps that they will have.

In: an image's definition alone; no artifact is needed, so a stage's id can be computed before any
download. Out: a :class:`Plan` whose steps say where each payload comes from; ``payloads.resolve``
turns it into the ``plan.json`` of the guest contract once the artifacts are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.answers.cloudbase import cloudbase_steps
from pipeline.answers.credentials import Credentials
from pipeline.answers.own_steps import own_step
from pipeline.answers.planning import (
    FromDriver,
    FromDriverFile,
    FromPin,
    FromRepository,
    PayloadSource,
    Plan,
    PlannedStep,
    driver_step_id,
    recipe_identity,
)
from pipeline.definitions.model import Image, Release
from pipeline.foundation.errors import PipelineError

__all__ = ["Plan", "bootstrap_plan", "provision_plan", "recipe_identity"]

SYSTEM, ADMINISTRATORS = "S-1-5-18", "S-1-5-32-544"
AUTHORIZED_KEYS = r"C:\ProgramData\ssh\administrators_authorized_keys"
VIRTIOFS = r"C:\Program Files\Golden Windows\virtiofs.exe"
WINLOGON = r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon"
POWER = r"HKLM:\SYSTEM\CurrentControlSet\Control\Power"
SYSTEM_POLICY = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System"
# "Sleep after", "Turn off display after", "Power button action", by the identifiers that power
# policies give them (powercfg /query shows them); 3 shuts down.
_POLICIES = r"HKLM:\SOFTWARE\Policies\Microsoft\Power\PowerSettings"
SLEEP = rf"{_POLICIES}\29f6c1db-86da-48c5-9fdb-f2b67b1f44da"
SCREEN = rf"{_POLICIES}\3c0bc021-c8a8-4e07-a973-6b14cbcb2b7e"
BUTTON = rf"{_POLICIES}\7648efa3-dd9c-4e3e-b566-50f929386280"
SHUT_DOWN = 3
SECRETS_SCRIPT = "templates/guest/logon-secret.ps1"
CLIENTS = frozenset({Release.WINDOWS_10, Release.WINDOWS_11})


def bootstrap_plan(image: Image) -> Plan:
    """What makes a freshly installed guest reachable over SSH with the build's key, and only so.

    The firewall opens last: when SSH answers, the key is in place and the automatic logon is off.
    The key is a placeholder, see ``credentials.substitute``.
    """
    steps = (*_openssh(image), *_autologon_off(image), *_awake(image), _firewall())
    return Plan("bootstrap", steps)


def provision_plan(image: Image) -> Plan:
    """Drivers, WinFsp, the virtio-fs service, then the image's own steps in their order."""
    pin = image.drivers.pin
    ours = (*_drivers(pin, image.drivers.guest), *_virtiofs(image), *cloudbase_steps(image))
    own = (own_step(image, step) for step in image.provision)
    steps = (*ours, *own, _restart())
    ids = [step.id for step in steps]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise PipelineError(
            f"{image.name}: the step id {twice[0]} is taken",
            hint="the pipeline has a step of this name, or the image has two: choose another id",
        )
    return Plan("provision", steps)


# The steps of the bootstrap plan.


def _openssh(image: Image) -> Iterable[PlannedStep]:
    if image.openssh:
        yield _msi("openssh", image.openssh, {"ADDLOCAL": "Server"})
    # At its first start the service makes its folder, with the right owner, and the host keys.
    yield PlannedStep("sshd", "service", {"name": "sshd", "start": "auto", "state": "running"})
    key = Credentials.placeholder().public_key
    yield PlannedStep("authorized-keys", "file", {"path": AUTHORIZED_KEYS, "content": f"{key}\n"})
    entries = [{"identity": sid, "rights": "FullControl"} for sid in (SYSTEM, ADMINISTRATORS)]
    yield PlannedStep("authorized-keys-acl", "acl", {"path": AUTHORIZED_KEYS, "entries": entries})


def _autologon_off(image: Image) -> Iterable[PlannedStep]:
    yield _registry("autologon-count", WINLOGON, "AutoLogonCount", 0)
    yield _registry("autologon-off", WINLOGON, "AutoAdminLogon", "0")
    absent = {"key": WINLOGON, "name": "DefaultPassword", "ensure": "absent"}
    yield PlannedStep("autologon-password", "registry", absent)
    if not image.rehearsal:  # the stand-in has no LSA, and runs no PowerShell
        payload = PayloadSource("autologon-secret/logon-secret.ps1", FromRepository(SECRETS_SCRIPT))
        yield PlannedStep("autologon-secret", "script", {}, (payload,))


def _awake(image: Image) -> Iterable[PlannedStep]:
    """A guest that sleeps is a guest that does not answer; servers never do by themselves.

    The power button shuts down: Windows asks whether that is allowed while nobody is logged on,
    which on servers it is not; and what turns the screen on again is no button press.
    """
    yield _registry("hibernation-off", POWER, "HibernateEnabled", 0)
    if image.release in CLIENTS:
        yield _registry("sleep-off", SLEEP, "ACSettingIndex", 0)
    yield _registry("screen-on", SCREEN, "ACSettingIndex", 0)
    yield _registry("power-button", BUTTON, "ACSettingIndex", SHUT_DOWN)
    yield _registry("power-button-allowed", SYSTEM_POLICY, "ShutdownWithoutLogon", 1)


def _firewall() -> PlannedStep:
    rule = {
        "name": "OpenSSH-Server-In-TCP",
        "display_name": "OpenSSH SSH Server (sshd)",
        "port": 22,
        "protocol": "TCP",
    }
    return PlannedStep("ssh-firewall", "firewall", rule)


# The steps of the provision plan.


def _drivers(pin: str, drivers: Iterable[str]) -> Iterable[PlannedStep]:
    for driver in drivers:
        name = driver_step_id(driver)
        payload = PayloadSource(name, FromDriver(pin, driver))
        yield PlannedStep(name, "driver", {"name": driver}, (payload,))


def _virtiofs(image: Image) -> Iterable[PlannedStep]:
    """WinFsp, then the program on the system disk, then the service that needs both."""
    yield _msi("winfsp", image.winfsp)
    source = FromDriverFile(image.drivers.pin, "viofs", "virtiofs.exe")
    payload = PayloadSource("virtiofs/virtiofs.exe", source)
    yield PlannedStep("virtiofs-program", "file", {"path": VIRTIOFS}, (payload,))
    service = {
        "name": "VirtioFsSvc",
        "display_name": "VirtIO-FS Service",
        "binary": VIRTIOFS,
        "depend": ["WinFsp.Launcher", "VirtioFsDrv"],
        "start": "auto",
        # It runs only where the machine has such a device; a build machine need not.
        "state": "any",
    }
    yield PlannedStep("virtiofs-service", "service", service)


def _restart() -> PlannedStep:
    return PlannedStep("restart", "reboot", {"when": "pending"})


# Shapes that several steps share.


def _msi(name: str, pin: str, properties: Mapping[str, str] | None = None) -> PlannedStep:
    payload = PayloadSource(f"{name}/{pin}.msi", FromPin(pin))
    return PlannedStep(name, "msi", {"properties": dict(properties or {})}, (payload,))


def _registry(name: str, key: str, value: str, data: str | int) -> PlannedStep:
    kind = "DWord" if isinstance(data, int) else "String"
    return PlannedStep(name, "registry", {"key": key, "name": value, "type": kind, "value": data})
