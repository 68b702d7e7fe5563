"""Guest plans checked against the guest contract, before any guest sees them.

In: bytes of a ``plan.json``. Out: findings; both guests refuse a plan for the errors among them.
A *planned* plan, as ``golden render`` writes it, says where a payload comes ``from`` instead of its
digest, as only an artifact tells that.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.answers.findings import Finding, Severity, in_order
from pipeline.answers.planning import SCHEMA
from pipeline.answers.rules import checks

LARGEST = 4 << 20
_ID = re.compile(r"[a-z0-9-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SID = re.compile(r"S-1(-[0-9]+)+")

Judge = Callable[[Any], str | None]


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "is not a text"


def _any_text(value: Any) -> str | None:
    return None if isinstance(value, str) else "is not a text"


def _texts(value: Any) -> str | None:
    good = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return None if good else "is not a list of texts"


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "is neither true nor false"


def _path(value: Any) -> str | None:
    good = isinstance(value, str) and re.match(r"[A-Za-z]:\\(?!.*\\\.\.(\\|$))[^/]", value)
    return None if good else "is not an absolute Windows path"


def _key(value: Any) -> str | None:
    good = isinstance(value, str) and re.fullmatch(r"HKLM:\\[^\\]+(\\[^\\]+)*", value)
    return None if good else r"is not a key below HKLM:\ "


def _port(value: Any) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536
    return None if good else "is not a port from 1 to 65535"


def _properties(value: Any) -> str | None:
    good = isinstance(value, dict) and all(
        isinstance(text, str) and re.fullmatch(r"[A-Z_][A-Z0-9_.]*", name)
        for name, text in value.items()
    )
    return None if good else "is not an object of public properties (capitals) and texts"


def _sids(value: Any) -> str | None:
    good = isinstance(value, list) and all(isinstance(s, str) and _SID.fullmatch(s) for s in value)
    return None if good else "is not a list of SIDs such as S-1-5-32-544"


def _entries(value: Any) -> str | None:
    if not isinstance(value, list) or not value:
        return "is not a list of entries"
    for entry in value:
        if not isinstance(entry, dict) or set(entry) != {"identity", "rights"}:
            return "has an entry without identity and rights"
        if not _SID.fullmatch(str(entry["identity"])):
            return f'has the identity "{entry["identity"]}", which is no SID'
        if entry["rights"] not in ("FullControl", "ReadAndExecute"):
            return f'has the rights "{entry["rights"]}": FullControl or ReadAndExecute'
    return None


def _account(value: Any) -> str | None:
    wrong = checks.account_name(value) if isinstance(value, str) else checks.Wrong("")
    return "is not an account name" if wrong else None


def _one_of(*words: str) -> Judge:
    return lambda value: None if value in words else f"is not one of: {', '.join(words)}"


def _anything(value: Any) -> str | None:
    del value
    return None


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of step takes; ``payload`` is the ending of its main payload, None for none."""

    required: Mapping[str, Judge] = field(default_factory=dict)
    optional: Mapping[str, Judge] = field(default_factory=dict)
    payload: str | None = None
    payload_optional: bool = False


KINDS = {
    "msi": Kind({}, {"properties": _properties}, payload=".msi"),
    "file": Kind(
        {"path": _path},
        {"content": _any_text, "ensure": _one_of("absent")},
        payload="",
        payload_optional=True,
    ),
    "registry": Kind(
        {"key": _key, "name": _any_text},
        {
            "type": _one_of("String", "ExpandString", "DWord", "QWord", "MultiString"),
            "value": _anything,
            "ensure": _one_of("absent"),
        },
    ),
    "service": Kind(
        {"name": _text},
        {
            "start": _one_of("auto", "demand", "disabled"),
            "state": _one_of("running", "stopped", "any"),
            "binary": _path,
            "display_name": _text,
            "depend": _texts,
        },
    ),
    "acl": Kind({"path": _path, "entries": _entries}),
    "driver": Kind({"name": _text}, payload=".inf"),
    "firewall": Kind(
        {"name": _text, "display_name": _text, "port": _port},
        {"protocol": _one_of("TCP", "UDP")},
    ),
    "user": Kind({"name": _account}, {"groups": _sids, "enabled": _boolean}),
    "script": Kind(
        {}, {"arguments": _texts, "interpreter": _one_of("powershell", "stand-in")}, payload=""
    ),
    "update": Kind({"kb": _text}, payload=".msu"),
    "reboot": Kind({}, {"when": _one_of("pending", "always")}),
}


class _TwiceError(ValueError):
    """A key that an object has twice."""


def validate_plan(data: bytes, name: str, *, planned: bool = False) -> list[Finding]:
    """Everything that is wrong with the plan ``name``; an empty list when nothing is.

    ``planned`` allows payloads of which only the source is known yet.
    """
    if len(data) > LARGEST:
        return [_error(1, "", "size", f"{name} has {len(data)} bytes, a plan at most {LARGEST}")]
    if data.startswith(b"\xef\xbb\xbf"):
        return [_error(1, "", "json", "a plan has no byte order mark", "save it as plain UTF-8")]
    try:
        plan = json.loads(data, object_pairs_hook=_pairs)
    except UnicodeDecodeError:
        return [_error(1, "", "json", "this is not UTF-8")]
    except json.JSONDecodeError as error:
        return [_error(error.lineno, "", "json", f"not JSON: {error.msg}")]
    except (_TwiceError, RecursionError) as error:
        return [_error(1, "", "json", str(error) or "not JSON")]
    return in_order(list(_plan(plan, _lines(data.decode()), planned)))


def _error(line: int, path: str, rule: str, message: str, fix: str = "") -> Finding:
    return Finding(line, Severity.ERROR, path, f"plan-{rule}", message, fix)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise _TwiceError(f'the key "{name}" is given twice in one object')
    return dict(pairs)


def _lines(text: str) -> list[int]:
    """The line of each step, by the place of its id; good for plans as people write them."""
    found = re.finditer(r'"id"\s*:', text)
    return [text.count("\n", 0, match.start()) + 1 for match in found]


def _plan(plan: Any, lines: list[int], planned: bool) -> Iterator[Finding]:
    if not isinstance(plan, dict):
        yield _error(1, "", "shape", "a plan is an object with schema, name and steps")
        return
    yield from _unknown(plan, ("schema", "name", "steps"), 1, "")
    if plan.get("schema") != SCHEMA:
        yield _error(1, "schema", "schema", f"schema is {plan.get('schema')!r}, not {SCHEMA}")
    if not isinstance(plan.get("name"), str) or not _ID.fullmatch(plan["name"]):
        yield _error(
            1, "name", "name", "the plan's name is not lower-case letters, digits, hyphens"
        )
    steps = plan.get("steps")
    if not isinstance(steps, list):
        yield _error(1, "steps", "shape", "steps is not a list")
        return
    yield from _duplicates(steps, lines)
    for index, step in enumerate(steps):
        line = lines[index] if index < len(lines) else 1
        yield from _step(step, index, line)
        if isinstance(step, dict):
            for payload in _payloads(step):
                yield from _payload(payload, line, f"steps/{step.get('id')}", planned)


def _duplicates(steps: list[Any], lines: list[int]) -> Iterator[Finding]:
    seen: set[Any] = set()
    digests: dict[str, str] = {}
    for index, step in enumerate(steps):
        if not isinstance(step, dict):
            continue
        line = lines[index] if index < len(lines) else 1
        name = str(step.get("id"))
        if name in seen:
            yield _error(
                line, f"steps/{name}", "id", f'the id "{name}" is taken by an earlier step'
            )
        seen.add(name)
        for payload in _payloads(step):
            file, digest = str(payload.get("file")), str(payload.get("sha256"))
            if digests.setdefault(file.lower(), digest) != digest:
                message = f"{file} has another digest in an earlier step"
                yield _error(line, f"steps/{name}", "payload", message)


def _payloads(step: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = step.get("payloads")
    return [p for p in found if isinstance(p, dict)] if isinstance(found, list) else []


def _step(step: Any, index: int, line: int) -> Iterator[Finding]:
    where = f"steps/{index + 1}"
    if not isinstance(step, dict):
        yield _error(line, where, "shape", "a step is an object")
        return
    if not isinstance(step.get("id"), str) or not _ID.fullmatch(step["id"]):
        yield _error(line, where, "id", "the step's id is not lower-case letters, digits, hyphens")
    else:
        where = f"steps/{step['id']}"
    kind = KINDS.get(str(step.get("kind")))
    if kind is None:
        near = difflib.get_close_matches(str(step.get("kind")), KINDS, n=1)
        fix = f"did you mean {near[0]}?" if near else f"one of: {', '.join(KINDS)}"
        yield _error(line, where, "kind", f'"{step.get("kind")}" is no kind of step', fix)
        return
    yield from _keys(step, kind, line, where)
    yield from _payload_list(step, kind, line, where)
    yield from _combination(step, line, where)


def _keys(step: Mapping[str, Any], kind: Kind, line: int, where: str) -> Iterator[Finding]:
    known = {**kind.required, **kind.optional}
    allowed = ["id", "kind", *known, *(["payloads"] if kind.payload is not None else [])]
    yield from _unknown(step, allowed, line, where)
    for name in kind.required:
        if name not in step:
            yield _error(line, where, "missing", f"{step['kind']} needs {name}")
    for name, judge in known.items():
        if name in step and (wrong := judge(step[name])):
            yield _error(line, f"{where}/{name}", "value", f"{name} {wrong}")


def _unknown(
    found: Mapping[str, Any], allowed: list[str] | tuple[str, ...], line: int, where: str
) -> Iterator[Finding]:
    for name in found:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            fix = f"did you mean {near[0]}?" if near else f"known: {', '.join(allowed)}"
            yield _error(line, where, "key", f'"{name}" is no key here', fix)


def _payload_list(step: Mapping[str, Any], kind: Kind, line: int, where: str) -> Iterator[Finding]:
    payloads = step.get("payloads", [])
    if kind.payload is None:
        return
    if not isinstance(payloads, list) or not all(isinstance(p, dict) for p in payloads):
        yield _error(line, where, "payload", "payloads is not a list of objects")
        return
    if not payloads and not kind.payload_optional:
        yield _error(line, where, "payload", f"{step['kind']} needs a payload")
    # The folder of a planned driver: only the disc tells what its .inf is called.
    source = payloads[0].get("from") if payloads else None
    folder = isinstance(source, dict) and "driver" in source
    ending = str(payloads[0].get("file", "")).lower().endswith(kind.payload) if payloads else True
    if not ending and not folder:
        yield _error(line, where, "payload", f"the main payload is no {kind.payload} file")


def _payload(payload: Mapping[str, Any], line: int, where: str, planned: bool) -> Iterator[Finding]:
    source = planned and "sha256" not in payload
    yield from _unknown(payload, ("file", "from" if source else "sha256"), line, where)
    file = payload.get("file")
    parts = file.split("/") if isinstance(file, str) else []
    if not parts or not all(re.fullmatch(r"(?!\.\.?$)[^\\:*?\"<>|]+", part) for part in parts):
        yield _error(line, where, "payload", f"{file!r} is no name below the payload folder")
    if source:
        if not isinstance(payload.get("from"), dict):
            yield _error(line, where, "payload", f"{file}: neither sha256 nor from is given")
    elif not _SHA256.fullmatch(str(payload.get("sha256"))):
        yield _error(line, where, "payload", f"{file}: sha256 is not 64 hexadecimal digits")


def _combination(step: Mapping[str, Any], line: int, where: str) -> Iterator[Finding]:
    """Keys that need or exclude each other."""
    if step["kind"] == "file":
        ways = [name for name in ("payloads", "content", "ensure") if name in step]
        if len(ways) != 1:
            says = " and ".join(ways) or "none of them"
            message = f"file takes one of payloads, content and ensure; here {says}"
            yield _error(line, where, "file", message)
        if len(_payloads(step)) > 1:
            yield _error(line, where, "file", "file takes one payload")
    if step["kind"] == "registry":
        if ("value" in step) == ("ensure" in step):
            yield _error(line, where, "registry", "registry takes value or ensure, one of them")
        elif "value" in step and not _fits(step.get("type", "String"), step["value"]):
            message = f"the value is no {step.get('type', 'String')}"
            yield _error(line, f"{where}/value", "registry", message)
    if step["kind"] == "service" and "binary" not in step:
        for name in ("display_name", "depend"):
            if name in step:
                message = f"{name} is for a service that is created; add binary"
                yield _error(line, where, "service", message)


def _fits(kind: Any, value: Any) -> bool:
    if kind in ("DWord", "QWord"):
        bits = 32 if kind == "DWord" else 64
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**bits
    if kind == "MultiString":
        return _texts(value) is None
    return isinstance(value, str)
