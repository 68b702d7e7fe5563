"""What integration tests share: a published image, and the order that saves building it twice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.published import published

BUILDS = "test_main_job.py"


@pytest.fixture(scope="session")
def published_rehearsal() -> Path:
    """The folder of a published rehearsal version (``disk.qcow2``, ``manifest.json`` …)."""
    return published()


@pytest.fixture
def own_runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A runtime folder for this test's machines alone, with a path that sockets can have."""
    with tempfile.TemporaryDirectory(prefix="gw", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that build an image come before those that use one; else the order stays."""
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    builds = [item for item in here if item.path.name == BUILDS]
    others = iter(builds + [item for item in here if item not in builds])
    items[:] = [next(others) if item.path.parent == Path(__file__).parent else item
                for item in items]  # fmt: skip
