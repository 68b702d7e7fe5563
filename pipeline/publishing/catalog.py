"""The catalog ``index.json``: which versions of which images are published.

Goes in: what manifests say. Comes out: one small file that says what there is, which is the newest,
and for which inputs (``build_id``) each was made; with it a host without any other trace of a build
knows that there is nothing to do. It is changed under a lock and replaced by rename; beside it
lies its signature ``index.json.sig``. ``serial`` grows with every change, so that whoever has seen
a catalog notices when an older one is shown in its place.

    {"schema": 1, "serial": 1764000000, "images": {"<image>": {
        "newest": "<version>" or null,
        "versions": [{"version", "build_id", "disk", "size", "sha256", "built_at",
                      "expires_at": text or null, "rehearsal", "yanked", "pinned"}, ...]}}}
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import write_bytes
from pipeline.foundation.locks import lock

SCHEMA = 1
INDEX = "index.json"
SIGNATURE = "index.json.sig"
NEXT = "index.json.sig.next"
"""The signature of a catalog that is just being replaced."""
LARGEST = 16 << 20
"""Bytes; a catalog with ten thousand versions has four million."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_VERSION = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,5}-\d{8}\.\d{1,4}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|\+00:00)")


class NotACatalog(PipelineError):
    """A file or an answer is no catalog that this program understands."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One published version of an image."""

    image: str
    version: str
    build_id: str
    disk: str
    size: int
    sha256: str
    built_at: str
    expires_at: str | None
    rehearsal: bool
    yanked: bool = False
    """Withdrawn: pulled only by who insists."""
    pinned: bool = False
    """Kept whatever the policy says."""

    @classmethod
    def of(cls, image: str, data: Mapping[str, Any]) -> Entry:
        """The entry that the catalog holds as ``data``."""
        return cls(image=image, **{key: value for key, value in data.items() if key != "image"})

    def data(self) -> dict[str, Any]:
        """The entry as the catalog holds it."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "image"}

    @property
    def key(self) -> str:
        """Where the version's files lie in a store."""
        return f"{self.image}/{self.version}"

    def order(self) -> tuple[str, tuple[int, ...]]:
        """What versions are sorted by."""
        return order(self.version, self.built_at)


def order(version: str, built_at: str = "") -> tuple[str, tuple[int, ...]]:
    """Versions in the order they were built: by day, and then by the day's counter.

    An image has one counter a day, whichever Windows builds it is made from (``version_of``). The
    name says the day, too; ``built_at`` is for versions that others named.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", version))
    return built_at[:10], numbers[-2:] + numbers[:-2]


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a store has, at one moment; ``serial`` orders the moments."""

    serial: int = 0
    images: Mapping[str, Sequence[Entry]] = field(default_factory=dict)

    def entries(self, image: str) -> Sequence[Entry]:
        """The versions of ``image``, oldest first."""
        return self.images.get(image, ())

    def newest(self, image: str) -> Entry | None:
        """The newest version of ``image`` that was not withdrawn."""
        return next((e for e in reversed(self.entries(image)) if not e.yanked), None)

    def find(self, image: str, version: str) -> Entry | None:
        """One version of ``image``."""
        return next((e for e in self.entries(image) if e.version == version), None)

    def made_from(self, image: str, build_id: str) -> Entry | None:
        """The newest version of ``image`` made from exactly these inputs, and not withdrawn."""
        good = (e for e in reversed(self.entries(image)) if not e.yanked)
        return next((e for e in good if e.build_id == build_id), None)

    def of(self, image: str, entries: Sequence[Entry]) -> Catalog:
        """The next catalog: as this one, with these versions of ``image``."""
        rest = {name: found for name, found in self.images.items() if name != image}
        if entries:
            rest[image] = tuple(sorted(entries, key=Entry.order))
        # Seconds, so that a catalog begun anew after a loss is not taken for an older one.
        return Catalog(max(self.serial + 1, int(time.time())), rest)

    def having(self, entry: Entry) -> Catalog:
        """With ``entry``, in place of one of the same version."""
        others = [e for e in self.entries(entry.image) if e.version != entry.version]
        return self.of(entry.image, [*others, entry])

    def data(self) -> bytes:
        """The bytes of ``index.json``."""
        images = {
            name: {
                "newest": newest.version if (newest := self.newest(name)) else None,
                "versions": [entry.data() for entry in entries],
            }
            for name, entries in self.images.items()
        }
        document = {"schema": SCHEMA, "serial": self.serial, "images": images}
        return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


Sign = Callable[[Path], Path]
"""Signs a file; returns the signature's file."""


def parse(data: bytes, where: str) -> Catalog:
    """The catalog in ``data``; every name and number is checked, whoever wrote it.

    ``where`` is named in the error, :class:`NotACatalog`.
    """
    try:
        document = json.loads(data)
        images = {SCHEMA: document["images"]}[document["schema"]]
        return Catalog(_whole(document.get("serial", 0)), dict(_images(images)))
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        odd = f": {error}" if isinstance(error, _Odd) else ""
        raise NotACatalog(
            f"{where} is not a catalog of schema {SCHEMA}{odd}",
            hint="what it should list is in the manifests beside it",
        ) from None


class _Odd(ValueError):
    """What is odd, in words."""


def _images(images: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    for name, body in images.items():
        _match(_NAME, name, "the name of an image")
        entries = [_checked(Entry.of(name, item)) for item in body["versions"]]
        if len({entry.version for entry in entries}) != len(entries):
            raise _Odd(f"{name} has a version twice")
        yield name, tuple(sorted(entries, key=Entry.order))


def _checked(entry: Entry) -> Entry:
    _match(_VERSION, entry.version, f"a version of {entry.image}")
    _match(_SHA256, entry.sha256, f"the digest of {entry.image} {entry.version}")
    _match(_FILE, entry.disk, f"the disk of {entry.image} {entry.version}")
    _match(_MOMENT, entry.built_at, f"when {entry.image} {entry.version} was built")
    if entry.expires_at is not None:
        _match(_MOMENT, entry.expires_at, f"when {entry.image} {entry.version} expires")
    if not isinstance(entry.build_id, str) or not _whole(entry.size):
        raise _Odd(f"{entry.image} {entry.version} has an odd build_id or size")
    if not all(isinstance(v, bool) for v in (entry.rehearsal, entry.yanked, entry.pinned)):
        raise _Odd(f"{entry.image} {entry.version} has a mark that is neither true nor false")
    return entry


def _match(pattern: re.Pattern[str], text: object, what: str) -> None:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise _Odd(f"{str(text)[:60]!r} is not {what}")


def _whole(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise _Odd(f"{str(number)[:60]!r} is not a whole number")
    return number


def load(path: Path) -> Catalog:
    """The catalog at ``path``; an empty one when there is none yet."""
    if not path.exists():
        return Catalog()
    return parse(path.read_bytes(), str(path))


def find(path: Path, image: str, build_id: str) -> Entry | None:
    """The newest published version of ``image`` made from exactly these inputs."""
    return load(path).made_from(image, build_id)


def present(published: Path, entry: Entry) -> bool:
    """Whether the version's files lie where the catalog says, in their full size."""
    folder = published / entry.image / entry.version
    disk = folder / entry.disk
    return (
        (folder / "manifest.json").exists()
        and disk.exists()
        and (disk.stat().st_size == entry.size)
    )


def change(path: Path, how: Callable[[Catalog], Catalog], sign: Sign | None) -> Catalog:
    """Replace the catalog by what ``how`` makes of it, and sign that; safe with two publishers."""
    with lock(path.parent / ".index.lock"):
        before = load(path)
        after = how(before)
        if after is not before:
            documents = signed(after, sign)
            write(path.parent, documents)
            if sign is None:  # one of an earlier catalog would only mislead
                path.with_name(SIGNATURE).unlink(missing_ok=True)
        return after


def write(folder: Path, documents: Mapping[str, bytes]) -> None:
    """Put a catalog and its signature in place, so that at any moment a reader finds both.

    The new signature waits under a name of its own until the catalog is there: whoever comes in
    between, or after a crash, finds it where the old one does not fit.
    """
    signature = documents.get(SIGNATURE)
    if signature is not None:
        write_bytes(folder / NEXT, signature)
    write_bytes(folder / INDEX, documents[INDEX])
    if signature is not None:
        (folder / NEXT).replace(folder / SIGNATURE)


def signed(catalog: Catalog, sign: Sign | None) -> dict[str, bytes]:
    """The documents that make up a catalog: ``index.json`` and its signature."""
    documents = {INDEX: catalog.data()}
    if sign:
        with tempfile.TemporaryDirectory(prefix="golden-sign-") as folder:
            index = Path(folder) / INDEX
            index.write_bytes(documents[INDEX])
            documents[SIGNATURE] = sign(index).read_bytes()
    return documents


def add(path: Path, entry: Entry, sign: Sign | None = None) -> None:
    """List a version, in place of an entry of the same name."""
    change(path, lambda catalog: catalog.having(entry), sign)


def mark(
    catalog: Catalog,
    image: str,
    version: str,
    *,
    yanked: bool | None = None,
    pinned: bool | None = None,
) -> Catalog:
    """The catalog with marks of one version set; itself when they are so already."""
    entry = catalog.find(image, version)
    if entry is None:
        known = ", ".join(e.version for e in catalog.entries(image)) or "none"
        raise PipelineError(
            f"there is no version {version} of {image} in the catalog",
            hint=f"versions of {image}: {known}",
        )
    marked = replace(
        entry,
        yanked=entry.yanked if yanked is None else yanked,
        pinned=entry.pinned if pinned is None else pinned,
    )
    return catalog if marked == entry else catalog.having(marked)


def superfluous(entries: Sequence[Entry], keep: int) -> list[Entry]:
    """The versions beyond the newest ``keep`` good ones; never one that is pinned or the newest.

    A version that was yanked does not count among those kept, and goes when it is older than the
    newest good one. So the last of all stays, and with it the number after which the next is named.
    """
    good = [entry for entry in entries if not entry.yanked]
    if not good:
        return []
    kept = good[-max(keep, 1) :]
    older = entries[: entries.index(good[-1])]
    return [entry for entry in older if entry not in kept and not entry.pinned]
