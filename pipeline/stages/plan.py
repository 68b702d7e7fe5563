"""What will run for an image, and why: the decision, without doing anything.

Each stage is *current* (its receipt matches its inputs and its outputs are there) or has a reason
not to be. Only what a later stage needs will run: when the published version for these inputs is in
the catalog, nothing does, even on a host that has no other trace of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline.stages.build import Build, Stage
from pipeline.stages.difference import changes
from pipeline.stages.receipts import Inputs, Receipt, stage_id

NEVER = "never built here"
# What ``elsewhere`` answers when it knows of no product at all.
ABSENT = ("its product is not in the catalog",)


class State(StrEnum):
    """What becomes of a stage."""

    CURRENT = "current"
    PULL = "pull"
    RUN = "run"
    SKIP = "not needed"


@dataclass(frozen=True, slots=True)
class Examined:
    """One stage with its inputs, whether it is current, and if not why."""

    stage: Stage
    id: str
    inputs: Inputs
    current: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """One stage, what becomes of it, and why."""

    examined: Examined
    state: State

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.examined.stage.name


def _missing(build: Build, stage: Stage, receipt: Receipt) -> list[str]:
    folder = build.folder(stage.name)
    return [f"{o.path} is gone" for o in receipt.outputs if not o.lies_in(folder)]


def _replaced(build: Build, receipt: Receipt) -> list[str]:
    """Stages this product stands on that have been made anew since."""
    now = {name: build.receipt(name) for name in receipt.parents}
    return [
        f"{name} was made anew"
        for name, run in receipt.parents.items()
        if (parent := now[name]) is not None and parent.run != run
    ]


def _changed(old: Inputs, new: Inputs, chained: Mapping[str, str]) -> list[str]:
    """The inputs that differ; an id of an earlier stage is named as that."""
    found = []
    for change in changes(old, new):
        if change.path in chained:
            found.append(f"{change.path} changed")
        else:
            found.append(str(change))
    return found


def _reasons(build: Build, stage: Stage, inputs: Inputs, ids: Mapping[str, str]) -> list[str]:
    receipt = build.receipt(stage.name)
    if receipt is None:
        return [NEVER]
    if receipt.id != stage_id(inputs):
        return _changed(receipt.inputs, inputs, ids) or ["the form of its inputs changed"]
    return [
        *_missing(build, stage, receipt),
        *_replaced(build, receipt),
        *stage.worn(build, receipt),
    ]


def _examine(build: Build, stage: Stage, ids: dict[str, str]) -> Examined:
    inputs = {"revision": stage.revision, **stage.inputs(build, ids)}
    identifier = stage_id(inputs)
    against = stage.elsewhere(build, identifier) if stage.elsewhere else None
    reasons = [] if against == () else _reasons(build, stage, inputs, ids)
    if against == ABSENT:
        reasons = reasons or list(ABSENT)
    elif against:
        reasons = [*against, *(reason for reason in reasons if reason not in against)]
    ids[stage.name] = identifier
    return Examined(stage, identifier, inputs, not reasons, tuple(reasons))


def examine(build: Build, stages: Sequence[Stage]) -> list[Examined]:
    """Every stage with its id and whether its product is there; reads receipts, runs nothing."""
    ids: dict[str, str] = {}
    return [_examine(build, stage, ids) for stage in stages]


Shared = Callable[[Examined], str]
"""Where other hosts have left a stage's product; empty when nowhere."""


def decide(build: Build, stages: Sequence[Stage], shared: Shared = lambda _: "") -> list[Decision]:
    """What becomes of each stage, in graph order; the last one is wanted for its own sake.

    ``shared`` is asked, for stages that would run, whether their product need not be made here.
    """
    examined = examine(build, stages)
    where = _shared(examined, shared)
    running = _running(examined, set(where))
    return [_decision(item, running, where) for item in examined]


def _decision(item: Examined, running: set[str], where: Mapping[str, str]) -> Decision:
    name = item.stage.name
    if name not in running:
        return Decision(item, State.CURRENT if item.current else State.SKIP)
    if name in where:
        cached = replace(item, current=False, reasons=(f"cached in {where[name]}",))
        return Decision(cached, State.PULL)
    again = tuple(f"{other} runs again" for other in item.stage.stands_on if other in running)
    return Decision(replace(item, current=False, reasons=item.reasons or again), State.RUN)


def _shared(examined: Sequence[Examined], shared: Shared) -> Mapping[str, str]:
    """The stages whose products can be pulled: one on top of another only together with it."""
    would_run = _running(examined, set())
    found: dict[str, str] = {}
    for item in examined:
        if item.stage.name in would_run and not item.current:
            below = [i for i in examined if i.stage.name in item.stage.disks]
            ready = all(i.current or i.stage.name in found for i in below)
            if ready and (place := shared(item)):
                found[item.stage.name] = place
    return found


def _needs(item: Examined, pulled: set[str]) -> tuple[str, ...]:
    """What must be there before the stage: of one that is pulled, just the disks below it."""
    stage = item.stage
    return stage.disks if stage.name in pulled else (*stage.stands_on, *stage.after)


def _running(examined: Sequence[Examined], pulled: set[str]) -> set[str]:
    """The stages that will run: those the goal needs, and what stands on a disk made anew."""
    by_name = {item.stage.name: item for item in examined}
    running = {item.stage.name for item in examined[-1:] if not item.current}
    size = -1
    while size != len(running):
        size = len(running)
        for item in examined:
            stage = item.stage
            if stage.name in running:
                needs = _needs(item, pulled)
                running.update(name for name in needs if not by_name[name].current)
            elif any(n in running and not by_name[n].stage.pure for n in stage.stands_on):
                running.add(stage.name)
    return running
