"""Make the parts of the rehearsal: the Windows medium, the driver disc, the two installers.

Goes in: a part's name and version. Comes out: the file, in a folder named after its recipe, with a
receipt beside it; both appear by rename, so that what is there is whole.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.foundation import files
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress
from pipeline.rehearsal import recipes
from pipeline.rehearsal.packages import Packages, provide

# What makes a part: (packages, version, faults, scratch folder, the file to write).
Maker = Callable[[Packages, str, frozenset[str], Path, Path], None]


def _maker(part: str) -> Maker:
    from pipeline.rehearsal import driver_disc, installers, windows_disc

    makers: dict[str, Maker] = {
        "windows": windows_disc.build,
        "drivers": driver_disc.build,
        "winfsp": installers.winfsp,
        "openssh": installers.openssh,
    }
    return makers[part]


def _check(faults: frozenset[str]) -> None:
    from pipeline.rehearsal.guest.faults import KNOWN

    if unknown := sorted(faults - KNOWN.keys()):
        hint = f"known: {', '.join(sorted(KNOWN))}"
        raise PipelineError(f'the rehearsal has no fault "{unknown[0]}"', hint=hint)


def make(
    part: str,
    version: str,
    workspace: Workspace,
    progress: Progress,
    faults: frozenset[str] = frozenset(),
) -> Path:
    """The finished file of a part; made if these sources have not made it before."""
    _check(faults)
    target = recipes.place(part, version, workspace, faults)
    receipt = target.with_name("receipt.json")
    # The lock lies where the parts lie: several outputs may share one cache.
    with lock(workspace.rehearsal / "locks" / f"{part}.lock", progress.update):
        if receipt.exists() and target.exists():
            return target
        packages = provide(workspace, progress)
        progress.phase(f"making the rehearsal's {part}", 30 if part == "windows" else 2)
        with tempfile.TemporaryDirectory(prefix=f"{part}-", dir=_parent(workspace)) as scratch:
            made = Path(scratch) / "out" / target.name
            made.parent.mkdir()
            _maker(part)(packages, version, faults, Path(scratch), made)
            _keep(made, target, part, version, faults)
    return target


def _parent(workspace: Workspace) -> Path:
    workspace.rehearsal.mkdir(parents=True, exist_ok=True)
    return workspace.rehearsal


def _keep(made: Path, target: Path, part: str, version: str, faults: frozenset[str]) -> None:
    """Give the finished folder its name; its receipt is in it, so the rename is all there is."""
    files.sync(made)
    receipt = {
        "part": part,
        "version": version,
        "faults": sorted(faults),
        "recipe": recipes.recipe(part, version, faults),
        "file": made.name,
        "sha256": files.sha256_file(made),
        "size": made.stat().st_size,
    }
    files.write_json(made.with_name("receipt.json"), receipt)
    shutil.rmtree(target.parent, ignore_errors=True)
    made.parent.replace(target.parent)
