"""The versions before this one, as this host or the stores have them.

In: a build. Out: their manifests, and what went into the last of them. A fresh runner has published
nothing itself, so it asks the stores. What a store says is not verified here: it becomes words and
lengths on a page, and what is no manifest is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json
from pipeline.foundation.progress import Progress
from pipeline.publishing.manifest import problems
from pipeline.publishing.report import LAST_BUILDS, Manifest
from pipeline.publishing.version import MANIFEST
from pipeline.stages import shelves
from pipeline.stages.build import Build

INPUTS = "inputs.json"
LARGEST = 4 << 20
"""Bytes of a manifest or of inputs; they have some kilobytes."""
Inputs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Earlier:
    """A version before: its manifest, and where it lies: a folder here, or a store."""

    manifest: Manifest
    place: Path | str = field(compare=False)

    @property
    def version(self) -> str:
        """Its name."""
        return str(self.manifest["version"])


def earlier_versions(build: Build, progress: Progress) -> list[Earlier]:
    """What was published before of this image, oldest first."""
    found = {one.version: one for one in _here(build)}
    for place in build.settings.stores:
        try:
            for one in _there(build, place, set(found), progress):
                found[one.version] = one
        except (PipelineError, OSError) as error:
            progress.event(f"the report knows nothing of the versions in {place}: {error}")
    return sorted(found.values(), key=lambda one: str(one.manifest["built_at"]))


def inputs_of(one: Earlier, build: Build, progress: Progress) -> Inputs | None:
    """Everything that went into it; None where it does not say."""
    if isinstance(one.place, Path):
        document = read_json(one.place / INPUTS)
    else:
        key = f"{build.image.name}/{one.version}"
        try:
            document = _documents(build, one.place, [key], INPUTS, progress)[key]
        except (PipelineError, OSError):
            return None
    good = isinstance(document, dict) and all(isinstance(v, dict) for v in document.values())
    return document if good else None


def _here(build: Build) -> Iterator[Earlier]:
    folder = build.workspace.published / build.image.name
    for path in folder.glob(f"[!.]*/{MANIFEST}"):
        document = read_json(path)
        if isinstance(document, dict):
            yield Earlier(document, path.parent)


def _there(build: Build, place: str, known: set[str], progress: Progress) -> Iterator[Earlier]:
    entries = shelves.entries(place, build.workspace, build.image.name)[-LAST_BUILDS:]
    versions = {entry.key: entry.version for entry in entries if entry.version not in known}
    found = _documents(build, place, list(versions), MANIFEST, progress) if versions else {}
    for key, document in found.items():
        if not problems(document) and document["version"] == versions[key]:
            yield Earlier(document, place)


def _documents(
    build: Build, place: str, keys: list[str], name: str, progress: Progress
) -> dict[str, Any]:
    """One small document of each version in a store."""
    from pipeline.publishing.stores.opening import open_store

    with open_store(place, build.workspace.root, progress.event) as store:
        return {key: _parsed(store.read(key, name, LARGEST)) for key in keys}


def _parsed(data: bytes | None) -> Any:
    try:
        return json.loads(data or b"null")
    except (ValueError, RecursionError):
        return None
