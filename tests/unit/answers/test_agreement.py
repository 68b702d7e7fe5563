"""Two readings of the rules agree: ours, and that of the rehearsal's stand-in for Setup."""

from __future__ import annotations

import pytest

from pipeline.answers.findings import Severity
from pipeline.rehearsal.guest.answer import Refused, read
from tests.unit.answers import samples
from tests.unit.answers.mutate import Mutation
from tests.unit.answers.mutations import MUTATIONS

# The stand-in knows the settings that our files use, and refuses what lint calls merely unknown.
UNKNOWN = {"component-unknown", "setting-unknown"}
OURS = [mutation for mutation in MUTATIONS if mutation.base in ("uefi", "bios", "oobe")]


@pytest.mark.parametrize("image", sorted(samples.shipped()))
def test_the_stand_in_takes_every_shipped_file(image: str) -> None:
    passes = read(samples.rendered(image)["autounattend.xml"])
    assert {"windowsPE", "specialize", "oobeSystem"} <= set(passes)
    assert "generalize" in read(samples.rendered(image)["unattend-oobe.xml"])


def refusal(mutation: Mutation) -> str:
    """Why the stand-in refuses a mutated file; empty when it takes it."""
    try:
        read(mutation.mutated().encode())
    except Refused as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("mutation", OURS, ids=lambda mutation: mutation.kind)
def test_whatever_the_stand_in_refuses_is_an_error_for_lint(mutation: Mutation) -> None:
    found = mutation.findings()
    errors = [finding for finding in found if finding.severity is Severity.ERROR]
    unknown = {finding.rule for finding in found} & UNKNOWN
    assert errors or unknown or not refusal(mutation), refusal(mutation)


def test_the_stand_in_refuses_a_good_part_of_the_defects() -> None:
    assert sum(bool(refusal(mutation)) for mutation in OURS) > len(OURS) // 3
