"""What builds, instances and the rehearsal left behind, and nobody works with.

    output/build/IMAGE/.STAGE.work .STAGE.old .STAGE.pulled .STAGE.share-…    killed runs
    output/failures/IMAGE/…                  evidence of a month ago; the latest of an image stays
    output/instances/.NAME.new .NAME.gone    killed launches and removals
    cache/rehearsal/PART-RECIPE/             parts that no definition names any more

Goes in: the workspace, the pins. Comes out: what can go, each with the lock of whoever works there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from pipeline.definitions.model import Pin
from pipeline.foundation.paths import Workspace
from pipeline.instances.instance import Home
from pipeline.publishing.waste import DAY, Waste, changed, untouched, waste
from pipeline.rehearsal import recipes

STAGE = (".*.work", ".*.old", ".*.pulled", ".*.share-*")
INSTANCE = (".*.new", ".*.gone")
EVIDENCE = 30 * DAY
_KILLED = "left behind by a run that was killed"


def leftovers(workspace: Workspace, pins: Iterable[Pin]) -> list[Waste]:
    """Everything of this host that is left behind, and that nobody works with just now."""
    found = (
        *_of_stages(workspace),
        *_of_failures(workspace),
        *_of_instances(workspace),
        *_of_the_rehearsal(workspace, pins),
    )
    return [one for one in found if one.idle]


def _of_stages(workspace: Workspace) -> Iterator[Waste]:
    """Whoever runs stages of an image holds its lock, and clears away what it meets."""
    for image in _folders(workspace.build("x").parent.glob("[!.]*")):
        lock = workspace.locks / f"{image.name}.lock"
        for path in _folders(path for shape in STAGE for path in image.glob(shape)):
            yield waste(path, _KILLED, lock)


def _of_failures(workspace: Workspace) -> Iterator[Waste]:
    for image in _folders(workspace.failures("x").parent.glob("[!.]*")):
        kept = sorted(_folders(image.glob("[!.]*")), key=changed)[:-1]
        for path in (*kept, *_folders(image.glob(".*"))):
            if untouched(path, EVIDENCE):
                yield waste(path, "evidence of a failure more than 30 days ago")


def _of_instances(workspace: Workspace) -> Iterator[Waste]:
    for path in _folders(path for shape in INSTANCE for path in workspace.instances.glob(shape)):
        name = path.name[1:].rpartition(".")[0]
        yield waste(path, _KILLED, Home(workspace, name).launching)


def _of_the_rehearsal(workspace: Workspace, pins: Iterable[Pin]) -> Iterator[Waste]:
    """Parts that other sources have made; what another checkout still wants is made anew there."""
    made = [(pin.made, pin.version) for pin in pins if pin.made]
    named = {recipes.place(part, version, workspace).parent for part, version in made}
    for part in recipes.SOURCES:
        shapes = (f"{part}-*", f".{part}-*.gone.part")
        for path in _folders(p for shape in shapes for p in workspace.rehearsal.glob(shape)):
            if path not in named and untouched(path):
                why = "a part of the rehearsal that no definition names"
                yield waste(path, why, recipes.making(part, workspace), partial(untouched, path))


def _folders(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.is_dir() and not path.is_symlink())
