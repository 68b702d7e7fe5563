"""Checks of a running guest, and their results as JSON and JUnit.

A check is a name and an answer; the steps of a plan in Test mode are checks as well, so what was
declared is what is proven. All checks are run; failures are counted at the end.
"""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import write_bytes, write_json
from pipeline.guest.agent import AgentRun

# A check returns its evidence, and raises a PipelineError when it fails.
Check = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Result:
    """One check: what it looked at, whether it holds, what was seen, and how long it took (s)."""

    group: str
    name: str
    ok: bool
    evidence: str
    seconds: float


async def run_check(group: str, name: str, check: Check) -> Result:
    """Run one check to its answer."""
    started = time.monotonic()
    try:
        evidence, ok = await check(), True
    except PipelineError as error:
        evidence, ok = str(error), False
    return Result(group, name, ok, evidence, round(time.monotonic() - started, 3))


def of_plan(plan: str, run: AgentRun) -> list[Result]:
    """The steps of a plan in Test mode as checks."""
    return [
        Result(plan, step.step, step.state == "ok", step.message or step.state, step.seconds)
        for step in run.results
    ]


def save(folder: Path, results: Sequence[Result]) -> tuple[str, str]:
    """Write ``checks.json`` and ``junit.xml``; returns their names."""
    write_json(folder / "checks.json", [asdict(result) for result in results])
    write_bytes(folder / "junit.xml", junit(results))
    return "checks.json", "junit.xml"


def summary(results: Iterable[Result]) -> dict[str, int]:
    """How many passed and failed."""
    held = [result.ok for result in results]
    return {"passed": held.count(True), "failed": held.count(False)}


def junit(results: Sequence[Result]) -> bytes:
    """The results in the form that CI systems read."""
    suites = ET.Element("testsuites")
    for group in dict.fromkeys(result.group for result in results):
        mine = [result for result in results if result.group == group]
        suites.append(_suite(group, mine))
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _suite(group: str, results: Sequence[Result]) -> ET.Element:
    failures = summary(results)["failed"]
    suite = ET.Element("testsuite", name=group, tests=str(len(results)), failures=str(failures))
    for result in results:
        case = ET.SubElement(
            suite, "testcase", classname=group, name=result.name, time=f"{result.seconds:.3f}"
        )
        outcome = ET.SubElement(case, "system-out" if result.ok else "failure")
        outcome.text = result.evidence
    return suite


def require(image: str, results: Sequence[Result]) -> None:
    """Raise when a check failed, with the first of them in the sentence."""
    failed = [result for result in results if not result.ok]
    if failed:
        listed = "\n".join(f"    {r.group}/{r.name}: {r.evidence}" for r in failed)
        raise PipelineError(
            f"{image}: {len(failed)} of {len(results)} checks failed:\n{listed}",
            hint="the guest was not as declared; see checks.json and com1.log",
        )
