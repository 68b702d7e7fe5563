"""What the stand-in refuses of a plan, and what it takes, by the guest contract."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rehearsal.guest import kinds
from pipeline.rehearsal.guest.plan import BITS, KEYS, BadPlan, number, parse

SHA = "0a" * 32
MSI = {"file": "a/b.msi", "sha256": SHA}
ENTRY = {"identity": "S-1-5-18", "rights": "FullControl"}
GOOD: dict[str, dict[str, Any]] = {
    "msi": {"payloads": [MSI]},
    "file": {"path": "C:\\x", "content": ""},
    "registry": {"key": "HKLM:\\SOFTWARE\\X", "name": "n", "value": "v"},
    "service": {"name": "WinFsp.Launcher"},
    "acl": {"path": "C:\\x", "entries": [ENTRY]},
    "driver": {"name": "viofs", "payloads": [MSI | {"file": "viofs/viofs.inf"}]},
    "firewall": {"name": "R", "display_name": "r", "port": 22},
    "user": {"name": "ann"},
    "script": {"payloads": [MSI | {"file": "s.py"}]},
    "update": {"kb": "KB5031234", "payloads": [MSI | {"file": "u.msu"}]},
    "reboot": {},
}


def plan(*steps: Any, **keys: Any) -> bytes:
    return json.dumps({"schema": 1, "name": "p", "steps": list(steps)} | keys).encode()


def step(kind: str, **keys: Any) -> dict[str, Any]:
    """A good step of this kind, with these keys changed."""
    return {"id": "s", "kind": kind} | GOOD[kind] | keys


def payload(**keys: Any) -> dict[str, Any]:
    return step("msi", payloads=[MSI | keys])


def test_there_are_rules_for_each_kind() -> None:
    assert KEYS.keys() == kinds.KINDS.keys() == GOOD.keys()


@pytest.mark.parametrize("kind", GOOD)
def test_each_kind_is_taken(kind: str) -> None:
    assert parse(plan(step(kind)))["steps"] == [step(kind)]


NEEDED = [(kind, name) for kind, keys in KEYS.items() for name in keys.needs]


@pytest.mark.parametrize("value", [None, "absent"])
@pytest.mark.parametrize(("kind", "name"), NEEDED)
def test_what_a_kind_needs_is_asked_for(kind: str, name: str, value: str | None) -> None:
    made = step(kind, **{name: None})
    if value:
        del made[name]
    with pytest.raises(BadPlan, match=f"^s: {name} is missing"):
        parse(plan(made))


@pytest.mark.parametrize("kind", GOOD)
def test_a_key_of_another_kind_is_not_known(kind: str) -> None:
    other = "when" if kind != "reboot" else "port"
    with pytest.raises(BadPlan, match=f"{kind} has no {other}"):
        parse(plan(step(kind, **{other: "pending"})))


TAKEN = [
    step("msi", payloads=[MSI | {"file": "A.MSI", "sha256": SHA.upper()}]),
    step("msi", payloads=[MSI, MSI | {"file": "beside.cab"}]),
    step("registry", type="DWord", value=4294967295),
    step("registry", type="DWord", value="0x1A"),
    step("registry", type="QWord", value=2**64 - 1),
    step("registry", type="MultiString", value=[]),
    step("registry", key="hklm:\\X", value=""),
    {"id": "s", "kind": "registry", "key": "HKLM:\\X", "name": "n", "ensure": "absent"},
    {"id": "s", "kind": "file", "path": "C:\\x", "ensure": "absent"},
    {"id": "s", "kind": "file", "path": "C:\\x", "payloads": [MSI]},
    step("file", payloads=[]),
    step("acl", entries=[{"identity": "S-1-5-32-544", "rights": "ReadAndExecute"}]),
    step("service", name="My Service_1-a.b", start="demand", state="any"),
    step("update", kb="kb1"),
    step("script", interpreter="stand-in"),
    step("reboot", when="always"),
]


@pytest.mark.parametrize("made", TAKEN, ids=str)
def test_taken(made: dict[str, Any]) -> None:
    assert parse(plan(made))["steps"] == [made]


@pytest.mark.parametrize("data", [plan(), plan(steps=None), b'{"schema": 1, "name": "p"}'])
def test_a_plan_may_be_empty(data: bytes) -> None:
    assert parse(data)["steps"] == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    (payload(file="a.exe"), "first payload is not a .msi"),
    (payload(file=""), "not a path below"),
    (payload(file=None), "not a path below"),
    (payload(file=5), "not a path below"),
    (payload(file="C:a.msi"), "not a path below"),
    (payload(file="a\\b.msi"), "not a path below"),
    (payload(file="a*.msi"), "not a path below"),
    (payload(file="a?.msi"), "not a path below"),
    (payload(file="[a].msi"), "not a path below"),
    (payload(file="/a.msi"), "leaves the payload folder"),
    (payload(file="../a.msi"), "leaves the payload folder"),
    (payload(file="a/../../a.msi"), "leaves the payload folder"),
    (payload(sha256=int("1" * 64)), "no SHA-256"),
    (payload(sha256="12"), "no SHA-256"),
    (payload(sha256=SHA[:-1] + "g"), "no SHA-256"),
    (step("msi", payloads=[{"file": "a.msi"}]), "no SHA-256"),
    (step("msi", payloads=[]), "payloads is missing"),
    (step("msi", payloads=["a.msi"]), "not a list of files"),
    (step("msi", payloads=MSI), "not a list of files"),
    (step("msi", properties=["A=1"]), "not texts by name"),
    (step("msi", properties={"A": 1}), "not texts by name"),
    (step("file", path=""), "not a path"),
    (step("file", path="x.txt"), "not a path with a drive"),
    (step("file", path="C:x.txt"), "not a path with a drive"),
    (step("file", path="C:\\"), "not a path with a drive"),
    (step("file", path="\\\\host\\share\\x"), "not a path with a drive"),
    (step("acl", path="C:/x"), "not a path with a drive"),
    (step("acl", path="C:\\x\n"), "not a path with a drive"),
    (step("file", content=5), "content is not a text"),
    (step("driver", payloads=[MSI]), "first payload is not a .inf"),
    (step("update", payloads=[MSI]), "first payload is not a .msu"),
    (step("file", payloads=[MSI]), "exactly one of"),
    (step("file", ensure="absent"), "exactly one of"),
    ({"id": "s", "kind": "file", "path": "C:\\x"}, "exactly one of"),
    (step("file", ensure="present"), "ensure is 'present'"),
    (step("registry", key="HKCU:\\X"), "not below HKLM"),
    (step("registry", key="HKLM\\X"), "not below HKLM"),
    (step("registry", key="HKLM:\\"), "not below HKLM"),
    (step("registry", value=None), "value is missing"),
    (step("registry", type="dword", value=1), "type is 'dword'"),
    (step("registry", type=None), "type is None"),
    (step("registry", type="DWord"), "'v' is not a DWord"),
    (step("registry", type="DWord", value=2**32), "does not fit"),
    (step("registry", type="DWord", value=-1), "is not a DWord"),
    (step("registry", type="DWord", value=1.5), "is not a DWord"),
    (step("registry", type="DWord", value=True), "is not a DWord"),
    (step("registry", type="DWord", value=""), "is not a DWord"),
    (step("registry", type="QWord", value=2**64), "does not fit"),
    (step("registry", key=5), "not a key"),
    (step("registry", value=5), "5 is not a String"),
    (step("registry", type="ExpandString", value=["a"]), "is not a ExpandString"),
    (step("registry", type="MultiString", value=["a", 5]), "is not a MultiString"),
    (step("acl", entries=[]), "entries is missing"),
    (step("acl", entries=["S-1-5-18"]), "not a list of permissions"),
    (step("acl", entries=[ENTRY | {"identity": "Users"}]), "not a SID"),
    (step("acl", entries=[ENTRY | {"identity": "s-1-5-18"}]), "not a SID"),
    (step("acl", entries=[{"rights": "FullControl"}]), "not a SID"),
    (step("acl", entries=[ENTRY | {"rights": "Modify"}]), "rights 'Modify'"),
    (step("acl", entries=[{"identity": "S-1-1-0"}]), "rights None"),
    (step("service", name="x' OR 1=1"), "not the name of a service"),
    (step("service", start="Auto"), "start is 'Auto'"),
    (step("service", state="gone"), "state is 'gone'"),
    (step("firewall", protocol="tcp"), "protocol is 'tcp'"),
    (step("script", interpreter="perl"), "interpreter is 'perl'"),
    (step("service", depend="sshd"), "not a list of services"),
    (step("service", binary=5), "not a path"),
    (step("firewall", port="22"), "not a port"),
    (step("firewall", port=0), "not a port"),
    (step("firewall", port=65536), "not a port"),
    (step("firewall", port=True), "not a port"),
    (step("firewall", display_name=""), "not a text"),
    (step("firewall", name=""), "name is not a text"),
    (step("registry", name=""), "name is not a text"),
    (step("user", name=" "), "name is not a text"),
    (step("user", enabled="false"), "not true or false"),
    (step("user", groups=[544]), "not a list of SIDs"),
    (step("script", arguments="-x"), "not a list of texts"),
    (step("update", kb=5031234), "not a text"),
    (step("update", kb="5031234"), "not the number of an update"),
    (step("update", kb="KB5031234 "), "not the number of an update"),
    (step("reboot", when="sometimes"), "when is 'sometimes'"),
    (step("reboot", when=["always"]), "when is"),
    (step("reboot", whem="always"), "reboot has no whem"),
]


@pytest.mark.parametrize(("made", "message"), REFUSED, ids=str)
def test_a_step_that_is_refused_is_named(made: dict[str, Any], message: str) -> None:
    with pytest.raises(BadPlan, match=r"^s: ") as raised:
        parse(plan({"id": "before", "kind": "reboot"}, made))
    assert message in str(raised.value)


PLANS: list[tuple[bytes, str]] = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b"\xff\xff{}", "not JSON"),
    (b"null", "schema 1"),
    (b"[]", "schema 1"),
    (b'"schema"', "schema 1"),
    (plan(schema=2), "schema 1"),
    (plan(schema=True), "schema 1"),
    (plan(schema=1.0), "schema 1"),
    (plan(schema="1"), "schema 1"),
    (plan(name=5), "no proper name"),
    (plan(name=None), "no proper name"),
    (plan(name="P!"), "no proper name"),
    (plan(name="p\n"), "no proper name"),
    (plan(steps={"id": "s"}), "not a list"),
    (plan(steps="abc"), "not a list"),
    (plan(None), "no proper id"),
    (plan({"kind": "reboot"}), "no proper id"),
    (plan({"id": "A", "kind": "reboot"}), "no proper id"),
    (plan({"id": 5, "kind": "reboot"}), "no proper id"),
    (plan({"id": "a\n", "kind": "reboot"}), "no proper id"),
    (plan(step("reboot"), step("reboot")), "used twice"),
    (plan({"id": "a"}), "kind None is not known"),
    (plan({"id": "a", "kind": "magic"}), "kind 'magic' is not known"),
    (plan({"id": "a", "kind": "Reboot"}), "kind 'Reboot' is not known"),
    (plan({"id": "a", "kind": ["reboot"]}), "is not known"),
]


@pytest.mark.parametrize(("data", "message"), PLANS, ids=str)
def test_a_plan_that_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BadPlan, match=message):
        parse(data)


@given(st.sampled_from(sorted(BITS)), st.integers(-(2**65), 2**65))
def test_a_number_and_its_texts_are_the_same(kind: str, value: int) -> None:
    ways: list[object] = [value, str(value), hex(value), hex(value).upper()]
    if 0 <= value < 2 ** BITS[kind]:
        assert {number(way, kind) for way in ways} == {value}
    else:
        for way in ways:
            with pytest.raises(ValueError, match=kind):
                number(way, kind)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({name for keys in KEYS.values() for name in (*keys.needs, *keys.takes)})


@given(st.sampled_from(sorted(GOOD)), st.dictionaries(st.sampled_from(NAMES), JSON, max_size=2))
def test_whatever_a_step_says_it_is_taken_or_refused(kind: str, keys: dict[str, Any]) -> None:
    """No nonsense ends the agent with anything but its exit code 2."""
    try:
        parse(plan(step(kind, **keys)))
    except BadPlan as error:
        assert str(error).startswith("s: ")  # noqa: PT017 - either is right
