"""Runs one stage of one image: lock, look, work in a fresh folder, rename, receipt.

A stage that is current does nothing. A stage that fails leaves its evidence under
``output/failures/`` and nothing else; one that is killed leaves a work folder that the next run
clears away.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import canonical_json, sha256_bytes
from pipeline.foundation.locks import lock
from pipeline.foundation.progress import Expecting, Progress, close_all
from pipeline.foundation.units import human_seconds
from pipeline.machine.image import require_space
from pipeline.stages import layers
from pipeline.stages.build import Build, Made, Stage, Work, outputs_of
from pipeline.stages.plan import Examined, examine
from pipeline.stages.reading import note_failure, read_evidence
from pipeline.stages.receipts import Output, Receipt


def run_stage(build: Build, name: str, stages: Sequence[Stage], progress: Progress) -> bool:
    """Run the stage ``name`` unless it is current; returns whether it ran.

    Raises :class:`PipelineError` with the evidence folder when the stage fails.
    """
    with _locked(build, progress):
        item = _item(build, name, stages)
        if item.current:
            return False
        _check_space(build, item.stage)
        with layers.alone(build, item, progress):
            layer = layers.find(build, item, progress)
            if layer and _pull(build, item, layer, progress):
                return False
            _run(build, item, progress)
            layers.push(build, item, progress)
        return True


def obtain_stage(build: Build, name: str, stages: Sequence[Stage], progress: Progress) -> bool:
    """Bring the product of the stage ``name`` from the layers that hosts share.

    Waits while another host makes it. Returns whether the stage is current now; if not, it has to
    be run, after what it needs.
    """
    with _locked(build, progress):
        return _obtain(build, name, stages, progress)


def _obtain(build: Build, name: str, stages: Sequence[Stage], progress: Progress) -> bool:
    item = _item(build, name, stages)
    if item.current:
        return True
    with layers.alone(build, item, progress):
        layer = layers.find(build, item, progress)
        if layer is None:
            return False
        below = [_obtain(build, disk, stages, progress) for disk in item.stage.disks]
        ready = all(below) and layers.fits(build, item, layer)
        return ready and _pull(build, item, layer, progress)


def _pull(build: Build, item: Examined, layer: layers.Layer, progress: Progress) -> bool:
    started = time.monotonic()
    folder = layers.pull(build, item, layer, progress)
    if folder is None:
        return False
    _swap(folder, build.folder(item.stage.name))
    progress.done(human_seconds(time.monotonic() - started))
    return True


def _item(build: Build, name: str, stages: Sequence[Stage]) -> Examined:
    return next(item for item in examine(build, stages) if item.stage.name == name)


@contextlib.contextmanager
def _locked(build: Build, progress: Progress) -> Iterator[None]:
    """One run at a time works on an image."""
    image = build.image.name
    with lock(
        build.workspace.locks / f"{image}.lock",
        lambda holder: progress.event(f"waiting: {image} is being built by {holder}"),
    ):
        yield


def _check_space(build: Build, stage: Stage) -> None:
    """Ask for disk space before it is needed, not when the guest's disk fills up."""
    needed = int(build.image.machine.disk * stage.disk_part)
    require_space(build.workspace.output, needed, f"{stage.name}:{build.image.name}")


def _run(build: Build, item: Examined, progress: Progress) -> None:
    stage = item.stage
    folder = build.workspace.build(build.image.name) / f".{stage.name}.work"
    shutil.rmtree(folder, ignore_errors=True)
    # The receipt of the time before is there until the stage has run again.
    before = build.receipt(stage.name)
    usual = before.timings if before else {}
    work = Work(build, folder, item.id, Expecting(progress, usual))
    started = time.monotonic()
    try:
        with _full_disk_is_said(build, stage):
            work.evidence.mkdir(parents=True)
            progress.phase(stage.title, usual.get("total"))
            made = stage.make(work)
            seconds = time.monotonic() - started
            _commit(work, item, made, seconds)
    except BaseException as error:
        _fail(work, stage, error)
        raise
    progress.done(human_seconds(seconds))


@contextlib.contextmanager
def _full_disk_is_said(build: Build, stage: Stage) -> Iterator[None]:
    """A file of ours that can't be written for want of space is the user's matter, and no bug."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PipelineError(
            f"{stage.name}:{build.image.name}: the host's disk is full: {error.filename or error}",
            hint=f"free space in {build.workspace.output}, then run it again",
        ) from error


def _fail(work: Work, stage: Stage, error: BaseException) -> None:
    """Keep the evidence, and let the error name it with the line that tells most."""
    kept = _keep_evidence(work, stage, error)
    close_all()
    if not isinstance(error, PipelineError):
        return
    error.evidence = kept or error.evidence
    with contextlib.suppress(OSError):
        telling = read_evidence(kept).telling if kept else ""
        if telling and telling.partition(": ")[2] not in str(error):
            error.hint = "\n  said: ".join(part for part in (error.hint, telling) if part)


def _keep_evidence(work: Work, stage: Stage, error: BaseException) -> Path | None:
    """Move logs and screenshots out of the work folder; drop the rest."""
    kept = None
    with contextlib.suppress(OSError):  # on a full disk the reason is more important
        if any(work.evidence.iterdir()):
            folder = _evidence_folder(work, stage)
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(work.evidence, folder)
            kept = folder
    shutil.rmtree(work.folder, ignore_errors=True)  # that alone makes room for the note
    with contextlib.suppress(OSError):
        if kept:
            note_failure(kept, work.build.image.name, stage.name, error)
    return kept


def _evidence_folder(work: Work, stage: Stage) -> Path:
    """A new name for a failure of now; two in one second are two."""
    where = work.build.workspace.failures(work.build.image.name)
    name = f"{stage.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(where / each for each in names if not (where / each).exists())


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
