"""A stand-in for the tests of its agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.rehearsal.guest import faults, linux, services, sshd
from tests.unit.rehearsal.standin import Guest


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    made = Guest(tmp_path)
    monkeypatch.setattr(linux, "serial", made.beacons.append)
    monkeypatch.setattr(linux, "load", lambda *names: None)
    monkeypatch.setattr(services, "RUNNING", tmp_path / "services")
    monkeypatch.setattr(sshd, "refresh", lambda machine: None)
    monkeypatch.setattr(sshd, "reconcile", lambda machine, wanted: None)
    monkeypatch.setattr(faults, "active", frozenset)
    return made
