"""A published version to a store: its files first, the catalog that names them last.

Goes in: a version that lies in ``output/publish``, a store. Comes out: the same version there, and
a new catalog with our signature. What the store's catalog said before is believed only when a
trusted key signed it: whoever signs vouches for all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.definitions.model import Image, Settings
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress
from pipeline.publishing import catalog as catalogs
from pipeline.publishing import signature
from pipeline.publishing.catalog import INDEX, Catalog, Entry
from pipeline.publishing.licence import require_may_leave
from pipeline.publishing.stores import index
from pipeline.publishing.stores.base import Store, WritableStore, writable
from pipeline.publishing.stores.opening import canonical, on_loopback, open_store
from pipeline.publishing.trust import Anchors, Ask, Trust

_ATTEMPTS = 5
Change = Callable[[Catalog], Catalog]


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who publishes from this host: where, with which settings, signing with which key."""

    workspace: Workspace
    settings: Settings
    key: Path

    @classmethod
    def of(cls, workspace: Workspace, settings: Settings) -> Publisher:
        """The publisher of this host; its key is made when there is none."""
        return cls(workspace, settings, signature.ensure_key(workspace, settings))

    def sign(self, file: Path) -> Path:
        """The signature of a file, beside it."""
        return signature.sign(file, self.key)

    def trust(self, place: str, anchors: Anchors, ask: Ask | None = None) -> Trust:
        """The trust in a store that we write to: our own key counts, too."""
        own = signature.fingerprint(signature.public_key(self.key))
        where = canonical(place, self.workspace.root)
        return Trust(where, self.workspace, anchors, ask, own=frozenset({own}))


def push(
    store: WritableStore,
    place: str,
    image: Image,
    entry: Entry,
    publisher: Publisher,
    trust: Trust,
    progress: Progress,
) -> None:
    """Bring a version and its line in the catalog to the store, unless they are there."""
    folder = publisher.workspace.published / entry.key
    _gate(place, image, entry, publisher.settings, folder)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    files = {name: path for name, path in sorted(files.items()) if path.is_file()}
    if entry.disk not in files:
        raise PipelineError(f"{folder}: has no {entry.disk}", hint="publish the version anew")
    verified(store, trust)  # a store that is not the one we know gets no gigabytes either
    store.push(entry.key, files, progress, disk=entry.disk)
    after = change(store, trust, publisher, lambda catalog: _listed(catalog, entry), progress)
    newest = after.newest(entry.image)
    if newest and newest.version == entry.version:
        store.point(entry.key)
    there = after.find(entry.image, entry.version)
    still = ", where it is withdrawn" if there and there.yanked else ""
    progress.event(f"{entry.image} {entry.version} is in {store.title}{still}")


def _listed(catalog: Catalog, entry: Entry) -> Catalog:
    """The catalog with ``entry``, which keeps the marks it has there: only who set them ends them.

    Somebody may have withdrawn or pinned the version in the store alone.
    """
    there = catalog.find(entry.image, entry.version) or entry
    kept = replace(entry, yanked=entry.yanked or there.yanked, pinned=entry.pinned or there.pinned)
    return catalog if catalog.find(entry.image, entry.version) == kept else catalog.having(kept)


def _gate(place: str, image: Image, entry: Entry, settings: Settings, folder: Path) -> None:
    """A rehearsal may go to a store on this very host; everything else asks the licence."""
    if entry.rehearsal and image.rehearsal and on_loopback(place):
        return
    require_may_leave(image, settings, place, read_json(folder / "manifest.json"))


def change(
    store: WritableStore, trust: Trust, publisher: Publisher, how: Change, progress: Progress
) -> Catalog:
    """Replace the store's catalog by what ``how`` makes of it, alone and signed.

    A host that slept through the end of its lease finds that the catalog has changed, and begins
    anew instead of undoing what others did.
    """
    waits = lambda who: progress.event(f"{store.title}: {who} changes the catalog")  # noqa: E731
    with store.lease("catalog", waits):
        for _ in range(_ATTEMPTS):
            data, before = index.current(store, trust)
            after = how(before)
            if after is before:
                _remember(trust, data, before)
                return after
            documents = catalogs.signed(after, publisher.sign)
            if _index(store) == data:
                store.replace("", documents)
                trust.remember(after, documents[INDEX])
                return after
    raise PipelineError(
        f"{store.title}: its catalog was changed by others {_ATTEMPTS} times meanwhile",
        hint="somebody changes it without a lease; try again later",
    )


def verified(store: Store, trust: Trust) -> Catalog:
    """The store's catalog, which a trusted key signed; an empty one when there is none yet."""
    data, found = index.current(store, trust)
    _remember(trust, data, found)
    return found


def _remember(trust: Trust, data: bytes | None, found: Catalog) -> None:
    """Who fills a store knows, too, what it has shown: an older state, or none, is refused."""
    if data is not None:
        trust.remember(found, data)


def _index(store: Store) -> bytes | None:
    return store.documents("", {INDEX: catalogs.LARGEST})[INDEX]


def push_to(
    place: str,
    image: Image,
    entry: Entry,
    publisher: Publisher,
    progress: Progress,
    *,
    anchors: Anchors | None = None,
    ask: Ask | None = None,
) -> None:
    """:func:`push` to a store by its place; folders are relative to the checkout."""
    with open_store(place, publisher.workspace.root, progress.event) as store:
        trust = publisher.trust(place, anchors or Anchors(), ask)
        push(writable(store), place, image, entry, publisher, trust, progress)


def push_all(image: Image, entry: Entry, publisher: Publisher, progress: Progress) -> None:
    """Bring a version to every store of the settings; a failure is told after all were tried."""
    failed: list[PipelineError] = []
    for place in filled_from_here(publisher.settings):
        try:
            push_to(place, image, entry, publisher, progress)
        except PipelineError as error:
            failed.append(error)
    if failed:
        said = "\n  ".join(f"{error.message} ({error.hint})" for error in failed)
        raise PipelineError(
            f"{entry.image} {entry.version} is published here, but not in every store:\n  {said}",
            hint=f"when that is solved: golden push {entry.image}@{entry.version}",
        )


def filled_from_here(settings: Settings) -> list[str]:
    """The stores to write to: what a web server serves is only asked, and filled by others."""
    return [place for place in settings.stores if not place.startswith(("https://", "http://"))]
