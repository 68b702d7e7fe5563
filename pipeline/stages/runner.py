"""Runs one stage of one image: lock, look, work in a fresh folder, rename, receipt.

A stage that is current does nothing. A stage that fails leaves its evidence under
``output/failures/`` and nothing else; one that is killed leaves a work folder that the next run
clears away.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import canonical_json, sha256_bytes
from pipeline.foundation.locks import lock
from pipeline.foundation.progress import Progress
from pipeline.foundation.units import human_seconds
from pipeline.machine.image import require_space
from pipeline.stages.build import Build, Made, Stage, Work, outputs_of
from pipeline.stages.plan import Examined, examine
from pipeline.stages.receipts import Output, Receipt


def run_stage(build: Build, name: str, stages: Sequence[Stage], progress: Progress) -> bool:
    """Run the stage ``name`` unless it is current; returns whether it ran.

    Raises :class:`PipelineError` with the evidence folder when the stage fails.
    """
    image = build.image.name
    with lock(
        build.workspace.locks / f"{image}.lock",
        lambda holder: progress.event(f"waiting: {image} is being built by {holder}"),
    ):
        item = next(item for item in examine(build, stages) if item.stage.name == name)
        if item.current:
            return False
        _check_space(build, item.stage)
        _run(build, item, progress)
        return True


def _check_space(build: Build, stage: Stage) -> None:
    """Ask for disk space before it is needed, not when the guest's disk fills up."""
    needed = int(build.image.machine.disk * stage.disk_part)
    require_space(build.workspace.output, needed, f"{stage.name}:{build.image.name}")


def _run(build: Build, item: Examined, progress: Progress) -> None:
    stage = item.stage
    folder = build.workspace.build(build.image.name) / f".{stage.name}.work"
    shutil.rmtree(folder, ignore_errors=True)
    work = Work(build, folder, item.id, progress)
    work.evidence.mkdir(parents=True)
    progress.phase(stage.title, _expected(build, stage))
    started = time.monotonic()
    try:
        made = stage.make(work)
    except PipelineError as error:
        error.evidence = _keep_evidence(work, stage) or error.evidence
        raise
    except BaseException:
        _keep_evidence(work, stage)
        raise
    seconds = time.monotonic() - started
    _commit(work, item, made, seconds)
    progress.done(human_seconds(seconds))


def _expected(build: Build, stage: Stage) -> float | None:
    """How long the stage took the last time here, in seconds."""
    receipt = build.receipt(stage.name)
    return receipt.timings.get("total") if receipt else None


def _keep_evidence(work: Work, stage: Stage) -> Path | None:
    """Move logs and screenshots out of the work folder; drop the rest."""
    kept = None
    if any(work.evidence.iterdir()):
        stamp = time.strftime("%Y%m%d-%H%M%S")
        kept = work.build.workspace.failures(work.build.image.name) / f"{stage.name}-{stamp}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(work.evidence, kept)
    shutil.rmtree(work.folder, ignore_errors=True)
    return kept


def _commit(work: Work, item: Examined, made: Made, seconds: float) -> None:
    """Write the receipt into the work folder and give the folder its final name."""
    stage, build = item.stage, work.build
    outputs = outputs_of(work.folder, made.outputs)
    parents = {name: build.receipt(name) for name in stage.stands_on}
    receipt = Receipt(
        stage=stage.name,
        id=item.id,
        run=_product(outputs) if stage.pure else uuid.uuid4().hex,
        inputs=item.inputs,
        outputs=outputs,
        parents={name: parent.run for name, parent in parents.items() if parent},
        tools=made.tools,
        facts=made.facts,
        timings={**made.timings, "total": round(seconds, 3)},
        finished_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    _tidy(work, {output.path for output in outputs})
    receipt.save(work.folder / "receipt.json")
    _swap(work.folder, build.folder(stage.name))


def _tidy(work: Work, outputs: set[str]) -> None:
    """Only outputs and evidence outlive the work."""
    for path in work.folder.iterdir():
        if (path == work.evidence and any(path.iterdir())) or path.name in outputs:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _product(outputs: tuple[Output, ...]) -> str:
    """A pure stage's product is its bytes: made again the same, nothing downstream runs."""
    return sha256_bytes(canonical_json([[o.path, o.sha256] for o in outputs]))[:32]


def _swap(new: Path, final: Path) -> None:
    """Put ``new`` in the place of ``final``; at no moment is a half-written folder there."""
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    new.rename(final)
    shutil.rmtree(old, ignore_errors=True)
