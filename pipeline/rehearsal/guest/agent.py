"""The stand-in's agent: plan in, JSON lines out, by the same contract as the PowerShell one.

Each step is looked at; when it is not as desired it is set and looked at again. What a plan may say
lies in ``plan``, what one kind of step does in ``kinds``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

from . import faults, kinds, linux
from .context import Context, StepFailed
from .machine import Machine
from .plan import BadPlan, parse
from .winpath import NoDrive

DONE, FAILED, NOT_UNDERSTOOD, WRONG, REBOOT = range(5)
LOG = r"C:\ProgramData\golden\log"
LONGEST_MESSAGE, LONGEST_BEACON = 600, 200
# Nothing here takes long enough for these; they are taken all the same.
TIMEOUTS = ("-programtimeout", "-servicetimeout", "-busytimeout")


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the agent was called with."""

    test: bool
    plan: str
    payload: str
    log: str


class _Parser(argparse.ArgumentParser):
    """What cannot be parsed is not understood, rather than the end of the program."""

    def error(self, message: str) -> NoReturn:
        """See :meth:`argparse.ArgumentParser.error`."""
        raise BadPlan(message)


def arguments(words: list[str]) -> Arguments:
    """PowerShell's way of naming parameters: any case, unique beginnings."""
    parser = _Parser(prog="agent.ps1", add_help=False)
    for name in ("-mode", "-plan", "-payload", "-log"):
        parser.add_argument(name, default="")
    for name in TIMEOUTS:
        parser.add_argument(name, default=[], dest="timeouts", action="append")
    folded = [word.lower() if re.fullmatch("-[A-Za-z]+", word) else word for word in words]
    given, rest = parser.parse_known_args(folded)
    if rest or given.mode.lower() not in ("apply", "test") or not given.plan:
        raise BadPlan(f"expected -Mode Apply|Test -Plan FILE, got {' '.join(words)}")
    if wrong := [word for word in given.timeouts if not re.fullmatch("[0-9]{1,6}", word)]:
        raise BadPlan(f"a timeout is {wrong[0]!r}, not a number of seconds")
    folder = re.sub(r"[\\/][^\\/]*$", "", given.plan)
    return Arguments(
        given.mode.lower() == "test", given.plan, given.payload or f"{folder}\\payload", given.log
    )


def read_plan(machine: Machine, path: str) -> dict[str, Any]:
    """The plan, checked from end to end before anything is touched."""
    try:
        return parse(machine.path(path).read_bytes())
    except (OSError, NoDrive) as error:
        raise BadPlan(f"there is no plan {path}: {error}") from None
    except BadPlan as error:
        raise BadPlan(f"{path}: {error}") from None


def payloads(machine: Machine, folder: str, step: dict[str, Any]) -> list[Path]:
    """The step's payloads, every one verified."""
    found = []
    for payload in step.get("payloads") or []:
        path = machine.path(f"{folder}\\{payload['file']}")
        if not path.is_file():
            raise StepFailed(f"the payload {payload['file']} is missing")
        if hashlib.sha256(path.read_bytes()).hexdigest() != payload["sha256"].lower():
            raise StepFailed(f"the payload {payload['file']} has another digest than the plan says")
        found.append(path)
    return found


def _work(context: Context, folder: str, *, test: bool) -> tuple[str, str]:
    """Look, set, look again: the step's state and message."""
    context.files = payloads(context.machine, folder, context.step)
    kind = kinds.KINDS[context.kind]
    if not (wrong := kind.look(context)):
        return "ok", ""
    if test:
        return "wrong", wrong
    if kind.change(context):
        return "reboot", ""
    if still := kind.look(context):
        return "failed", f"set, and still: {still}"
    return "changed", ""


def sentence(text: str) -> str:
    """One sentence on one line, of a length that people still read."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 3] + "..."


def beacon(text: str) -> None:
    """A line on COM1, as long as a beacon may be."""
    linux.serial(f"GOLDEN {text}"[:LONGEST_BEACON])


def step(context: Context, folder: str, *, test: bool) -> dict[str, Any]:
    """Do one step and say how it went."""
    started = time.monotonic()
    try:
        state, message = _work(context, folder, test=test)
    except (StepFailed, NoDrive, OSError, linux.Failed) as error:
        state, message = "failed", str(error)
    seconds = round(time.monotonic() - started, 1)
    line = {"step": context.step["id"], "kind": context.kind, "state": state}
    return line | {"seconds": seconds, "message": sentence(message)}


def _fault(plan: dict[str, Any], number: int) -> str:
    """The fault that makes the last step of a plan fail."""
    if number != len(plan["steps"]):
        return ""
    if plan["name"] == "provision" and faults.on("early-power-off"):
        linux.power("poweroff")
    name = {"bootstrap": "bootstrap-fails", "provision": "step-fails"}.get(plan["name"], "")
    return name if name and faults.on(name) else ""


def _steps(machine: Machine, plan: dict[str, Any], given: Arguments) -> Iterator[dict[str, Any]]:
    total = len(plan["steps"])
    for number, entry in enumerate(plan["steps"], 1):
        context = Context(machine, plan["name"], entry)
        line = step(context, given.payload, test=given.test)
        if not given.test and (fault := _fault(plan, number)):
            line |= {"state": "failed", "message": f"a fault of the rehearsal: {fault}"}
        beacon(f"step {plan['name']} {number}/{total} {entry['id']} {line['state']}")
        yield line
        if not given.test and line["state"] in ("failed", "reboot"):
            return


def _result(lines: Sequence[dict[str, Any]]) -> tuple[str, str, int]:
    """The plan's result is the worst of its steps': with the message of the last such step."""
    for state, code in (("failed", FAILED), ("reboot", REBOOT), ("wrong", WRONG)):
        if found := [line for line in lines if line["state"] == state]:
            return state, f"{found[-1]['step']}: {found[-1]['message']}", code
    return "done", "", DONE


def _end(name: str, result: str, steps: int, started: float, message: str) -> str:
    """The line that says how the plan ended."""
    line = {"plan": name, "result": result, "steps": steps}
    seconds = round(time.monotonic() - started, 1)
    return json.dumps(line | {"seconds": seconds, "message": sentence(message)})


def _transcript(machine: Machine, given: Arguments, name: str) -> TextIO:
    """The log; that it cannot be written is no reason to leave a machine half made."""
    try:
        path = machine.path(given.log or f"{LOG}\\{name}.log")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except (OSError, NoDrive) as error:
        linux.log(f"agent: no transcript: {error}")
        return io.StringIO()


def run(machine: Machine, words: list[str], out: TextIO) -> int:
    """The agent's whole run; its exit code."""
    started = time.monotonic()
    try:
        given = arguments(words)
        plan = read_plan(machine, given.plan)
    except BadPlan as error:
        print(_end("", "failed", 0, started, str(error)), file=out, flush=True)
        return NOT_UNDERSTOOD
    lines = []
    with _transcript(machine, given, plan["name"]) as log:
        for line in _steps(machine, plan, given):
            lines.append(line)
            for stream in (out, log):
                print(json.dumps(line), file=stream, flush=True)
        result, message, code = _result(lines)
        for stream in (out, log):
            end = _end(plan["name"], result, len(plan["steps"]), started, message)
            print(end, file=stream, flush=True)
    beacon(f"plan {plan['name']} {result}")
    return code
