"""Plans that say nearly what good ones say: each key of each kind absent, null, something else.

Goes in: a good step of each kind. Comes out: ``VARIANTS``, lists of plans by what is changed in
them. Most of them are to be refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.rehearsal.guest.plan import KEYS
from tests.unit.rehearsal.test_plan import ENTRY, GOOD, MSI

# The two machines have services of their own: this one neither has.
STEPS = GOOD | {"service": {"name": "Nobody"}}
ANYTHING: Sequence[Any] = (None, "", "x\n", "a b", 0, True, [], ["a"], {"a": 1})
NUMBERS = (
    "26",
    "0x1A",
    "010",
    "-1",
    "1e3",
    "5kb",
    " 5 ",
    "+5",
    "1,000",
    2**32,
    2**64,
    "4294967295",
)
ALSO: dict[str, Sequence[Any]] = {
    "file": ("A.MSI", "a/./b.msi", "a//b.msi", "./a.msi", "a.msi/", "a/..b.msi", "a[1].msi"),
    "sha256": ("0A" * 32, "0a" * 31, "0g" * 32, "0a" * 32 + "\n"),
    "identity": ("S-1-1-0", "S-1-", "S-1-1-0 ", "*S-1-1-0"),
    "rights": ("ReadAndExecute", "Read", "F"),
    "kb": ("kb1", "KB", "KB1 ", "KB1' OR 1=1"),
    "port": ("22", 65536, "22-23", "RPC"),
    "start": ("Auto", "automatic"),
    "name": ("ABC", "a" * 30, "a/b", "a'b"),
    "key": ("hklm:\\x", "HKLM:\\", "HKLM:x", "HKEY_LOCAL_MACHINE\\x", "Registry::HKLM\\x"),
    "path": ("C:\\", "C:", "x.txt", "\\\\host\\x", "Q:\\x", "C:\\[a]", "C:\\a*b"),
    "value": NUMBERS,
}


def plan(*steps: Any) -> str:
    return json.dumps({"schema": 1, "name": "p", "steps": steps})


def values(name: str) -> Sequence[Any]:
    return (*ANYTHING, *ALSO.get(name, ()))


def of_a_key(kind: str, name: str) -> Iterator[dict[str, Any]]:
    """The good step with another value of a key, without it, and with it in capitals."""
    good = {"id": "s", "kind": kind} | STEPS[kind]
    for value in values(name):
        yield good | {name: value}
    without = {key: value for key, value in good.items() if key != name}
    yield without
    if name in good:
        yield without | {name.upper(): good[name]}


def inside(kind: str, key: str, good: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The good step with one payload, or one entry, in which a key says something else."""
    for value in values(name):
        yield {"id": "s", "kind": kind} | STEPS[kind] | {key: [good | {name: value}]}


def of_a_number(kind: str) -> Iterator[dict[str, Any]]:
    for value in values("value"):
        yield {"id": "s", "kind": "registry"} | STEPS["registry"] | {"type": kind, "value": value}


PLANS = (
    *('""', "null", "[]", "{}", "5", "true", '"x"', "[[]]", '{"schema":1,"name":"p"} x'),
    *(json.dumps({"schema": value, "name": "p"}) for value in (*ANYTHING, 1, "1", 1.0, 2)),
    *(json.dumps({"schema": 1, "name": value}) for value in (*ANYTHING, "p", "P")),
    *(json.dumps({"schema": 1, "name": "p", "steps": value}) for value in ANYTHING),
    *(plan(value) for value in ANYTHING),
    '\ufeff{"schema":1,"name":"p"}',
    '{"schema":1,"name":"p","steps":{"id":"a","kind":"reboot"}}',
    '{"schema":1,"name":"p","more":1}',
)


def variants() -> Iterator[tuple[str, list[str]]]:
    """Plans by what is changed in them."""
    yield "whole", list(PLANS)
    for kind, keys in KEYS.items():
        for name in dict.fromkeys((*keys.needs, *keys.takes)):
            yield f"{kind}-{name}", [plan(step) for step in of_a_key(kind, name)]
    for name in ("id", "kind", "payloads", "more"):
        yield f"any-{name}", [plan(step) for step in of_a_key("reboot", name)]
    for kind in ("DWord", "QWord", "MultiString", "ExpandString"):
        yield f"registry-{kind}", [plan(step) for step in of_a_number(kind)]
    for name in MSI:
        yield f"payload-{name}", [plan(step) for step in inside("msi", "payloads", MSI, name)]
    for name in ENTRY:
        yield f"entry-{name}", [plan(step) for step in inside("acl", "entries", ENTRY, name)]


VARIANTS = dict(variants())
