"""The PowerShell to test with, and a fresh fake machine per test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.powershell.fake_machine import FakeMachine, find_powershell


@pytest.fixture
def powershell() -> str:
    """A PowerShell, or a skip in one clear line; under CI its absence is a failure."""
    found = find_powershell()
    if found is None:
        message = "no powershell and no pwsh on PATH: the guest scripts are not run"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture
def machine(tmp_path: Path, powershell: str) -> FakeMachine:
    """A fresh machine."""
    return FakeMachine(tmp_path)
