"""Manifests and catalogs keep to the schemas that are published with the project."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT
from pipeline.publishing import catalog
from pipeline.publishing.manifest import problems, require_valid
from tests.unit.publishing.samples import definitions, sample

DEFINED = definitions()
SCHEMAS = ROOT / "schemas"
GOOD = sample("windows-server-2025", DEFINED)


@pytest.mark.parametrize("name", ["manifest", "catalog"])
def test_the_schemas_are_schemas(name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", sorted(DEFINED.images))
def test_the_manifest_of_every_shipped_image_keeps_to_the_schema(name: str) -> None:
    assert problems(sample(name, DEFINED)) == []


def _set(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place[name]
    place[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("disk.file", "../disk.qcow2"),
        ("disk.file", "/disk.qcow2"),
        ("disk.sha256", "abc"),
        ("disk.size", 0),
        ("image", "../other"),
        ("version", "latest"),
        ("checks.failed", 1),
        ("checks.passed", 0),
        ("built_at", "yesterday"),
        ("expires_at", 0),
        ("schema", 2),
        ("rehearsal", "no"),
        ("title", "two\nlines"),
        ("host", "builder-17"),
        ("inputs.other", {"version": "1", "identity": "/home/me/windows.iso"}),
    ],
)
def test_what_is_not_so_is_named(path: str, value: object) -> None:
    with pytest.raises(PipelineError, match="the manifest is not as its schema says") as caught:
        require_valid(_set(path, value))
    last = path.rpartition(".")[2]
    assert last in str(caught.value) or str(value) in str(caught.value)


@pytest.mark.parametrize("key", sorted(GOOD))
def test_nothing_may_be_left_out(key: str) -> None:
    assert problems({name: value for name, value in GOOD.items() if name != key})


def test_the_schema_knows_what_is_written_and_nothing_else() -> None:
    """Also below the top: what publishing writes is required, and the schema allows no more."""

    def drift(schema: dict[str, Any], value: dict[str, Any], where: str) -> list[str]:
        fields = schema.get("properties")
        if fields is None:  # names that differ from image to image, such as inputs
            return []
        below = [
            line
            for name, field in fields.items()
            if isinstance(value.get(name), dict)
            for line in drift(field, value[name], f"{where}.{name}")
        ]
        return [*(f"{where}: {name}" for name in {*fields} ^ {*value}), *below,
                *(f"{where}: {name}" for name in {*fields} ^ {*schema["required"]})]  # fmt: skip

    schema = json.loads((SCHEMAS / "manifest.schema.json").read_text())
    assert drift(schema, GOOD, "manifest") == []


def test_the_catalogs_schema_has_the_fields_of_an_entry() -> None:
    schema = json.loads((SCHEMAS / "catalog.schema.json").read_text())
    image = schema["properties"]["images"]["additionalProperties"]
    entry = image["properties"]["versions"]["items"]
    fields = {*catalog.Entry.__slots__} - {"image"}
    assert {*entry["properties"]} == {*entry["required"]} == fields


def test_it_says_when_an_evaluation_ends_and_what_went_in() -> None:
    assert GOOD["expires_at"] == GOOD["licence"]["expires_at"] == "2027-05-23T10:30:00Z"
    medium = DEFINED.pins[DEFINED.images["windows-server-2025"].media]
    assert GOOD["inputs"][medium.name]["sha256"] == medium.sha256
    assert sample("rehearsal", DEFINED)["expires_at"] is None


def test_a_catalog_keeps_to_its_schema(tmp_path: Path) -> None:
    index = tmp_path / "index.json"
    disk = GOOD["disk"]
    catalog.add(
        index,
        catalog.Entry(
            image=GOOD["image"],
            version=GOOD["version"],
            build_id=GOOD["build_id"],
            disk=disk["file"],
            size=disk["size"],
            sha256=disk["sha256"],
            built_at=GOOD["built_at"],
            expires_at=GOOD["expires_at"],
            rehearsal=False,
        ),
    )
    validator = jsonschema.Draft202012Validator(
        json.loads((SCHEMAS / "catalog.schema.json").read_text())
    )
    document = json.loads(index.read_text())
    assert [error.message for error in validator.iter_errors(document)] == []
    document["images"][GOOD["image"]]["versions"][0]["disk"] = "../x"
    assert list(validator.iter_errors(document))
