"""docs/failures.md tells of every fault that the chaos suite knows, and of no other."""

from __future__ import annotations

import re

from pipeline.foundation.paths import ROOT
from pipeline.rehearsal.guest.faults import KNOWN
from tests.chaos import suite
from tests.chaos.signal_cases import WAYS

TEXT = (ROOT / "docs/failures.md").read_text()
CASES = suite.cases()


def _told() -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \|", TEXT, re.MULTILINE))


def test_every_fault_is_in_the_table_and_nothing_else() -> None:
    assert _told() == {case.name for case in CASES}


def test_every_signal_is_told_at_every_stage() -> None:
    signals = {name for name, *_ in WAYS}
    told = set(re.findall(r"^\| `([^`]+)` \| ([a-z]+) \|", TEXT, re.MULTILINE))
    wanted = {(case.name, case.stage) for case in CASES if case.name in signals}
    assert {pair for pair in told if pair[0] in signals} == wanted


def test_every_fault_of_the_guest_is_played() -> None:
    assert KNOWN.keys() <= {case.name for case in CASES}


def test_there_are_enough_of_them_with_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) >= 20
    assert len({case.key for case in CASES}) == len(CASES)
