"""A plan read and checked from end to end, before anything is touched.

Goes in: the text of a plan. Comes out: the plan; or :class:`BadPlan` with a sentence that says what
of it is not understood, by the rules of the guest contract.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NAME = re.compile("[a-z0-9-]+")
DIGEST = re.compile("[0-9a-fA-F]{64}")
FORBIDDEN = re.compile(r"[\\:*?\[\]]")  # in the name of a payload
PATH = re.compile(r"[A-Za-z]:\\[^\r\n]+")
SID = re.compile("S-1-[0-9-]+")
SERVICE = re.compile("[A-Za-z0-9_. -]+")
UPDATE = re.compile("KB[0-9]+", re.IGNORECASE)
NUMBER = re.compile("([0-9]+)|0[xX]([0-9a-fA-F]+)")
BITS = {"DWord": 32, "QWord": 64}
RIGHTS = ("FullControl", "ReadAndExecute")
COMMON = frozenset({"id", "kind", "payloads"})

Step = dict[str, Any]


class BadPlan(Exception):
    """The plan or the arguments are not understood."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a kind; ``suffix`` is what the name of its first payload ends in."""

    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()
    suffix: str = ""


KEYS = {
    "msi": Keys(("payloads",), ("properties",), ".msi"),
    "file": Keys(("path",), ("content", "ensure")),
    "registry": Keys(("key", "name"), ("type", "value", "ensure")),
    "service": Keys(("name",), ("start", "state", "binary", "display_name", "depend")),
    "acl": Keys(("path", "entries")),
    "driver": Keys(("payloads", "name"), (), ".inf"),
    "firewall": Keys(("name", "display_name", "port"), ("protocol",)),
    "user": Keys(("name",), ("groups", "enabled")),
    "script": Keys(("payloads",), ("arguments", "interpreter")),
    "update": Keys(("payloads", "kb"), (), ".msu"),
    "reboot": Keys((), ("when",)),
}
CHOICES = {
    "ensure": ("absent",),
    "type": ("String", "ExpandString", "DWord", "QWord", "MultiString"),
    "start": ("auto", "demand", "disabled"),
    "state": ("running", "stopped", "any"),
    "protocol": ("TCP", "UDP"),
    "interpreter": ("powershell", "stand-in"),
    "when": ("pending", "always"),
}


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _path(value: object) -> bool:
    return isinstance(value, str) and PATH.fullmatch(value) is not None


def _any_text(value: object) -> bool:
    return isinstance(value, str)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(part, dict) for part in value)


def _properties(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(part, str) for part in value.values())


def _port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**16


TYPES: dict[str, tuple[Callable[[object], bool], str]] = {
    "payloads": (_objects, "a list of files"),
    "properties": (_properties, "texts by name"),
    "path": (_path, "a path with a drive"),
    "content": (_any_text, "a text"),
    "key": (_text, "a key"),
    "name": (_text, "a text"),
    "binary": (_any_text, "a path"),
    "display_name": (_text, "a text"),
    "depend": (_texts, "a list of services"),
    "entries": (_objects, "a list of permissions"),
    "port": (_port, "a port"),
    "groups": (_texts, "a list of SIDs"),
    "enabled": (lambda value: isinstance(value, bool), "true or false"),
    "arguments": (_texts, "a list of texts"),
    "kb": (_text, "a text"),
}


def number(value: object, kind: str) -> int:
    """The number of a DWord or QWord: a number, or its text in decimal or with 0x."""
    found = NUMBER.fullmatch(str(value))
    if not found or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a {kind}")
    result = int(found[1]) if found[1] else int(found[2], 16)
    if result >= 2 ** BITS[kind]:
        raise ValueError(f"{value!r} does not fit a {kind}")
    return result


def _payload(item: dict[str, Any]) -> None:
    file = item.get("file")
    if not isinstance(file, str) or not file or FORBIDDEN.search(file):
        raise BadPlan(f"the payload {file!r} is not a path below the payload folder")
    if file.startswith("/") or ".." in file.split("/"):
        raise BadPlan(f"the payload {file!r} leaves the payload folder")
    digest = item.get("sha256")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise BadPlan(f"the payload {file!r} has no SHA-256")


def _keys(step: Step, keys: Keys) -> None:
    if unknown := step.keys() - COMMON - {*keys.needs, *keys.takes}:
        raise BadPlan(f"{step['kind']} has no {min(unknown)}")
    for name in step.keys() & CHOICES.keys():
        if step[name] not in CHOICES[name]:
            raise BadPlan(f"{name} is {step[name]!r}, not one of {', '.join(CHOICES[name])}")
    for name in step.keys() & TYPES.keys():
        good, meant = TYPES[name]
        if step[name] is not None and not good(step[name]):
            raise BadPlan(f"{name} is not {meant}: {step[name]!r:.80}")
    for name in keys.needs:
        if step.get(name) is None or step[name] == []:
            raise BadPlan(f"{name} is missing")


def _file(step: Step) -> None:
    given = [bool(step.get("payloads")), "content" in step, "ensure" in step]
    if sum(given) != 1:
        raise BadPlan("exactly one of payloads, content and ensure must be given")


def _registry(step: Step) -> None:
    hive, _, below = step["key"].partition("\\")
    if hive.lower() != "hklm:" or not below.strip("\\"):
        raise BadPlan(f"the key {step['key']} is not below HKLM:\\")
    if "ensure" in step:
        return
    value, kind = step.get("value"), step.get("type", "String")
    if value is None:
        raise BadPlan("value is missing")
    if kind in BITS:
        try:
            number(value, kind)
        except ValueError as error:
            raise BadPlan(str(error)) from None
    elif not isinstance(value, str) and not (kind == "MultiString" and _texts(value)):
        raise BadPlan(f"{value!r:.80} is not a {kind}")


def _acl(step: Step) -> None:
    for entry in step["entries"]:
        if not SID.fullmatch(str(entry.get("identity"))):
            raise BadPlan(f"{entry.get('identity')!r} is not a SID")
        if entry.get("rights") not in RIGHTS:
            raise BadPlan(f"the rights {entry.get('rights')!r} are none of {', '.join(RIGHTS)}")


def _service(step: Step) -> None:
    if not SERVICE.fullmatch(step["name"]):
        raise BadPlan(f"{step['name']!r} is not the name of a service")


def _update(step: Step) -> None:
    if not UPDATE.fullmatch(step["kb"]):
        raise BadPlan(f"{step['kb']!r} is not the number of an update, such as KB5031234")


BESIDES: dict[str, Callable[[Step], None]] = {
    "file": _file,
    "registry": _registry,
    "acl": _acl,
    "service": _service,
    "update": _update,
}


def _step(step: Step) -> None:
    """What is asked of one step by itself; the errors do not name it yet."""
    keys = KEYS[step["kind"]]
    _keys(step, keys)
    payloads = step.get("payloads") or []
    for item in payloads:
        _payload(item)
    if step["kind"] in BESIDES:
        BESIDES[step["kind"]](step)
    if keys.suffix and not payloads[0]["file"].lower().endswith(keys.suffix):
        raise BadPlan(f"the first payload is not a {keys.suffix} file")


def _check(step: Any, seen: set[str]) -> None:
    name = step.get("id") if isinstance(step, dict) else None
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadPlan(f"a step has no proper id: {step!r:.80}")
    if name in seen:
        raise BadPlan(f"the id {name} is used twice")
    seen.add(name)
    if step.get("kind") not in list(KEYS):
        raise BadPlan(f"{name}: the kind {step.get('kind')!r} is not known")
    try:
        _step(step)
    except BadPlan as error:
        raise BadPlan(f"{name}: {error}") from None


def parse(data: bytes) -> dict[str, Any]:
    """The plan, every step of it understood."""
    try:
        plan: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise BadPlan(f"the plan is not JSON: {error}") from None
    if not isinstance(plan, dict) or type(plan.get("schema")) is not int or plan["schema"] != 1:
        raise BadPlan("the plan is not one of schema 1")
    name = plan.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadPlan(f"the plan has no proper name: {name!r:.80}")
    steps = plan.get("steps")
    plan["steps"] = steps = [] if steps is None else steps
    if not isinstance(steps, list):
        raise BadPlan("steps is not a list")
    seen: set[str] = set()
    for step in steps:
        _check(step, seen)
    return plan
