"""The goldens are what is rendered now, and each shipped image has all of them."""

from __future__ import annotations

import pytest

from tests.unit.answers import goldens, samples


def test_goldens_are_fresh() -> None:
    assert goldens.stale() == [], "look at: python -m tests.unit.answers.goldens, then --write"


@pytest.mark.parametrize("image", sorted(samples.shipped()))
def test_each_image_has_every_file(image: str) -> None:
    files = {"autounattend.xml", "unattend-oobe.xml", "bootstrap.json", "provision.json"}
    assert set(goldens.kept(image)) == files


def test_a_changed_golden_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    image = min(samples.shipped())
    monkeypatch.setattr(goldens, "kept", lambda name: {} if name == image else goldens.wanted(name))
    assert goldens.stale() == [f"{image}/{name}" for name in sorted(goldens.wanted(image))]
