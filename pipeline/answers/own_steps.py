"""An image's own provisioning steps, as steps of the guest contract.

In: steps of the definition, which the loader has checked. Out: planned steps whose payloads come
from the checkout or from a pin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from pipeline.answers.planning import FromPin, FromRepository, PayloadSource, PlannedStep
from pipeline.definitions.model import Image, Interpreter, Step
from pipeline.foundation.errors import PipelineError

SUFFIXES = {"msi": ".msi", "update": ".msu"}


def own_step(image: Image, step: Step) -> PlannedStep:
    """A step of the definition as a step of the contract."""
    if step.kind not in KEYS:
        raise PipelineError(
            f'{image.name}: step {step.id}: "{step.kind}" is not a kind of step of one\'s own',
            hint=f"known: {', '.join(KEYS)}",
        )
    if step.interpreter is Interpreter.STAND_IN and not image.rehearsal:
        raise PipelineError(
            f"{image.name}: step {step.id}: a stand-in script runs in a rehearsal only",
            hint="interpreter: powershell",
        )
    return PlannedStep(step.id, step.kind, KEYS[step.kind](step), _payloads(step))


def _payloads(step: Step) -> tuple[PayloadSource, ...]:
    """The main payload, then the files that lie beside it."""
    beside = tuple(_from_checkout(step, file) for file in step.files)
    if step.file:
        return (_from_checkout(step, step.file), *beside)
    if step.pin:
        name = f"{step.id}/{step.pin}{SUFFIXES.get(step.kind, '')}"
        return (PayloadSource(name, FromPin(step.pin)), *beside)
    return beside


def _from_checkout(step: Step, file: str) -> PayloadSource:
    pinned = step.sha256 if file == step.file else None
    name = f"{step.id}/{PurePosixPath(file).name}"
    return PayloadSource(name, FromRepository(file, pinned))


def _msi(step: Step) -> dict[str, Any]:
    return {"properties": dict(step.properties)}


def _file(step: Step) -> dict[str, Any]:
    keys: dict[str, Any] = {"path": step.path}
    if step.ensure == "absent":
        return keys | {"ensure": "absent"}
    return keys if step.content is None else keys | {"content": step.content}


def _registry(step: Step) -> dict[str, Any]:
    keys: dict[str, Any] = {"key": step.key, "name": step.name}
    if step.ensure == "absent":
        return keys | {"ensure": "absent"}
    return keys | {"type": step.type or "String", "value": _data(step)}


def _data(step: Step) -> str | int | list[str]:
    if step.type == "MultiString":
        return list(step.values)
    text = step.value or ""
    if step.type not in ("DWord", "QWord"):
        return text
    try:
        return int(text)
    except ValueError:
        raise PipelineError(
            f'step {step.id}: "{text}" is not a number, as {step.type} needs'
        ) from None


def _script(step: Step) -> dict[str, Any]:
    return {"arguments": list(step.arguments), "interpreter": str(step.interpreter)}


def _update(step: Step) -> dict[str, Any]:
    return {"kb": step.kb}


def _reboot(step: Step) -> dict[str, Any]:
    return {"when": step.when}


def _service(step: Step) -> dict[str, Any]:
    keys: dict[str, Any] = {"name": step.name, "start": step.start, "state": step.state}
    if not step.binary:
        return keys
    shown = {"display_name": step.display_name} if step.display_name else {}
    return keys | {"binary": step.binary, "depend": list(step.depend)} | shown


KEYS: Mapping[str, Callable[[Step], dict[str, Any]]] = {
    "msi": _msi,
    "file": _file,
    "registry": _registry,
    "script": _script,
    "update": _update,
    "reboot": _reboot,
    "service": _service,
}
