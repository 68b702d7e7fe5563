"""The provenance, by a schema of SLSA v1 and in-toto v1; and what it must not tell."""

from __future__ import annotations

import json
import platform
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.foundation.paths import ROOT
from pipeline.publishing.provenance import provenance
from tests.unit.publishing.samples import definitions, sample

DEFINED = definitions()
SIGNER = "SHA256:" + "k" * 43
# What the two specifications require of the parts that are used.
DIGESTS = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": "^[A-Za-z0-9]+$"},
    "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{40,}$"},
}
DESCRIPTOR = {
    "type": "object",
    "anyOf": [{"required": ["uri"]}, {"required": ["digest"]}, {"required": ["content"]}],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "uri": {"type": "string", "format": "uri"},
        "digest": DIGESTS,
        "annotations": {"type": "object"},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["_type", "subject", "predicateType", "predicate"],
    "properties": {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "subject": {
            "type": "array",
            "minItems": 1,
            "items": {**DESCRIPTOR, "required": ["digest"]},
        },
        "predicateType": {"const": "https://slsa.dev/provenance/v1"},
        "predicate": {
            "type": "object",
            "additionalProperties": False,
            "required": ["buildDefinition", "runDetails"],
            "properties": {
                "buildDefinition": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["buildType", "externalParameters"],
                    "properties": {
                        "buildType": {"type": "string", "pattern": "^[a-z]+:"},
                        "externalParameters": {"type": "object", "minProperties": 1},
                        "internalParameters": {"type": "object"},
                        "resolvedDependencies": {"type": "array", "items": DESCRIPTOR},
                    },
                },
                "runDetails": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["builder"],
                    "properties": {
                        "builder": {
                            "type": "object",
                            "required": ["id"],
                            "properties": {
                                "id": {"type": "string", "pattern": "^[a-z]+:"},
                                "version": {
                                    "type": "object",
                                    "additionalProperties": {"type": "string"},
                                },
                            },
                        },
                        "metadata": {
                            "type": "object",
                            "properties": {"finishedOn": {"pattern": "Z$"}},
                        },
                        "byproducts": {"type": "array", "items": DESCRIPTOR},
                    },
                },
            },
        },
    },
}


def statement(name: str) -> dict[str, Any]:
    image = DEFINED.images[name]
    pins = [DEFINED.pins[image.media], DEFINED.pins[image.winfsp]]
    manifest = sample(name, DEFINED)
    return provenance(manifest, image, pins, SIGNER, {"check-checks.json": "c" * 64})


def test_every_image_has_a_statement_by_the_book() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for name in DEFINED.images:
        assert [error.message for error in validator.iter_errors(statement(name))] == []


def test_it_is_about_this_disk_and_names_what_went_in() -> None:
    made = statement("windows-11")
    assert made["subject"] == [{"name": "disk.qcow2", "digest": {"sha256": "d" * 64}}]
    definition = made["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["image"]["edition"]
    medium = DEFINED.pins[DEFINED.images["windows-11"].media]
    (found,) = [d for d in definition["resolvedDependencies"] if d["name"] == medium.name]
    assert found["digest"] == {"sha256": medium.sha256}
    assert found["uri"] == medium.urls[0]
    assert made["predicate"]["runDetails"]["builder"]["id"].endswith(SIGNER)


def test_it_tells_no_path_and_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "builder-17")
    monkeypatch.setattr(platform, "node", lambda: "builder-17")
    image = DEFINED.images["windows-11"]
    pin = replace(DEFINED.pins[image.media], urls=(), file="/home/somebody/windows.iso")
    made = provenance(sample("windows-11", DEFINED), image, [pin], SIGNER, {})
    text = json.dumps(made)
    for secret in ("/home/", str(ROOT), str(Path.home()), "builder-17"):
        assert secret not in text
