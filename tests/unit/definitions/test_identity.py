"""The plain form: JSON's types alone, complete, equal for equals and different for others."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pipeline.definitions.identity import identity
from pipeline.definitions.model import Firmware, Image, Machine, Pin
from pipeline.definitions.shapes import fields_of
from pipeline.foundation.files import canonical_json
from pipeline.foundation.units import Sha256, Size


def test_values() -> None:
    assert identity(Machine()) == {
        "firmware": "uefi",
        "cpus": 2,
        "memory": 4 << 30,
        "disk": 64 << 30,
        "tpm": False,
        "secure_boot": False,
    }
    assert type(identity(Size(1))) is int
    assert type(identity(Sha256("a"))) is str
    assert type(identity(Firmware.BIOS)) is str
    assert identity(True) is True
    assert identity(("a", ("b",))) == ["a", ["b"]]
    assert identity({"a": Size(1)}) == {"a": 1}


def test_every_field_is_there_and_json_keeps_it(shop: Any) -> None:
    definitions = shop.load()
    image = identity(definitions.images["win11"])
    assert set(image) == set(fields_of(Image))
    assert set(identity(definitions.pins["win"])) == set(fields_of(Pin))
    assert json.loads(canonical_json(image)) == image
    assert json.loads(canonical_json(identity(definitions))) == identity(definitions)


def test_another_load_gives_the_same_and_a_change_another(shop: Any) -> None:
    before = identity(shop.load())
    assert identity(shop.load()) == before
    shop.edit(shop.image, "# a comment", "# another comment\n#")
    assert identity(shop.load()) == before
    shop.edit(shop.image, "value: 1", "value: 2")
    assert identity(shop.load()) != before


def test_each_field_of_a_machine_counts() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"cpus": 3},
        {"memory": Size(1)},
        {"tpm": True},
        {"firmware": Firmware.BIOS},
    ]
    seen = [identity(dataclasses.replace(Machine(), **change)) for change in changes]
    assert len({canonical_json(value) for value in seen}) == len(changes)


@pytest.mark.parametrize("value", [object(), 1.5, {1, 2}, Machine])
def test_what_has_no_plain_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="no plain form"):
        identity(value)
