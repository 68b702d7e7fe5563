"""Applying a plan to a guest: upload, run the agent, restart where it asks for it, until done.

Goes in: a running machine, its guest and a bundle. Comes out: the agent's last run, in which every
step is as desired; or an error naming the step that is not.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_bytes, sha256_file
from pipeline.foundation.progress import Progress
from pipeline.guest.agent import (
    AGENT,
    APPLY,
    PAYLOADS,
    REBOOT,
    AgentRun,
    Bundle,
    StepResult,
    keep_results,
    plan_path,
    require_done,
    run_agent,
)
from pipeline.guest.login import GuestUnreachable
from pipeline.guest.ssh import FOLDER, Guest
from pipeline.machine.machine import Machine

RESTART = "shutdown.exe /r /t 2 /f"
RESTART_COMMAND_DEADLINE = 60.0
UPLOADED = f"{FOLDER}/uploaded.json"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one run of the agent and one restart may take (s), and how many restarts."""

    run: float = 3600.0
    restart: float = 1800.0
    restarts: int = 5


def _entry(source: bytes | Path) -> dict[str, Any]:
    if isinstance(source, Path):
        return {"sha256": sha256_file(source), "size": source.stat().st_size}
    return {"sha256": sha256_bytes(source), "size": len(source)}


async def _uploaded(guest: Guest) -> dict[str, Any]:
    if not await guest.exists(UPLOADED):
        return {}
    try:
        found = json.loads(await guest.get(UPLOADED))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def upload(guest: Guest, bundle: Bundle) -> list[str]:
    """Put agent, plan and payloads into the guest; gives the names of what had to travel.

    What an earlier upload left complete is skipped. The agent itself verifies every payload before
    it uses it, so this only saves time.
    """
    wanted: dict[str, bytes | Path] = {
        AGENT: bundle.agent,
        plan_path(bundle.name): bundle.plan,
        **{f"{PAYLOADS}/{name}": source for name, source in bundle.payloads.items()},
    }
    there = await _uploaded(guest)
    sent = []
    for path, source in wanted.items():
        entry = await asyncio.to_thread(_entry, source)
        if there.get(path) == entry and await guest.size(path) == entry["size"]:
            continue
        await guest.put(source, path)
        there[path] = entry
        sent.append(path)
        await guest.put(json.dumps(there, sort_keys=True).encode(), UPLOADED)
    return sent


async def restart(machine: Machine, guest: Guest, deadline: float) -> None:
    """Restart the guest; the proof is QEMU's RESET and a login with the same host key."""
    end = time.monotonic() + deadline
    with machine.listen("RESET") as resets:
        try:
            result = await guest.run(RESTART, RESTART_COMMAND_DEADLINE)
        except GuestUnreachable:
            pass  # a guest that restarts at once breaks the connection; the reset will tell
        else:
            if result.code != 0:
                raise PipelineError(f"the guest refused to restart: {result.err or result.out}")
        try:
            async with asyncio.timeout(deadline):
                await resets.get()
        except TimeoutError:
            raise PipelineError(
                f"the guest did not restart within {deadline:g} s of being told to",
                hint="the last screenshot shows what it waits for",
                evidence=machine.evidence,
            ) from None
    await guest.reconnect(max(end - time.monotonic(), 1.0))


async def provision(
    machine: Machine,
    guest: Guest,
    bundle: Bundle,
    progress: Progress,
    patience: Patience | None = None,
) -> AgentRun:
    """Bring the guest into the state that the bundle's plan declares."""
    patience = patience or Patience()
    first: dict[str, StepResult] = {}
    for attempt in range(patience.restarts + 1):
        await upload(guest, bundle)
        run = await run_agent(guest, APPLY, bundle.name, patience.run)
        _remember(first, run)
        keep_results(machine.evidence, first.values())
        if run.exit != REBOOT:
            return replace(require_done(run), results=tuple(first.values()))
        if attempt < patience.restarts:
            progress.event(f"restarting the guest, as {run.results[-1].step} asks")
            await restart(machine, guest, patience.restart)
    raise PipelineError(
        f"plan {bundle.name}: {run.results[-1].step} still asks for a restart after "
        f"{patience.restarts} of them",
        evidence=machine.evidence,
    )


def _remember(first: dict[str, StepResult], run: AgentRun) -> None:
    """Keep what each step did first: in the run after a restart it is merely ``ok``."""
    for step in run.results:
        before = first.get(step.step)
        if before is None or step.state in ("failed", "wrong"):
            first[step.step] = step
        elif before.state == "reboot":
            first[step.step] = replace(before, state="changed")
