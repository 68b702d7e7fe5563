"""Plans as the agent gets them: the agent, ``plan.json``, the payloads."""

from __future__ import annotations

from pipeline.answers.credentials import Credentials
from pipeline.answers.planning import Plan
from pipeline.guest.agent import TEST, AgentRun, Bundle, run_agent
from pipeline.guest.provision import upload
from pipeline.guest.ssh import Guest
from pipeline.stages import payloads, rendering
from pipeline.stages.build import Build, Work
from pipeline.stages.cidata import KEY


def plan_of(build: Build, name: str) -> Plan:
    """The plan ``bootstrap`` or ``provision``."""
    return {"bootstrap": rendering.bootstrap, "provision": rendering.provision}[name](build)


def bundle(work: Work, name: str) -> Bundle:
    """What it takes to apply or test a plan in the guest; the build's public key is filled in."""
    build = work.build
    plan = payloads.resolved(build, plan_of(build, name))
    public_key = (work.upstream("install") / f"{KEY}.pub").read_bytes().strip()
    document = plan.json().replace(Credentials.placeholder().public_key.encode(), public_key)
    return Bundle(name, rendering.guest_script(build, "agent.ps1"), document, dict(plan.payloads))


async def look(work: Work, guest: Guest, name: str, deadline: float) -> AgentRun:
    """Run a plan in Test mode: every step is looked at, nothing is changed."""
    await upload(guest, bundle(work, name))
    return await run_agent(guest, TEST, name, deadline)
