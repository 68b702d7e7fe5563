"""Pulling: from a store's catalog to a verified version on this host.

    catalog -> its signature -> not older than seen -> the version -> its list of digests, signed
    -> every file, hashed while it arrives, resumed -> the manifest agrees -> one rename

Goes in: a store, ``IMAGE[@VERSION]``, whom to trust. Comes out: ``cache/images/<image>/<version>/``
as it was published. Until its digest fits, nothing of a store's has a name of the store's choosing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.foundation.files import read_json, write_bytes
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress
from pipeline.inputs.fetch_mirrors import Policy
from pipeline.inputs.fetch_types import HttpError, Mismatch, Undelivered
from pipeline.publishing import listing, withdrawn
from pipeline.publishing.catalog import INDEX, Catalog, Entry, NotACatalog
from pipeline.publishing.expiry import WARN_DAYS, ending
from pipeline.publishing.refusals import PullFailed
from pipeline.publishing.stores import index
from pipeline.publishing.stores.base import Odd, Store
from pipeline.publishing.trust import Trust
from pipeline.publishing.version import LARGEST_SUMS, MANIFEST, SUMS
from pipeline.publishing.version import SIGNATURE as SUMS_SIG

LATEST = "latest"
MEDIUM = 64 << 20
"""Bytes that a file beside the disk may have, besides those of the disk."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image, and which of its versions; the newest when none is named."""

    image: str
    version: str = LATEST

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """``IMAGE``, ``IMAGE@latest`` or ``IMAGE@VERSION``."""
        image, _, version = text.partition("@")
        return cls(image, version or LATEST)


@dataclass(frozen=True, slots=True)
class Options:
    """How to pull; ``force`` takes a withdrawn version, ``warn_days`` is when expiry is near."""

    force: bool = False
    warn_days: int = WARN_DAYS
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version that is here; ``fresh``: it came just now."""

    folder: Path
    entry: Entry
    fresh: bool


def pull(
    store: Store,
    wanted: Wanted,
    workspace: Workspace,
    trust: Trust,
    progress: Progress,
    options: Options,
) -> Pulled:
    """Bring a version here, unless it is; raises :class:`PullFailed` and what trust raises."""
    with _codes():
        found = read_catalog(store, trust)
        entry = choose(found, wanted, store.title)
        _judge(entry, progress, options)
        folder = workspace.pulled / entry.image / entry.version
        with lock(pulling(workspace, entry.image, entry.version), progress.event):
            if folder.exists():
                _refuse_other(folder, entry)
                return Pulled(folder, entry, fresh=False)
            _bring(store, entry, folder, workspace, trust, progress, options.policy)
            withdrawn.remember(trust.place, found, workspace)
        return Pulled(folder, entry, fresh=True)


def pulling(workspace: Workspace, image: str, version: str) -> Path:
    """The lock of whoever pulls this version, or removes what was pulled."""
    return workspace.partial / f"{image}-{version}.lock"


@contextlib.contextmanager
def _codes() -> Iterator[None]:
    """Give each failure the exit code that tells it from the others."""
    try:
        yield
    except Undelivered as error:
        raise _undelivered(error) from error
    except Odd as error:
        raise PullFailed(27, error.message, hint=error.hint) from error
    except NotACatalog as error:
        raise PullFailed(27, error.message, hint=error.hint) from error
    except HttpError as error:
        hint = error.hint or "check the address of the store, and the network"
        raise PullFailed(20, error.message, hint=hint) from error
    except OSError as error:
        where = error.filename or "the cache"
        hint = "free some space, or put the cache elsewhere with GOLDEN_CACHE; what came is kept"
        raise PullFailed(1, f"{where}: {error.strerror or error}", hint=hint) from error


def _undelivered(error: Undelivered) -> PullFailed:
    """What became of a file: another one came, something odd, or nothing whole."""
    name, _, key = error.message.partition(":")[0].partition(" ")
    said = "\n  ".join(one.message for one in error.said)
    text = f"{key}/{name} did not come: {said}"
    if any(isinstance(one, Mismatch) for one in error.said):
        return PullFailed(
            26,
            text,
            hint="the store, or something on the way, changed it: nothing of it is kept; tell the "
            "publisher",
        )
    odd = any(isinstance(one, Odd) for one in error.said)
    return PullFailed(27 if odd else 20, text, hint=error.hint)


def read_catalog(store: Store, trust: Trust) -> Catalog:
    """The store's catalog: signed by a trusted key, and not older than the one seen before."""
    data, found = index.current(store, trust)
    if data is None:
        raise PullFailed(
            29,
            f"{store.title}: has no catalog {INDEX}",
            hint="give the address of the folder that holds it",
        )
    trust.remember(found, data)
    withdrawn.remember(trust.place, found, trust.workspace)
    return found


def choose(catalog: Catalog, wanted: Wanted, where: str) -> Entry:
    """The version that was asked for."""
    if not catalog.entries(wanted.image):
        known = ", ".join(sorted(catalog.images)) or "none"
        raise PullFailed(29, f"{where}: has no image {wanted.image!r}", hint=f"images: {known}")
    if wanted.version == LATEST:
        entry = catalog.newest(wanted.image)
        why = f"every version of {wanted.image} was withdrawn"
    else:
        entry = catalog.find(wanted.image, wanted.version)
        why = f"has no version {wanted.version!r} of {wanted.image}"
    if entry is None:
        known = ", ".join(one.version for one in catalog.entries(wanted.image))
        raise PullFailed(29, f"{where}: {why}", hint=f"versions: {known}")
    return entry


def _judge(entry: Entry, progress: Progress, options: Options) -> None:
    if entry.yanked and not options.force:
        raise PullFailed(
            28,
            f"{entry.image} {entry.version} was withdrawn by its publisher",
            hint=f"pull {entry.image}@{LATEST}, or insist with --force",
        )
    if entry.yanked:
        progress.event(f"{entry.image} {entry.version} was withdrawn by its publisher")
    if warning := ending(entry.version, entry.expires_at, options.warn_days):
        progress.event(warning)


def _refuse_other(folder: Path, entry: Entry) -> None:
    """What is here under the name must be what the catalog means."""
    disk = (listing.mapping(read_json(folder / MANIFEST))).get("disk")
    path = folder / entry.disk
    same = isinstance(disk, dict) and disk.get("sha256") == entry.sha256
    if same and path.exists() and path.stat().st_size == entry.size:
        return
    raise PullFailed(
        1,
        f"{folder}: is another {entry.image} {entry.version} than the store's",
        hint="it came from another store, or was damaged: remove that folder if no instance uses "
        "it, then pull again",
    )


def _bring(
    store: Store,
    entry: Entry,
    folder: Path,
    workspace: Workspace,
    trust: Trust,
    progress: Progress,
    policy: Policy,
) -> None:
    """Everything of a version into a hidden folder, which then takes the final name."""
    listed = store.documents(entry.key, {SUMS: LARGEST_SUMS, SUMS_SIG: index.SIGNATURE_SIZE})
    data, signed = listed[SUMS], listed[SUMS_SIG]
    if data is None:
        raise PullFailed(20, f"{store.title}: has no {SUMS} of {entry.image} {entry.version}")
    trust.check(f"{entry.key}/{SUMS}", data, signed)
    blobs = listing.blobs(data, entry)
    part = folder.with_name(f".{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    limited = replace(policy, max_bytes=entry.size + MEDIUM)
    for blob in blobs:  # the disk last: what broke off is then the disk, and that goes on
        store.get(entry.key, blob, part / blob.name, workspace.partial, progress, limited)
    listing.agree(listing.mapping(read_json(part / MANIFEST)), entry)
    write_bytes(part / SUMS, data, mode=0o444)
    write_bytes(part / SUMS_SIG, signed or b"", mode=0o444)
    _drop_others(part, {blob.name for blob in blobs} | {SUMS, SUMS_SIG})
    part.rename(folder)
    trust.remember_signers()
    progress.done(f"{entry.image} {entry.version}: verified")


def _drop_others(part: Path, names: set[str]) -> None:
    """Leave out what an earlier attempt, at another state of the store, left behind."""
    for path in part.rglob("*"):
        if path.is_file() and str(path.relative_to(part)) not in names:
            path.unlink()
