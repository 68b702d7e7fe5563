"""What must be built tonight: what changed, what is about to expire, what was asked for.

Goes in: a build with the day it is decided on, receipts, and the catalogs. Comes out: reasons.

An evaluation's days are counted from the installation of Windows (docs/nightly.md says why), so an
image that is about to expire is rebuilt from install on: publishing the old disk again would not
turn the clock back. Its inputs and ids stay what they are, because nothing that goes in has
changed; what is not good any more is the product. That needs no memory: the day, the receipt of
install and the catalog decide, so that every runner decides the same.

What is asked for with ``GOLDEN_REBUILD`` needs one: when it began. Only what is older must be made
anew, so that a run that failed goes on where it was, as every other does.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, write_json
from pipeline.publishing import catalog
from pipeline.stages.build import Build, Stage
from pipeline.stages.plan import ABSENT, NEVER, Decision, State, decide
from pipeline.stages.receipts import Receipt

_FORM = "%Y-%m-%dT%H:%M:%SZ"
ASKED = ("it was asked for anew",)


@dataclass(frozen=True, slots=True)
class Tonight:
    """One image that must be built, why, and the id of what comes out."""

    build: Build
    reason: str
    build_id: str


def due(built: datetime.datetime, ends: datetime.datetime, build: Build) -> bool:
    """Whether what ends then has to be built anew by now.

    Never before half its life is over: a margin as long as an evaluation would mean a rebuild
    every night.
    """
    margin = datetime.timedelta(days=build.settings.rebuild_before_expiry_days)
    return build.now >= ends - min(margin, (ends - built) / 2)


def installed_too_long_ago(build: Build, receipt: Receipt) -> tuple[str, ...]:
    """Why a disk is not good any more although its inputs are the same.

    Holds for every disk that stands on the installed one: a new layer on an old Windows is old.
    """
    if asked_for(build, receipt.finished_at):
        return ASKED
    days = build.facts.evaluation_days
    if receipt.stage != "install":
        receipt = build.receipt("install") or receipt
    if days is None or not receipt.finished_at:
        return ()
    built = moment(receipt.finished_at)
    ends = built + datetime.timedelta(days=days)
    if not due(built, ends, build):
        return ()
    return (f"Windows was installed on {built:%Y-%m-%d}, its evaluation {_ends(ends, build)}",)


def unpublished(build: Build, identifier: str) -> tuple[str, ...]:
    """What speaks against the published version made from these inputs; nothing when it is good.

    The catalog of this host is looked at first, then those of the stores: a runner that has nothing
    else learns from one small file that there is nothing to do.
    """
    if build.rebuild and _began(build) is None:  # no version can be good enough: nobody is asked
        return ASKED
    expiring: list[str] = []
    for entry in _made_from(build, identifier):
        reason = ASKED[0] if asked_for(build, entry.built_at) else _expiring(build, entry)
        if not reason:
            return ()
        expiring.append(reason)
    return tuple(expiring[:1]) or (ASKED if build.rebuild else ABSENT)


def begin(build: Build) -> None:
    """A stage of the build runs: a rebuild that was asked for has begun, at the latest now."""
    if build.rebuild and _began(build) is None:
        write_json(build.workspace.asked(build.image.name), {"began": f"{build.now:{_FORM}}"})


def end(build: Build) -> None:
    """What is asked for is published, or is not asked for any more: the next wish is a new one."""
    build.workspace.asked(build.image.name).unlink(missing_ok=True)


def asked_for(build: Build, made: str) -> bool:
    """Whether a product of that moment has to be made anew because somebody asked for it."""
    if not build.rebuild:
        return False
    began = _began(build)
    return began is None or not made or moment(made) < began


def _began(build: Build) -> datetime.datetime | None:
    """When the rebuild that is asked for began; None before that."""
    match read_json(build.workspace.asked(build.image.name)):
        case {"began": str(text)}:
            return moment(text)
    return None


def _made_from(build: Build, identifier: str) -> Iterator[catalog.Entry]:
    from pipeline.stages import shelves

    image, workspace = build.image.name, build.workspace
    here = catalog.find(workspace.catalog, image, identifier)
    if here is not None and catalog.present(workspace.published, here):
        yield here
    for place in build.settings.stores:
        if entry := shelves.find(place, workspace, image, identifier):
            yield entry


def _expiring(build: Build, entry: catalog.Entry) -> str:
    if entry.expires_at is None:
        return ""
    ends = moment(entry.expires_at)
    if not due(moment(entry.built_at), ends, build):
        return ""
    return f"version {entry.version} {_ends(ends, build)}"


def _ends(ends: datetime.datetime, build: Build) -> str:
    days = (ends - build.now).days
    when = f"in {days} days" if days >= 0 else f"{-days} days ago"
    return f"{'ends' if days >= 0 else 'ended'} on {ends:%Y-%m-%d} ({when})"


def installed_at(build: Build) -> datetime.datetime | None:
    """When the Windows of this build was installed, by the receipt of install."""
    receipt = build.receipt("install")
    return moment(receipt.finished_at) if receipt and receipt.finished_at else None


def moment(text: str) -> datetime.datetime:
    """The moment that a receipt or a catalog writes as ``2026-11-23T08:15:00Z``."""
    try:
        read = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise PipelineError(
            f"{text!r} is no time such as 2026-11-23T08:15:00Z",
            hint="it stands in index.json or in a receipt.json that something else has changed",
        ) from None
    return read if read.tzinfo else read.replace(tzinfo=datetime.UTC)


def tonight(builds: Sequence[Build], stages: Sequence[Stage]) -> list[Tonight]:
    """The images that must be built, with the first reason of each."""
    found = []
    for build in builds:
        plan = decide(build, stages)
        goal = plan[-1]
        if goal.state is State.RUN:
            found.append(Tonight(build, _why(build, plan), goal.examined.id))
    return found


def _why(build: Build, plan: Sequence[Decision]) -> str:
    """The goal's own reason when it is expiry or a wish; else the input that began it all."""
    goal = plan[-1].examined.reasons
    if goal[:1] == ASKED or (goal and goal[0].startswith("version ")):
        return goal[0]
    first = next(decision for decision in plan if decision.state is State.RUN)
    reasons = first.examined.reasons or ABSENT
    if reasons[0] == NEVER and (newest := _newest(build)):
        return f"version {newest} was made from other inputs"
    return f"{first.name}: {reasons[0]}"


def _newest(build: Build) -> str:
    """The last version that anybody published of this image, whatever went into it."""
    from pipeline.stages import shelves

    known = shelves.known(build)
    return max(known, key=lambda entry: entry.built_at).version if known else ""
