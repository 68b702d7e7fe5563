"""What every store can do.

A store holds *bundles*: sets of files under a key such as ``rehearsal/26100.1-20261124.1`` or
``layers/install-<id>``; the key ``""`` is the catalog's. A bundle appears at once with all its
files. Goes in: keys, files, digests. Comes out: small documents with a limit on their size, and
large files that are verified while they arrive and go on where an earlier run broke off.

Where writers could meet, :meth:`Store.lease` keeps them apart; it ends with its holder.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.definitions.model import Kind, Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.locks import lock
from pipeline.foundation.progress import Progress
from pipeline.foundation.units import Sha256
from pipeline.inputs.fetch_mirrors import Download, Policy, refuse_without_room
from pipeline.inputs.fetch_part import Part
from pipeline.inputs.fetch_types import Fetcher, HttpError, whole

DEADLINE = 60.0
_PATIENT = Policy()
Waiting = Callable[[str], None]


class ReadOnly(PipelineError):
    """The store can only be read."""


class Taken(PipelineError):
    """There is another bundle under the key already."""

    def __init__(self, message: str) -> None:
        hint = "two publishers gave the same version name; push the other one under its own"
        super().__init__(message, hint=hint)


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of a bundle, as somebody trustworthy describes it; the size may be unknown."""

    name: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of a file come from."""

    url: str
    fetcher: Fetcher


class Store(abc.ABC):
    """One store; use as a context manager. ``remote``: what goes there leaves this host."""

    title: str
    remote: bool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027
        """Drop connections, where a store has some."""

    @abc.abstractmethod
    def source(self, key: str, name: str) -> Source:
        """Where the file ``name`` of a bundle is read; nothing of it is read yet.

        Raises :class:`HttpError` of status 404 when the store knows that there is none.
        """

    def read(self, key: str, name: str, maximum: int) -> bytes | None:
        """A small document of a bundle, whole; None when it is not there."""
        try:
            source = self.source(key, name)
            with source.fetcher.get(source.url, within=DEADLINE) as answer:
                return whole(answer, maximum, TooLarge)
        except HttpError as error:
            if error.status in (404, 410):
                return None
            raise

    def documents(self, key: str, names: Mapping[str, int]) -> dict[str, bytes | None]:
        """Documents that belong together, with the largest size of each; never from a memory."""
        return {name: self.read(key, name, maximum) for name, maximum in names.items()}

    def get(
        self,
        key: str,
        blob: Blob,
        target: Path,
        partial: Path,
        progress: Progress,
        policy: Policy = _PATIENT,
    ) -> None:
        """Bring a file to ``target``, verified; ``partial`` keeps what came of a broken transfer.

        Two processes that want the same share one download. Raises
        :class:`~pipeline.inputs.fetch_types.Undelivered`.
        """
        digest = Sha256.parse(blob.sha256)
        with lock(partial / f"{digest}.lock", progress.event):
            source = self.source(key, blob.name)
            pin = Pin(blob.name, key, Kind.FILE, (source.url,), sha256=digest, size=blob.size)
            with Part(partial, digest, Kind.FILE) as part:
                part.take_up(progress, blob.size)
                refuse_without_room(part, blob.size)
                _Transfer(pin, part, source.fetcher, progress, policy).run()
                part.flush()
                target.parent.mkdir(parents=True, exist_ok=True)
                part.path.replace(target)
                part.remove()


class WritableStore(Store):
    """A store that can be written, too."""

    @abc.abstractmethod
    def has(self, key: str) -> bool:
        """Whether the bundle is there, complete."""

    @abc.abstractmethod
    def push(
        self, key: str, files: Mapping[str, Path], progress: Progress, *, disk: str = ""
    ) -> None:
        """Let a bundle appear with these files, at once and last of all; one that is there stays.

        ``disk`` names the file that virtual machines boot from: a registry then offers it as a
        containerDisk, too. Raises :class:`Taken` when other files have the key.
        """

    @abc.abstractmethod
    def replace(self, key: str, documents: Mapping[str, bytes]) -> None:
        """Let a bundle of small documents take the place of what is there; hold a lease."""

    def point(self, key: str) -> None:
        """Say that this version is its image's newest, where a store has a name for that."""

    @abc.abstractmethod
    def remove(self, key: str) -> None:
        """Remove a bundle; one that is not there is no error."""

    @abc.abstractmethod
    def lease(self, name: str, waiting: Waiting) -> contextlib.AbstractContextManager[None]:
        """Hold ``name`` alone, among all hosts that use the store; ends with its holder.

        While somebody else has it, ``waiting`` is told who, once.
        """


def writable(store: Store) -> WritableStore:
    """The store as one to write to; raises :class:`ReadOnly`."""
    if isinstance(store, WritableStore):
        return store
    raise ReadOnly(
        f"{store.title} can only be read",
        hint="push to the folder that the web server serves, or to an oci:// registry",
    )


class _Transfer(Download):
    authority = "the signed list"


class Odd(HttpError):
    """What a store sends is not what such a thing looks like."""


class TooLarge(Odd):
    """A document is longer than such a document ever is."""


def pieces(path: Path, size: int, start: int = 0) -> Iterator[bytes]:
    """A file from ``start`` on, piece by piece."""
    with path.open("rb") as stream:
        stream.seek(start)
        while data := stream.read(size):
            yield data
