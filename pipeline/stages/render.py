"""render: answer files and plans from definitions and templates, validated.

In: the checkout alone. Out: the answer files with placeholders for credentials, and both plans as
far as they can be known before a download. Every problem is found before anything boots.
"""

from __future__ import annotations

import json

from pipeline.answers.plan_rules import validate_plan
from pipeline.answers.planning import Plan
from pipeline.answers.plans import recipe_identity
from pipeline.answers.validate import require_valid
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import write_bytes
from pipeline.stages import rendering
from pipeline.stages.build import Made, Work


def make(work: Work) -> Made:
    """Write the files; raises with every problem that validation found, by file and line."""
    build = work.build
    files = rendering.answer_files(build)
    for name, data in files.items():
        require_valid(data, f"{build.image.name}/{name}")
    for plan in (rendering.bootstrap(build), rendering.provision(build)):
        name = f"{plan.name}.json"
        files[name] = _valid(plan, f"{build.image.name}/{name}")
    for name, data in files.items():
        write_bytes(work.folder / name, data)
    return Made(tuple(files))


def _valid(plan: Plan, name: str) -> bytes:
    """The plan as a file; its payloads are named, their digests are not known yet."""
    data = (json.dumps(recipe_identity(plan), indent=2) + "\n").encode("ascii")
    if found := validate_plan(data, name, planned=True):
        lines = "\n".join(f"  {finding.text(name)}" for finding in found)
        raise PipelineError(f"{name} is not a valid plan:\n{lines}")
    return data
