"""What the report says has changed."""

from __future__ import annotations

from pipeline.stages.story import Inputs, changed


def test_a_change_is_told_once_where_it_enters() -> None:
    before: Inputs = {
        "cidata": {"drivers": "a", "agent": "1"},
        "install": {"cidata": "x", "machine": {"cpus": 2}},
        "provision": {"install": "p", "agent": "1"},
    }
    now: Inputs = {
        "cidata": {"drivers": "a", "agent": "2"},
        "install": {"cidata": "y", "machine": {"cpus": 4}},
        "provision": {"install": "q", "agent": "2"},
    }
    assert list(changed(before, now)) == [
        "cidata: agent: 1 → 2",
        "install: machine.cpus: 2 → 4",
    ]


def test_equal_inputs_tell_nothing() -> None:
    now = {"install": {"cidata": "x"}}
    assert list(changed(now, now)) == []


def test_a_stage_that_is_new_is_told() -> None:
    assert list(changed({}, {"seal": {"scripts": {"seal.ps1": "1"}}})) == [
        "seal: scripts: (absent) → {'seal.ps1': '1'}"
    ]
