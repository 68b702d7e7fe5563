"""The agent in the guest: run it, read its results, restart the guest where it asks for that.

Goes in: a :class:`Bundle` of agent, plan and payloads. Comes out: :class:`AgentRun`, one
:class:`StepResult` for each step, as docs/guest-contract.md defines them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import write_json
from pipeline.foundation.process import tail
from pipeline.guest.powershell import file_command, windows_path
from pipeline.guest.ssh import FOLDER, Guest, Result

AGENT = f"{FOLDER}/agent.ps1"
PAYLOADS = f"{FOLDER}/payload"

DONE, FAILED, NOT_UNDERSTOOD, WRONG, REBOOT = range(5)
RESULTS = {DONE: "done", FAILED: "failed", WRONG: "wrong", REBOOT: "reboot"}
APPLY, TEST = "Apply", "Test"
KEPT = "steps.json"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of a step."""

    step: str
    kind: str
    state: str
    seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class AgentRun:
    """One run of the agent over a plan; ``result`` is its own word, ``exit`` its exit code."""

    plan: str
    results: tuple[StepResult, ...]
    result: str
    exit: int
    seconds: float
    message: str = ""

    @property
    def failed(self) -> StepResult | None:
        """The step that failed, or the first one that is not as desired."""
        bad = (step for step in self.results if step.state in ("failed", "wrong"))
        return next(bad, None)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a run needs in the guest; ``payloads`` are by their names below the payload folder."""

    name: str
    agent: Path
    plan: bytes
    payloads: Mapping[str, bytes | Path]


def plan_path(name: str) -> str:
    """Where the plan of this name lies in the guest."""
    return f"{FOLDER}/{name}.json"


def _objects(output: str) -> list[dict[str, Any]]:
    """The JSON objects among the lines; everything else is noise."""
    found = []
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
    return found


def _step(value: dict[str, Any]) -> StepResult:
    return StepResult(
        step=str(value["step"]),
        kind=str(value.get("kind", "")),
        state=str(value.get("state", "failed")),
        seconds=float(value.get("seconds", 0.0)),
        message=str(value.get("message", "")),
    )


def parse_run(plan: str, result: Result) -> AgentRun:
    """Read what the agent printed; raises when that and its exit code don't make a run."""
    objects = _objects(result.out)
    steps = tuple(_step(value) for value in objects if "step" in value)
    ends = [value for value in objects if "plan" in value and "result" in value]
    if result.code == NOT_UNDERSTOOD and ends:
        raise PipelineError(
            f"the agent did not understand plan {plan}: {ends[-1].get('message', '')}",
            hint=f"nothing was touched; the plan is {windows_path(plan_path(plan))} in the guest",
        )
    if result.code not in RESULTS or not ends or ends[-1]["result"] != RESULTS[result.code]:
        said = tail(result.err) or tail(result.out) or "    (it said nothing)"
        raise PipelineError(
            f"the agent did not run plan {plan}: exit code {result.code}\n{said}",
            hint="exit code 2 means that it did not understand the plan or its arguments",
        )
    end = ends[-1]
    return AgentRun(
        plan=str(end["plan"]),
        results=steps,
        result=str(end["result"]),
        exit=result.code,
        seconds=float(end.get("seconds", 0.0)),
        message=str(end.get("message", "")),
    )


def keep_results(folder: Path, results: Iterable[StepResult]) -> None:
    """Write what became of each step into ``folder``, as ``steps.json``."""
    write_json(folder / KEPT, [asdict(step) for step in results])


async def run_agent(guest: Guest, mode: str, plan: str, deadline: float) -> AgentRun:
    """Run the agent once over a plan that has been uploaded; ``mode`` is ``Apply`` or ``Test``."""
    words = ("-Mode", mode, "-Plan", windows_path(plan_path(plan)))
    result = await guest.run(file_command(windows_path(AGENT), *words), deadline)
    return parse_run(plan, result)


def require_done(run: AgentRun) -> AgentRun:
    """The run, if every step is as desired; else an error that names step, kind and message."""
    if run.exit == DONE:
        return run
    step = run.failed
    if step is None:
        raise PipelineError(f"plan {run.plan} ended with {run.result}: {run.message}")
    raise PipelineError(
        f"plan {run.plan}: step {step.step} ({step.kind}) {step.state}: {step.message}",
        hint=f"the guest's log is C:\\ProgramData\\golden\\log\\{run.plan}.log",
    )
