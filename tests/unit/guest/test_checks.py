"""Checks and their results: one that failed is counted, written down, and stops the build."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.guest import checks
from pipeline.guest.agent import AgentRun, StepResult
from pipeline.guest.checks import Result

GOOD = Result("virtio-fs", "round-trip", True, "a file each way", 1.5)
BAD = Result("nocloud", "host-name", False, "the guest is called 'WIN-1'", 0.25)
WORSE = Result("provision", "motd", False, "C:\\Golden\\motd.txt differs", 0.0)


async def holds() -> str:
    return "as declared"


async def fails() -> str:
    raise PipelineError("not as declared", hint="look")


async def breaks() -> str:
    raise RuntimeError("a bug")


def test_a_check_gives_its_evidence_and_one_that_raises_has_failed() -> None:
    seen = [asyncio.run(checks.run_check("g", "n", check)) for check in (holds, fails)]
    assert [(r.group, r.name, r.ok) for r in seen] == [("g", "n", True), ("g", "n", False)]
    assert seen[0].evidence == "as declared"
    assert "not as declared" in seen[1].evidence


def test_a_bug_in_a_check_is_no_failed_check() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(checks.run_check("g", "n", breaks))


@pytest.mark.parametrize("state", ["wrong", "failed", "changed", "reboot"])
def test_a_step_holds_in_no_state_but_ok(state: str) -> None:
    steps = (
        StepResult("a", "file", "ok", 0.5, ""),
        StepResult("b", "registry", state, 0.1, "n is 1"),
        StepResult("c", "service", state, 0.1, ""),
    )
    run = AgentRun("provision", steps, "wrong", 3, 1.0)
    assert checks.of_plan("provision", run) == [
        Result("provision", "a", True, "ok", 0.5),
        Result("provision", "b", False, "n is 1", 0.1),
        Result("provision", "c", False, state, 0.1),
    ]


def test_nothing_failed_is_no_error() -> None:
    checks.require("win", [GOOD, GOOD])


def test_whatever_failed_stops_the_build_with_its_reason() -> None:
    with pytest.raises(PipelineError) as raised:
        checks.require("win", [GOOD, BAD, WORSE])
    assert raised.value.message.splitlines() == [
        "win: 2 of 3 checks failed:",
        "    nocloud/host-name: the guest is called 'WIN-1'",
        "    provision/motd: C:\\Golden\\motd.txt differs",
    ]
    assert "checks.json" in raised.value.hint


def test_results_are_kept_for_people_and_for_ci(tmp_path: Path) -> None:
    assert checks.save(tmp_path, [GOOD, BAD]) == ("checks.json", "junit.xml")
    kept = json.loads((tmp_path / "checks.json").read_text())
    assert [Result(**item) for item in kept] == [GOOD, BAD]
    suites = ET.parse(tmp_path / "junit.xml").getroot().findall("testsuite")
    counts = [(suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in suites]
    assert counts == [("virtio-fs", "1", "0"), ("nocloud", "1", "1")]
    assert suites[0].findtext("testcase/system-out") == GOOD.evidence
    assert suites[1].findtext("testcase/failure") == BAD.evidence
    assert suites[0].find("testcase/failure") is None
    assert checks.summary([GOOD, BAD, WORSE]) == {"passed": 1, "failed": 2}
