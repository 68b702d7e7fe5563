"""What a version's report tells, gathered from this build and from the versions before it.

In: the work of the publish stage and its manifest. Out: ``report.html``, and ``inputs.json``, the
full inputs of every stage, by which the next version's report says what changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.foundation.files import canonical_json
from pipeline.publishing.film import film_strip
from pipeline.publishing.report import NAME, Manifest, Story, render
from pipeline.stages.build import Build, Work
from pipeline.stages.difference import changes
from pipeline.stages.earlier import INPUTS, Earlier, Inputs, earlier_versions, inputs_of
from pipeline.stages.graph import STAGES
from pipeline.stages.plan import examine

CHECKED = ("check", "prove")
FILMED = ("install", "seal", "prove")


def pages(work: Work, manifest: Manifest) -> dict[str, bytes]:
    """The files by name; ``manifest`` is that of the version about to appear."""
    inputs = all_inputs(work.build)
    earlier = earlier_versions(work.build, work.progress)
    story = Story(
        manifest=manifest,
        earlier=[one.manifest for one in earlier],
        checks={stage: _results(work, stage) for stage in CHECKED},
        changes=_since(work, earlier, inputs),
        frames=film_strip([(stage, work.upstream(stage) / "evidence") for stage in FILMED]),
    )
    templates = work.build.workspace.templates
    return {NAME: render(story, templates), INPUTS: canonical_json(inputs)}


def all_inputs(build: Build) -> dict[str, Any]:
    """Everything that goes into each stage; known without any of them having run here."""
    return {item.stage.name: item.inputs for item in examine(build, STAGES)}


def _results(work: Work, stage: str) -> list[Mapping[str, Any]]:
    results: list[Mapping[str, Any]] = json.loads(
        (work.upstream(stage) / "checks.json").read_bytes()
    )
    return results


def _since(work: Work, earlier: Sequence[Earlier], inputs: Inputs) -> list[str]:
    if not earlier:
        return []
    before = inputs_of(earlier[-1], work.build, work.progress)
    if before is None:
        return [f"{earlier[-1].version} does not say what went into it"]
    return list(dict.fromkeys(changed(before, inputs)))


def changed(before: Inputs, now: Inputs) -> Iterator[str]:
    """What differs, stage by stage; that a stage differs as an earlier one does is no news."""
    seen = set()
    for stage, inputs in now.items():
        for change in changes(before.get(stage, {}), inputs):
            if change.path not in now and (change.old, change.new) not in seen:
                seen.add((change.old, change.new))
                yield f"{stage}: {change}"
