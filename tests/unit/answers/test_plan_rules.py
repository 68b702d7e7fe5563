"""Plans that break the contract are found before a guest sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.answers.plan_rules import KINDS, LARGEST, validate_plan
from pipeline.foundation.paths import ROOT

DIGEST = "0123456789abcdef" * 4
PLAN: dict[str, Any] = {
    "schema": 1,
    "name": "sample",
    "steps": [
        {"id": "m", "kind": "msi", "payloads": [{"file": "m/a.msi", "sha256": DIGEST}]},
        {"id": "f", "kind": "file", "path": "C:\\a\\b", "content": "text"},
        {
            "id": "r",
            "kind": "registry",
            "key": "HKLM:\\A",
            "name": "n",
            "type": "DWord",
            "value": 1,
        },
        {"id": "s", "kind": "service", "name": "svc", "binary": "C:\\s.exe", "depend": ["a"]},
        {
            "id": "a",
            "kind": "acl",
            "path": "C:\\a",
            "entries": [{"identity": "S-1-5-18", "rights": "FullControl"}],
        },
        {
            "id": "d",
            "kind": "driver",
            "name": "x",
            "payloads": [
                {"file": "d/x.inf", "sha256": DIGEST},
                {"file": "d/x.sys", "sha256": DIGEST},
            ],
        },
        {"id": "w", "kind": "firewall", "name": "n", "display_name": "N", "port": 22},
        {"id": "u", "kind": "user", "name": "someone", "groups": ["S-1-5-32-544"]},
        {"id": "x", "kind": "script", "payloads": [{"file": "x/s.ps1", "sha256": DIGEST}]},
        {
            "id": "k",
            "kind": "update",
            "kb": "KB1",
            "payloads": [{"file": "k/k.msu", "sha256": DIGEST}],
        },
        {"id": "b", "kind": "reboot"},
    ],
}
INDEX = {step["id"]: n for n, step in enumerate(PLAN["steps"])}


def findings(plan: Any) -> list[str]:
    """The rules that find something in a plan."""
    return [finding.rule for finding in validate_plan(json.dumps(plan).encode(), "plan.json")]


def changed(step: str, **keys: Any) -> dict[str, Any]:
    """The plan with keys of a step replaced; ``None`` removes one."""
    plan: dict[str, Any] = json.loads(json.dumps(PLAN))
    target = plan["steps"][INDEX[step]]
    target.update(keys)
    for key in [key for key, value in target.items() if value is None]:
        del target[key]
    return plan


def payload(**keys: Any) -> list[dict[str, Any]]:
    """A list with one payload of an MSI."""
    return [{"file": "m/a.msi", "sha256": DIGEST} | keys]


def test_a_plan_with_every_kind_is_flawless() -> None:
    assert findings(PLAN) == []
    assert {step["kind"] for step in PLAN["steps"]} == set(KINDS)


def test_the_kinds_and_keys_are_those_of_the_contract() -> None:
    contract = (ROOT / "docs" / "guest-contract.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", contract, re.MULTILINE)
    written = {kind: keys for kind, keys in rows if kind in KINDS}
    assert set(written) == set(KINDS)
    for kind, keys in KINDS.items():
        for key in [*keys.required, *keys.optional]:
            assert f"`{key}" in written[kind], f"{kind}: {key}"
        assert (keys.payload is not None) == ("payloads" in written[kind])


BROKEN: list[tuple[str, Callable[[], Any], str]] = [
    ("schema 2", lambda: PLAN | {"schema": 2}, "plan-schema"),
    ("no name", lambda: {"schema": 1, "steps": []}, "plan-name"),
    ("capitals in the name", lambda: PLAN | {"name": "Sample"}, "plan-name"),
    ("steps no list", lambda: PLAN | {"steps": {}}, "plan-shape"),
    ("step no object", lambda: PLAN | {"steps": ["x"]}, "plan-shape"),
    ("no object at all", list, "plan-shape"),
    ("unknown key at the top", lambda: PLAN | {"stages": []}, "plan-key"),
    ("id twice", lambda: changed("f", id="m"), "plan-id"),
    ("id with a space", lambda: changed("f", id="a b"), "plan-id"),
    ("id missing", lambda: changed("f", id=None), "plan-id"),
    ("kind unknown", lambda: changed("f", kind="files"), "plan-kind"),
    ("kind missing", lambda: changed("f", kind=None), "plan-kind"),
    ("key unknown", lambda: changed("f", mode="0644"), "plan-key"),
    ("key missing", lambda: changed("w", port=None), "plan-missing"),
    ("path relative", lambda: changed("f", path="a\\b"), "plan-value"),
    ("path with slashes", lambda: changed("f", path="C:/a"), "plan-value"),
    ("path upwards", lambda: changed("f", path="C:\\a\\..\\b"), "plan-value"),
    ("port zero", lambda: changed("w", port=0), "plan-value"),
    ("port as text", lambda: changed("w", port="22"), "plan-value"),
    ("port true", lambda: changed("w", port=True), "plan-value"),
    ("protocol unknown", lambda: changed("w", protocol="SCTP"), "plan-value"),
    ("key of another hive", lambda: changed("r", key="HKCU:\\A"), "plan-value"),
    ("registry type unknown", lambda: changed("r", type="Dword"), "plan-value"),
    ("number as text", lambda: changed("r", value="1"), "plan-registry"),
    ("number too large", lambda: changed("r", value=2**32), "plan-registry"),
    ("number negative", lambda: changed("r", value=-1), "plan-registry"),
    ("text as number", lambda: changed("r", type="String"), "plan-registry"),
    ("list as text", lambda: changed("r", type="MultiString", value="a"), "plan-registry"),
    ("value and absent", lambda: changed("r", ensure="absent"), "plan-registry"),
    ("neither value nor absent", lambda: changed("r", value=None), "plan-registry"),
    ("ensure unknown", lambda: changed("f", content=None, ensure="gone"), "plan-value"),
    ("file without content", lambda: changed("f", content=None), "plan-file"),
    ("file with two contents", lambda: changed("f", payloads=payload()), "plan-file"),
    (
        "file with two payloads",
        lambda: changed("f", content=None, payloads=[*payload(), *payload(file="n")]),
        "plan-file",
    ),
    ("service state unknown", lambda: changed("s", state="started"), "plan-value"),
    ("service start unknown", lambda: changed("s", start="automatic"), "plan-value"),
    ("service binary quoted", lambda: changed("s", binary='"C:\\s.exe"'), "plan-value"),
    ("dependencies without a binary", lambda: changed("s", binary=None), "plan-service"),
    ("acl empty", lambda: changed("a", entries=[]), "plan-value"),
    (
        "identity by name",
        lambda: changed("a", entries=[{"identity": "SYSTEM", "rights": "FullControl"}]),
        "plan-value",
    ),
    (
        "rights unknown",
        lambda: changed("a", entries=[{"identity": "S-1-5-18", "rights": "Modify"}]),
        "plan-value",
    ),
    ("user name too long", lambda: changed("u", name="x" * 21), "plan-value"),
    ("group by name", lambda: changed("u", groups=["Administrators"]), "plan-value"),
    ("enabled as text", lambda: changed("u", enabled="true"), "plan-value"),
    ("properties in lower case", lambda: changed("m", properties={"addlocal": "x"}), "plan-value"),
    ("msi without a payload", lambda: changed("m", payloads=None), "plan-payload"),
    ("msi that is none", lambda: changed("m", payloads=payload(file="m/a.exe")), "plan-payload"),
    ("digest cut short", lambda: changed("m", payloads=payload(sha256="ab")), "plan-payload"),
    ("digest missing", lambda: changed("m", payloads=[{"file": "m/a.msi"}]), "plan-payload"),
    ("payload outside", lambda: changed("m", payloads=payload(file="../a.msi")), "plan-payload"),
    ("payload absolute", lambda: changed("m", payloads=payload(file="/a.msi")), "plan-payload"),
    (
        "payload on a drive",
        lambda: changed("m", payloads=payload(file="C:\\a.msi")),
        "plan-payload",
    ),
    ("payload with more", lambda: changed("m", payloads=payload(size=1)), "plan-key"),
    ("payloads no list", lambda: changed("m", payloads="m/a.msi"), "plan-payload"),
    ("driver that begins with the .sys", lambda: changed("d", payloads=payload()), "plan-payload"),
    (
        "same file, other digest",
        lambda: changed("x", payloads=payload(sha256="f" * 64)),
        "plan-payload",
    ),
    ("arguments no list", lambda: changed("x", arguments="-A"), "plan-value"),
    ("interpreter unknown", lambda: changed("x", interpreter="python"), "plan-value"),
    ("a source that is none", lambda: changed("m", payloads=payload(**{"from": 1})), "plan-key"),
    ("restart at another time", lambda: changed("b", when="later"), "plan-value"),
]


@pytest.mark.parametrize(
    ("plan", "rule"), [case[1:] for case in BROKEN], ids=[c[0] for c in BROKEN]
)
def test_each_breach_is_found(plan: Callable[[], Any], rule: str) -> None:
    assert rule in findings(plan())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b'{"schema": 1', "not JSON"),
        (b'\xef\xbb\xbf{"schema": 1}', "byte order mark"),
        (b"\xff\xff", "UTF-8"),
        (b'{"schema": 1, "schema": 1}', "twice"),
        (b"[" * 100_000, "JSON"),
        (b" " * (LARGEST + 1), "bytes"),
    ],
)
def test_what_is_no_json_is_said(data: bytes, says: str) -> None:
    (finding,) = validate_plan(data, "plan.json")
    assert says in finding.message or "recursion" in finding.message


def test_a_source_stands_for_a_digest_only_while_planning() -> None:
    sources = [{"file": "m/a.msi", "from": {"pin": "tool"}}]
    plan = json.dumps(changed("m", payloads=sources)).encode()
    assert validate_plan(plan, "plan.json", planned=True) == []
    assert {finding.rule for finding in validate_plan(plan, "plan.json")} == {
        "plan-key",
        "plan-payload",
    }


@pytest.mark.parametrize("payloads", [[{"file": "m/a.msi"}], [{"file": "m/a.msi", "from": "tool"}]])
def test_a_planned_payload_has_a_source(payloads: list[Any]) -> None:
    plan = json.dumps(changed("m", payloads=payloads)).encode()
    (finding,) = validate_plan(plan, "plan.json", planned=True)
    assert "neither sha256 nor from" in finding.message


def test_a_planned_driver_is_a_folder() -> None:
    sources = [{"file": "driver-x", "from": {"pin": "disc", "driver": "x"}}]
    plan = json.dumps(changed("d", payloads=sources)).encode()
    assert validate_plan(plan, "plan.json", planned=True) == []


def test_a_finding_is_on_the_line_of_its_step() -> None:
    text = json.dumps(changed("w", port=0), indent=2)
    (finding,) = validate_plan(text.encode(), "plan.json")
    assert '"id": "w"' in text.splitlines()[finding.line - 1]
    assert finding.path == "steps/w/port"


def test_a_misspelt_kind_or_key_is_told_the_right_one() -> None:
    (kind,) = validate_plan(json.dumps(changed("f", kind="fiel")).encode(), "plan.json")
    assert kind.fix == "did you mean file?"
    found = validate_plan(json.dumps(changed("s", depends=["x"])).encode(), "plan.json")
    assert [finding.fix for finding in found] == ["did you mean depend?"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(INDEX)), st.data())
def test_any_value_in_place_of_another_gives_no_error(step: str, data: st.DataObject) -> None:
    keys = sorted(PLAN["steps"][INDEX[step]])
    key = data.draw(st.sampled_from([*keys, "payloads", "value", "entries"]))
    validate_plan(json.dumps(changed(step, **{key: data.draw(JSON)})).encode(), "plan.json")


def test_a_plan_lies_anywhere(tmp_path: Path) -> None:
    from pipeline.answers.lint import findings as of_files

    path = tmp_path / "with spaces" / "plan.json"
    path.parent.mkdir()
    path.write_text(json.dumps(PLAN))
    assert of_files([path]) == {str(path): []}
