"""The two guest plans of an image, as the steps that they will have.

In: an image's definition alone; no artifact is needed, so a stage's id can be computed before any
download. Out: a :class:`Plan` whose steps say where each payload comes from; ``payloads.resolve``
turns it into the ``plan.json`` of the guest contract once the artifacts are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pipeline.answers.credentials import Credentials
from pipeline.definitions.model import Image, Interpreter, Release, Step
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import Sha256

SYSTEM, ADMINISTRATORS = "S-1-5-18", "S-1-5-32-544"
AUTHORIZED_KEYS = r"C:\ProgramData\ssh\administrators_authorized_keys"
VIRTIOFS = r"C:\Program Files\Golden Windows\virtiofs.exe"
WINLOGON = r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon"
POWER = r"HKLM:\SYSTEM\CurrentControlSet\Control\Power"
# "Sleep after", by the identifier that power policies give it.
SLEEP = (
    r"HKLM:\SOFTWARE\Policies\Microsoft\Power\PowerSettings"
    r"\29f6c1db-86da-48c5-9fdb-f2b67b1f44da"
)
CLIENTS = frozenset({Release.WINDOWS_10, Release.WINDOWS_11})


@dataclass(frozen=True, slots=True)
class FromPin:
    """A whole artifact."""

    pin: str


@dataclass(frozen=True, slots=True)
class FromRepository:
    """A file below the repository's root, with its digest where the definition pins one."""

    path: str
    sha256: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class FromDriver:
    """A driver package of the driver disc: its .inf and all that it names; one file or more."""

    pin: str
    driver: str


@dataclass(frozen=True, slots=True)
class FromDriverFile:
    """One file that lies beside a driver on the driver disc without belonging to its package."""

    pin: str
    driver: str
    name: str


Source = FromPin | FromRepository | FromDriver | FromDriverFile


@dataclass(frozen=True, slots=True)
class PayloadSource:
    """Where a payload comes from, and its name below the payload folder.

    For a driver package ``file`` is the folder, as only the disc tells which files it has.
    """

    file: str
    source: Source


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of the guest contract whose payloads have no digest yet."""

    id: str
    kind: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    payloads: tuple[PayloadSource, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of the guest contract, before its payloads are known."""

    name: str
    steps: tuple[PlannedStep, ...]

    def sources(self) -> tuple[Source, ...]:
        """Where the payloads come from, each once, in the order of the steps."""
        return tuple(dict.fromkeys(p.source for step in self.steps for p in step.payloads))

    def pins(self) -> tuple[str, ...]:
        """The pins whose artifacts the plan needs, sorted."""
        named = (source for source in self.sources() if not isinstance(source, FromRepository))
        return tuple(sorted({source.pin for source in named}))

    def repository_files(self) -> tuple[str, ...]:
        """The files of the repository that the plan carries, sorted."""
        files = (source for source in self.sources() if isinstance(source, FromRepository))
        return tuple(sorted({source.path for source in files}))


def bootstrap_plan(image: Image) -> Plan:
    """What makes a freshly installed guest reachable over SSH with the build's key, and only so.

    The firewall opens last: when SSH answers, the key is in place and the automatic logon is off.
    The key is a placeholder, see ``credentials.substitute``.
    """
    return Plan("bootstrap", (*_openssh(image), *_autologon_off(), *_awake(image), _firewall()))


def provision_plan(image: Image) -> Plan:
    """Drivers, WinFsp, the virtio-fs service, then the image's own steps in their order."""
    pin = image.drivers.pin
    own = (_own(image, step) for step in image.provision)
    steps = (*_drivers(pin, image.drivers.guest), *_virtiofs(image), *own, _restart())
    ids = [step.id for step in steps]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise PipelineError(
            f"{image.name}: the step id {twice[0]} is taken",
            hint="the pipeline has a step of this name, or the image has two: choose another id",
        )
    return Plan("provision", steps)


def recipe_identity(plan: Plan) -> Any:
    """Everything that a plan says, as JSON; for stage ids and for reading before a download.

    Artifacts are named, not identified: add the identities of :meth:`Plan.pins` and the digests of
    :meth:`Plan.repository_files`.
    """
    return {"name": plan.name, "steps": [_step_identity(step) for step in plan.steps]}


def _step_identity(step: PlannedStep) -> dict[str, Any]:
    identity: dict[str, Any] = {"id": step.id, "kind": step.kind, **step.keys}
    if step.payloads:
        identity["payloads"] = [
            {"file": payload.file, "from": _source_identity(payload.source)}
            for payload in step.payloads
        ]
    return identity


def _source_identity(source: Source) -> dict[str, str]:
    match source:
        case FromPin(pin):
            return {"pin": pin}
        case FromRepository(path, sha256):
            return {"path": path} | ({"sha256": str(sha256)} if sha256 else {})
        case FromDriver(pin, driver):
            return {"pin": pin, "driver": driver}
        case FromDriverFile(pin, driver, name):
            return {"pin": pin, "driver": driver, "name": name}


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


def _autologon_off() -> Iterable[PlannedStep]:
    yield _registry("autologon-count", WINLOGON, "AutoLogonCount", 0)
    yield _registry("autologon-off", WINLOGON, "AutoAdminLogon", "0")
    absent = {"key": WINLOGON, "name": "DefaultPassword", "ensure": "absent"}
    yield PlannedStep("autologon-password", "registry", absent)


def _awake(image: Image) -> Iterable[PlannedStep]:
    """A guest that sleeps is a guest that does not answer; servers never do by themselves."""
    yield _registry("hibernation-off", POWER, "HibernateEnabled", 0)
    if image.release in CLIENTS:
        yield _registry("sleep-off", SLEEP, "ACSettingIndex", 0)


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
        name = f"driver-{driver.lower()}"
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


# An image's own steps.


def _own(image: Image, step: Step) -> PlannedStep:
    """A step of the definition as a step of the contract."""
    payloads = _own_payloads(step)
    match step.kind:
        case "msi":
            return PlannedStep(step.id, "msi", {"properties": _properties(image, step)}, payloads)
        case "file":
            content = {} if payloads or step.value is None else {"content": step.value}
            return PlannedStep(
                step.id, "file", {"path": _given(image, step, "path")} | content, payloads
            )
        case "script":
            how = {"arguments": list(step.arguments), "interpreter": str(step.interpreter)}
            _check_interpreter(image, step)
            return PlannedStep(step.id, "script", how, payloads)
        case "registry":
            return _own_registry(image, step)
        case "update":
            return PlannedStep(step.id, "update", {"kb": _given(image, step, "name")}, payloads)
        case "reboot":
            return PlannedStep(step.id, "reboot", {"when": step.value or "pending"})
    raise PipelineError(
        f'{image.name}: step {step.id}: "{step.kind}" is not a kind of step of one\'s own',
        hint="known: msi, file, script, registry, update, reboot",
    )


def _own_payloads(step: Step) -> tuple[PayloadSource, ...]:
    if step.file:
        name = f"{step.id}/{PurePosixPath(step.file).name}"
        return (PayloadSource(name, FromRepository(step.file, step.sha256)),)
    if step.pin:
        suffix = {"msi": ".msi", "update": ".msu"}.get(step.kind, "")
        return (PayloadSource(f"{step.id}/{step.pin}{suffix}", FromPin(step.pin)),)
    return ()


def _given(image: Image, step: Step, name: str) -> str:
    value = getattr(step, name)
    if not value:
        raise PipelineError(f"{image.name}: step {step.id}: {step.kind} needs {name}")
    return str(value)


def _properties(image: Image, step: Step) -> dict[str, str]:
    """``ADDLOCAL=Server`` of the definition as the properties of an MSI."""
    pairs = [argument.partition("=") for argument in step.arguments]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise PipelineError(f'{image.name}: step {step.id}: "{name}" is not PROPERTY=value')
    return {name: value for name, _, value in pairs}


def _check_interpreter(image: Image, step: Step) -> None:
    if step.interpreter is Interpreter.STAND_IN and not image.rehearsal:
        raise PipelineError(
            f"{image.name}: step {step.id}: a stand-in script runs in a rehearsal only",
            hint="interpreter: powershell",
        )


def _own_registry(image: Image, step: Step) -> PlannedStep:
    key, name = _given(image, step, "key"), _given(image, step, "name")
    kind, text = step.type or "String", step.value or ""
    value: str | int | list[str] = text
    if kind in ("DWord", "QWord"):
        try:
            value = int(text, 0)
        except ValueError:
            raise PipelineError(
                f'{image.name}: step {step.id}: "{text}" is not a number, as {kind} needs'
            ) from None
    elif kind == "MultiString":
        value = text.splitlines()
    keys = {"key": key, "name": name, "type": kind, "value": value}
    return PlannedStep(step.id, "registry", keys)


# Shapes that several steps share.


def _msi(name: str, pin: str, properties: Mapping[str, str] | None = None) -> PlannedStep:
    payload = PayloadSource(f"{name}/{pin}.msi", FromPin(pin))
    return PlannedStep(name, "msi", {"properties": dict(properties or {})}, (payload,))


def _registry(name: str, key: str, value: str, data: str | int) -> PlannedStep:
    kind = "DWord" if isinstance(data, int) else "String"
    return PlannedStep(name, "registry", {"key": key, "name": value, "type": kind, "value": data})
