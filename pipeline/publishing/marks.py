"""A version's marks, withdrawn or pinned, in every catalog that lists it.

Goes in: a version, its new marks, the catalogs to change: this host's own and those of stores.
Comes out: the places that list it so now. A catalog that could not be changed is told after all
were tried, and so is a version that none lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.definitions.model import Settings
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.progress import Progress
from pipeline.publishing import catalog
from pipeline.publishing.catalog import Catalog, Entry
from pipeline.publishing.stores.base import writable
from pipeline.publishing.stores.opening import open_store
from pipeline.publishing.stores.push import Publisher, change, filled_from_here
from pipeline.publishing.trust import Anchors

HERE = "here"
"""This host's own catalog, among the stores."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What becomes of a version: a mark that is None stays as it is; ``done`` says it in words."""

    image: str
    version: str
    done: str
    yanked: bool | None = None
    pinned: bool | None = None

    def on(self, before: Catalog) -> Catalog:
        """The catalog with the marks set; itself when it does not list the version."""
        if before.find(self.image, self.version) is None:
            return before
        return catalog.mark(
            before, self.image, self.version, yanked=self.yanked, pinned=self.pinned
        )


def everywhere(settings: Settings) -> list[str]:
    """This host's catalog and the stores that are filled from here."""
    return [HERE, *filled_from_here(settings)]


def set_marks(
    mark: Mark, places: Sequence[str], publisher: Publisher, progress: Progress
) -> list[str]:
    """Mark the version in every catalog that lists it; returns those places.

    Raises :class:`PipelineError` when a catalog could not be changed or none lists the version.
    """
    listed: list[str] = []
    failed: list[PipelineError] = []
    for place in places:
        try:
            if _set(mark, place, publisher, progress):
                listed.append(place)
            else:
                progress.event(f"{place}: lists no {mark.version} of {mark.image}")
        except PipelineError as error:
            failed.append(error)
    if failed:
        said = "\n  ".join(f"{error.message} ({error.hint})" for error in failed)
        raise PipelineError(
            f"{mark.image} {mark.version} is {mark.done} in {len(listed)} of {len(places)} "
            f"catalogs:\n  {said}",
            hint="when that is solved, the same command again",
        )
    if not listed:
        raise PipelineError(
            f"no catalog lists {mark.version} of {mark.image}: {', '.join(places)}",
            hint="golden images [--from STORE] lists what there is",
        )
    progress.done(f"{mark.image} {mark.version} is {mark.done}: {', '.join(listed)}")
    return listed


def _set(mark: Mark, place: str, publisher: Publisher, progress: Progress) -> Entry | None:
    """The version as the catalog at ``place`` lists it now; nothing if it does not."""
    workspace = publisher.workspace
    if place == HERE:
        after = catalog.change(workspace.catalog, mark.on, publisher.sign)
        return after.find(mark.image, mark.version)
    with open_store(place, workspace.root, progress.event) as store:
        trust = publisher.trust(place, Anchors())
        after = change(writable(store), trust, publisher, mark.on, progress)
        if mark.yanked is not None and (newest := after.newest(mark.image)):
            writable(store).point(newest.key)
    return after.find(mark.image, mark.version)
