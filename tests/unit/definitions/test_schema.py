"""The JSON Schemas: fresh, valid, and of one mind with the loader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.definitions import schema
from pipeline.definitions.check_steps import FORMS
from pipeline.definitions.model import Image, Pin, Step
from pipeline.definitions.shapes import fields_of
from pipeline.foundation.paths import ROOT

BROKEN = yaml.safe_load(Path(__file__).with_name("broken.yaml").read_text())
OF_FOLDER = {"images": "image.schema.json", "checksums": "checksums.schema.json"}
SHIPPED = sorted([*ROOT.glob("images/*.yaml"), *ROOT.glob("checksums/*.yaml")])


SCHEMAS = schema.schemas()


def errors(text: str, name: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMAS[name])
    return [error.message for error in validator.iter_errors(yaml.safe_load(text))]


def test_the_committed_schemas_are_fresh() -> None:
    assert schema.stale(ROOT / "schemas") == []


def test_stale_schemas_are_named_and_refreshed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "ROOT", tmp_path)
    assert schema.main([]) == 1
    assert "schemas/image.schema.json is stale" in capsys.readouterr().out
    assert schema.main(["--write"]) == 0
    assert schema.main([]) == 0


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_each_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_valid_and_name_their_schema(path: Path) -> None:
    name = OF_FOLDER[path.parent.name]
    text = path.read_text()
    assert text.splitlines()[0] == f"# yaml-language-server: $schema=../schemas/{name}"
    assert errors(text, name) == []


@pytest.mark.parametrize(
    "case", [case for case in BROKEN if case["editor"]], ids=lambda case: case["new"][:40]
)
def test_what_the_editor_can_find_it_finds(shop: Any, case: dict[str, Any]) -> None:
    name = OF_FOLDER[case["file"].partition("/")[0]]
    assert errors((shop.root / case["file"]).read_text(), name) == []
    shop.edit(case["file"], case["old"], case["new"])
    assert errors((shop.root / case["file"]).read_text(), name) != []


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("build: [windows-11]\naccept_eula: true", True),
        ("{}", True),
        ("build: windows-11", False),
        ("accept_eula: 1", False),
        ("keep: 3", False),
    ],
)
def test_settings(text: str, good: bool) -> None:
    assert (errors(text, "settings.schema.json") == []) is good


@pytest.mark.parametrize(
    ("step", "good"),
    [
        ({"kind": "file", "path": r"C:\a", "ensure": "absent"}, True),
        ({"kind": "file", "path": r"C:\a", "ensure": "absent", "content": "x"}, False),
        ({"kind": "file", "path": r"C:\a", "ensure": "present"}, False),
        ({"kind": "file", "path": r"C:\a", "content": ""}, True),
        ({"kind": "msi", "file": "a", "pin": "b"}, False),
        ({"kind": "reboot"}, True),
        ({"kind": "reboot", "name": "x"}, False),
        ({"kind": "registry", "key": r"HKLM:\a", "name": "x", "value": 1}, True),
        ({"kind": "registry", "key": r"HKLM:\a", "value": 1}, False),
    ],
)
def test_step_kinds(step: dict[str, Any], good: bool) -> None:
    document = SCHEMAS["image.schema.json"]
    rules = {"$ref": "#/$defs/Step", "$defs": document["$defs"]}
    found = list(jsonschema.Draft202012Validator(rules).iter_errors({"id": "x", **step}))
    assert (found == []) is good


def test_the_forms_cover_every_kind_and_every_key() -> None:
    kinds = fields_of(Step)["kind"].shape.rules[0].keywords()["enum"]
    assert set(FORMS) == set(kinds)
    assert {key for form in FORMS.values() for key in form.allowed} == set(fields_of(Step))


def properties(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        if "additionalProperties" in node and "properties" in node:
            yield from node["properties"].items()
        for value in node.values():
            yield from properties(value)


def test_every_key_is_explained() -> None:
    for name, document in SCHEMAS.items():
        for key, value in properties(document):
            reference = value.get("$ref", "").rpartition("/")[2]
            explained = value.get("description") or document["$defs"].get(reference)
            assert explained or value.get("items"), f"{name}: {key}"


def test_docstrings_of_fields_are_found() -> None:
    assert schema.docstrings(Image)["media"] == "The pin of the Windows medium."
    assert "name" not in schema.docstrings(Pin)


def test_defaults_are_written_as_in_yaml() -> None:
    machine = SCHEMAS["image.schema.json"]["$defs"]["Machine"]["properties"]
    assert machine["memory"]["default"] == "4G"
    assert machine["firmware"]["default"] == "uefi"
    assert "default" not in machine["tpm"] or machine["tpm"]["default"] is False


def test_the_committed_files_are_json() -> None:
    for name in SCHEMAS:
        assert json.loads((ROOT / "schemas" / name).read_text())["$schema"] == schema.DRAFT
