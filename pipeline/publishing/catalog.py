"""The catalog ``index.json``: which versions of which images are published.

Goes in: manifests. Comes out: one small file that says what there is, which is the newest, and for
which inputs (``build_id``) each was made; with it a host without any other trace of a build knows
that there is nothing to do. It is changed under a lock and replaced by rename.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, write_json
from pipeline.foundation.locks import lock

SCHEMA = 1


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

    @classmethod
    def of(cls, image: str, data: Mapping[str, Any]) -> Entry:
        """The entry that the catalog holds as ``data``."""
        return cls(image=image, **{key: value for key, value in data.items() if key != "image"})

    def data(self) -> dict[str, Any]:
        """The entry as the catalog holds it."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "image"}


def read(path: Path) -> dict[str, list[Entry]]:
    """Every image's versions, oldest first; raises when the file is not a catalog."""
    if not path.exists():
        return {}
    try:
        return dict(_entries(read_json(path)))
    except (TypeError, KeyError, AttributeError):
        raise PipelineError(
            f"{path} is not a catalog of schema {SCHEMA}",
            hint="move it away; what it lists is in the manifests beside it",
        ) from None


def _entries(data: Any) -> Iterator[tuple[str, list[Entry]]]:
    images = {SCHEMA: data["images"]}[data["schema"]]
    for name, body in images.items():
        yield name, [Entry.of(name, item) for item in body["versions"]]


def find(path: Path, image: str, build_id: str) -> Entry | None:
    """The newest published version of ``image`` made from exactly these inputs."""
    for entry in reversed(read(path).get(image, [])):
        if entry.build_id == build_id and not entry.yanked:
            return entry
    return None


def present(published: Path, entry: Entry) -> bool:
    """Whether the version's files lie where the catalog says, in their full size."""
    folder = published / entry.image / entry.version
    disk = folder / entry.disk
    return (
        (folder / "manifest.json").exists()
        and disk.exists()
        and (disk.stat().st_size == entry.size)
    )


def add(path: Path, entry: Entry) -> None:
    """List a version, in place of an entry of the same name; safe with two publishers."""
    with lock(path.parent / ".index.lock"):
        images = read(path)
        others = [e for e in images.get(entry.image, []) if e.version != entry.version]
        images[entry.image] = sorted([*others, entry], key=_order)
        _write(path, images)


def _order(entry: Entry) -> tuple[str, tuple[int, ...]]:
    """Versions in the order they were built; the counter of a day is a number."""
    numbers = tuple(int(part) for part in entry.version.replace("-", ".").split("."))
    return entry.built_at[:10], numbers


def _write(path: Path, images: Mapping[str, list[Entry]]) -> None:
    write_json(
        path,
        {
            "schema": SCHEMA,
            "images": {
                name: {
                    "newest": next((e.version for e in reversed(entries) if not e.yanked), None),
                    "versions": [entry.data() for entry in entries],
                }
                for name, entries in images.items()
            },
        },
    )
