"""The stand-in's agent and the PowerShell one report the same of the same plan.

A rehearsal proves something about Windows only as far as the two agents agree. Seconds and wording
are not compared; what else the contract leaves open stands in ``ALLOWED``, with its reason.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.powershell.fake_machine import ADMINISTRATORS, find_powershell
from tests.powershell.parity import Report, Side, StandIn, Windows, without_linux
from tests.powershell.parity_cases import CALLS, CASES, GOLDEN_SID, Case, from_payload, steps
from tests.powershell.parity_variants import VARIANTS
from tests.powershell.test_agent_restarts import PLANS

pytestmark = pytest.mark.powershell

LOCK = threading.Lock()  # the stand-in is patched for the whole process

# Where the contract lets the agents differ: Windows' exit code, the stand-in's, and why.
ALLOWED: dict[str, tuple[int, int, str]] = {
    "script-1-2Apply": (0, 1, "the stand-in has no PowerShell, and does not pretend to"),
    "interpreter is 'stand-in'": (2, 1, "scripts for the stand-in run in the rehearsal only"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One run to be made on both sides."""

    name: str
    words: Sequence[str]


def runs_of(case: Case, side: Side) -> list[Job]:
    """The runs of a case, on a side where all that they need is put in place."""
    found = []
    for number, made in enumerate(case.plans(side), 1):
        name = f"{case.name}-{number}"
        plan = side.plan(name, json.dumps({"schema": 1, "name": case.name, "steps": made}))
        for turn, mode in enumerate(case.modes, 1):
            found.append(Job(f"{name}-{turn}{mode}", ["-Mode", mode, "-Plan", plan]))
    return found


def refusals(side: Side) -> list[Job]:
    """Plans and calls that are to be refused, and a few calls that are not."""
    runs_of(Case("empty", steps()), side)
    runs_of(Case("file-payload", from_payload), side)
    found = []
    for number, (made, _) in enumerate(PLANS):
        text = made if isinstance(made, str) else json.dumps(made)
        plan = side.plan(f"plan-{number}", text)
        found.append(Job(f"plan-{number}", ["-Mode", "Apply", "-Plan", plan]))
    return found + [Job(f"call-{name}", words) for name, words in CALLS.items()]


def nearly_good(side: Side) -> list[Job]:
    """Plans of which most are to be refused; nothing of what they say is done."""
    found = []
    for name, texts in VARIANTS.items():
        for number, text in enumerate(texts):
            plan = side.plan(f"{name}-{number}", text)
            found.append(Job(f"{name}-{number}", ["-Mode", "Test", "-Plan", plan]))
    return found


def some(cases: Sequence[Case]) -> Callable[[Side], list[Job]]:
    return lambda side: [job for case in cases for job in runs_of(case, side)]


# Each group has a machine of its own, so that they can run at the same time.
GROUPS = (some(CASES[:10]), some(CASES[10:]), refusals, nearly_good)
Reports = dict[str, tuple[Report, Report]]


def compare(group: Callable[[Side], list[Job]], folder: Path) -> Reports:
    """By the name of each run of a group: Windows' report and the stand-in's."""
    windows, stand_in = Windows(folder / "windows"), StandIn(folder / "stand-in")
    windows.machine.change(groups={ADMINISTRATORS: [GOLDEN_SID], "S-1-5-32-545": [GOLDEN_SID]})
    wanted = group(windows)
    ran = windows.run([job.words for job in wanted])
    with LOCK, without_linux(stand_in, folder):
        others = stand_in.run([job.words for job in group(stand_in)])
    return {job.name: (one, other) for job, one, other in zip(wanted, ran, others, strict=True)}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    folders = [tmp_path_factory.mktemp("parity") for _ in GROUPS]
    with ThreadPoolExecutor() as pool:
        found = pool.map(compare, GROUPS, folders)
        return {name: pair for group in found for name, pair in group.items()}


def case_names() -> list[str]:
    """The runs of all cases, which need a machine to be written down."""
    with tempfile.TemporaryDirectory() as folder:
        side = StandIn(Path(folder))
        found = [job.name for case in CASES for job in runs_of(case, side)]
    return [name for name in found if name not in ALLOWED]


@pytest.mark.parametrize("name", case_names())
def test_both_report_the_same(reports: Reports, name: str) -> None:
    windows, stand_in = reports[name]
    assert windows.unlike == ()
    assert stand_in == windows


NOT_UNDERSTOOD = Report(2, result="failed", count=0)
REFUSED = [(f"plan-{number}", *pair) for number, pair in enumerate(PLANS)]


@pytest.mark.parametrize("name", [n for n, _, message in REFUSED if message not in ALLOWED])
def test_both_refuse_a_plan_and_touch_nothing(reports: Reports, name: str) -> None:
    assert reports[name] == (NOT_UNDERSTOOD, NOT_UNDERSTOOD)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_stand_in_takes_only_what_windows_takes(reports: Reports, name: str) -> None:
    """Of values of a wrong type it refuses some that PowerShell makes sense of: nothing else."""
    for number, text in enumerate(VARIANTS[name]):
        windows, stand_in = reports[f"{name}-{number}"]
        assert stand_in.unlike == windows.unlike == (), text
        assert stand_in in (windows, NOT_UNDERSTOOD), text


@pytest.mark.parametrize("name", CALLS)
def test_both_understand_their_arguments_alike(reports: Reports, name: str) -> None:
    windows, stand_in = reports[f"call-{name}"]
    assert stand_in == windows
    assert windows.exit == {"any-case": 0, "folders": 1, "timeouts": 0, "log": 0}.get(name, 2)


@pytest.mark.parametrize("name", ALLOWED)
def test_what_the_contract_leaves_open(reports: Reports, name: str) -> None:
    windows, stand_in, _reason = ALLOWED[name]
    run = next((run for run, _, message in REFUSED if message == name), name)
    assert [report.exit for report in reports[run]] == [windows, stand_in]
