"""Lint finds every seeded defect, at the right place, and is silent on correct files."""

from __future__ import annotations

import pytest

from pipeline.answers.findings import Severity
from pipeline.answers.lint import rules_table
from tests.unit.answers import samples
from tests.unit.answers.mutate import Mutation, bases
from tests.unit.answers.mutations import MUTATIONS, false_alarms

WHOLE_FILE = {"xml", "size", "doctype", "root", "namespace", "envelope"}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.kind)
def test_each_kind_of_mistake_is_found(mutation: Mutation) -> None:
    found = mutation.findings()
    assert mutation.rule in {finding.rule for finding in found}, [f.text("f") for f in found]
    lines = mutation.mutated().splitlines()
    for finding in found:
        assert 1 <= finding.line <= len(lines)
        assert finding.message
        assert finding.fix, finding.text("mutated.xml")
        if finding.rule not in WHOLE_FILE:
            name = finding.path.rpartition("/")[2].partition("[")[0]
            assert name in lines[finding.line - 1], finding.text("mutated.xml")


def test_kinds_are_many_and_different() -> None:
    kinds = [mutation.kind for mutation in MUTATIONS]
    assert len(set(kinds)) == len(kinds) >= 40


def test_every_rule_has_a_mistake_to_find_and_every_mistake_a_rule() -> None:
    listed = {line.split()[0] for line in rules_table().splitlines()}
    assert len(listed) > 70
    assert {mutation.rule for mutation in MUTATIONS} == listed


def test_there_are_no_false_alarms() -> None:
    assert false_alarms() == []


def test_the_correct_files_are_many() -> None:
    assert len(samples.correct()) >= 20
    assert any(name.startswith("foreign/") for name in samples.correct())


def test_no_base_has_a_finding_by_itself() -> None:
    clean = Mutation("nothing", "xml", "uefi", lambda text: text + " ")
    for base in bases():
        assert Mutation("nothing", "xml", base, lambda text: text + "\n").findings() == []
    assert not clean.caught()


@pytest.mark.parametrize("kind", ["setting misspelt", "component misspelt"])
def test_what_is_unknown_but_well_formed_is_a_warning(kind: str) -> None:
    mutation = next(mutation for mutation in MUTATIONS if mutation.kind == kind)
    assert {finding.severity for finding in mutation.findings()} == {Severity.WARNING}


def test_a_mutation_that_changes_nothing_is_no_mutation() -> None:
    with pytest.raises(AssertionError, match="changes nothing"):
        Mutation("nothing", "xml", "uefi", lambda text: text).caught()
