"""The stand-in's agent: plan in, JSON lines out, by the same contract as the PowerShell one.

Each step is looked at; when it is not as desired it is set and looked at again. What one kind of
step does lies in ``kinds``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from . import faults, kinds, linux
from .context import Context, StepFailed
from .machine import Machine
from .winpath import NoDrive

DONE, FAILED, NOT_UNDERSTOOD, WRONG, REBOOT = range(5)
ID = re.compile("[a-z0-9-]+")
COMMON = {"id", "kind", "payloads"}
LOG = r"C:\ProgramData\golden\log"


class BadPlan(Exception):
    """The plan or the arguments are not understood."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the agent was called with."""

    test: bool
    plan: str
    payload: str
    log: str


def arguments(words: list[str]) -> Arguments:
    """PowerShell's way of naming parameters: any case, unique beginnings."""
    parser = argparse.ArgumentParser(prog="agent.ps1", add_help=False, exit_on_error=False)
    for name in ("-mode", "-plan", "-payload", "-log"):
        parser.add_argument(name, default="")
    folded = [word.lower() if re.fullmatch("-[A-Za-z]+", word) else word for word in words]
    try:
        given, rest = parser.parse_known_args(folded)
    except argparse.ArgumentError as error:
        raise BadPlan(str(error)) from None
    if rest or given.mode.lower() not in ("apply", "test") or not given.plan:
        raise BadPlan(f"expected -Mode Apply|Test -Plan FILE, got {' '.join(words)}")
    folder = re.sub(r"[\\/][^\\/]*$", "", given.plan)
    return Arguments(
        given.mode.lower() == "test", given.plan, given.payload or f"{folder}\\payload", given.log
    )


def _check_step(step: Any, seen: set[str]) -> None:
    if not isinstance(step, dict) or not ID.fullmatch(str(step.get("id", ""))):
        raise BadPlan(f"a step has no proper id: {step!r:.80}")
    name, kind = step["id"], step.get("kind")
    if name in seen:
        raise BadPlan(f"the id {name} is used twice")
    seen.add(name)
    if kind not in kinds.KINDS:
        raise BadPlan(f"{name}: the kind {kind!r} is not known")
    if unknown := step.keys() - COMMON - kinds.KEYS[kind]:
        raise BadPlan(f"{name}: {kind} has no {min(unknown)}")
    for payload in step.get("payloads", []):
        if not re.fullmatch("[0-9a-f]{64}", str(payload.get("sha256", ""))):
            raise BadPlan(f"{name}: a payload has no SHA-256")
        if ".." in re.split(r"[\\/]", payload["file"]) or payload["file"].startswith(("/", "\\")):
            raise BadPlan(f"{name}: the payload {payload['file']} leaves the payload folder")


def read_plan(machine: Machine, path: str) -> dict[str, Any]:
    """The plan, checked from end to end before anything is touched."""
    try:
        plan = json.loads(machine.path(path).read_bytes())
    except (OSError, NoDrive, ValueError) as error:
        raise BadPlan(f"{path}: {error}") from None
    if (
        not isinstance(plan, dict)
        or plan.get("schema") != 1
        or not ID.fullmatch(str(plan.get("name")))
    ):
        raise BadPlan(f"{path}: not a plan of schema 1")
    seen: set[str] = set()
    for step in plan.get("steps") or []:
        _check_step(step, seen)
    return plan


def payloads(machine: Machine, folder: str, step: dict[str, Any]) -> list[Path]:
    """The step's payloads, every one verified."""
    found = []
    for payload in step.get("payloads", []):
        path = machine.path(f"{folder}\\{payload['file']}")
        if not path.is_file():
            raise StepFailed(f"the payload {payload['file']} is missing")
        if hashlib.sha256(path.read_bytes()).hexdigest() != payload["sha256"]:
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
        return "reboot", "a restart is needed"
    if still := kind.look(context):
        return "failed", f"set, and still: {still}"
    return "changed", ""


def step(context: Context, folder: str, *, test: bool) -> dict[str, Any]:
    """Do one step and say how it went."""
    started = time.monotonic()
    try:
        state, message = _work(context, folder, test=test)
    except (StepFailed, NoDrive, OSError, linux.Failed) as error:
        state, message = "failed", str(error)
    seconds = round(time.monotonic() - started, 1)
    line = {"step": context.step["id"], "kind": context.kind, "state": state}
    return line | {"seconds": seconds, "message": message}


def _fault(plan: dict[str, Any], number: int) -> bool:
    wanted = plan["name"] == "provision" and number == len(plan["steps"])
    if wanted and faults.on("early-power-off"):
        linux.power("poweroff")
    return wanted and faults.on("step-fails")


def _steps(machine: Machine, plan: dict[str, Any], given: Arguments) -> Iterator[dict[str, Any]]:
    total = len(plan["steps"])
    for number, entry in enumerate(plan["steps"], 1):
        context = Context(machine, plan["name"], entry)
        line = step(context, given.payload, test=given.test)
        if not given.test and _fault(plan, number):
            line |= {"state": "failed", "message": "a fault of the rehearsal: step-fails"}
        linux.serial(f"GOLDEN step {plan['name']} {number}/{total} {entry['id']} {line['state']}")
        yield line
        if not given.test and line["state"] in ("failed", "reboot"):
            return


def _result(states: list[str]) -> tuple[str, int]:
    for state, code in (("failed", FAILED), ("reboot", REBOOT), ("wrong", WRONG)):
        if state in states:
            return state, code
    return "done", DONE


def _transcript(machine: Machine, given: Arguments, name: str) -> Path:
    path = machine.path(given.log or f"{LOG}\\{name}.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def run(machine: Machine, words: list[str], out: TextIO) -> int:
    """The agent's whole run; its exit code."""
    try:
        given = arguments(words)
        plan = read_plan(machine, given.plan)
    except BadPlan as error:
        print(f"agent: {error}", file=sys.stderr, flush=True)
        return NOT_UNDERSTOOD
    started = time.monotonic()
    states, message = [], ""
    with _transcript(machine, given, plan["name"]).open("a") as log:
        for line in _steps(machine, plan, given):
            states.append(line["state"])
            message = line["message"] if line["state"] in ("failed", "wrong") else message
            for stream in (out, log):
                print(json.dumps(line), file=stream, flush=True)
        result, code = _result(states)
        seconds = round(time.monotonic() - started, 1)
        last = {"plan": plan["name"], "result": result, "steps": len(plan["steps"])}
        for stream in (out, log):
            print(
                json.dumps(last | {"seconds": seconds, "message": message}), file=stream, flush=True
            )
    linux.serial(f"GOLDEN plan {plan['name']} {result}")
    return code
