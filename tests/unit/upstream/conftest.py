"""Publishers on loopback, and ``golden refresh`` against them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.upstream.publishers import Publishers, Refresh, publishers, refreshed


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publishers]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pipeline.inputs.fetch_ranges.LONGEST_WAIT", 0.0)
    with publishers(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def refresh(world: Publishers, capsys: pytest.CaptureFixture[str]) -> Refresh:
    assert world.root.exists()
    return functools.partial(refreshed, capsys)
