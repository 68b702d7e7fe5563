"""Versions on this host that a store marks as withdrawn, remembered when its catalog was read.

Goes in: a store's verified catalog. Comes out: for each store, the names of the versions that lie
here with the very disk that it withdrew. The next catalog of that store says it anew, so a
withdrawal that was undone is forgotten. Whoever launches an image by its name is not given them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.foundation.files import read_json, write_json
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.publishing.catalog import Catalog
from pipeline.publishing.version import MANIFEST


def _file(workspace: Workspace) -> Path:
    return workspace.trust / "withdrawn" / "versions.json"


def _known(workspace: Workspace) -> dict[str, Any]:
    """Versions by store, as ``image@version``; what is damaged is read anew from the stores."""
    known = read_json(_file(workspace))
    return known if isinstance(known, dict) else {}


def remember(place: str, found: Catalog, workspace: Workspace) -> None:
    """Keep which versions that lie here the store at ``place`` marks as withdrawn."""
    marked = sorted(_marked(found, workspace))
    if _known(workspace).get(place, []) == marked:
        return
    with lock(_file(workspace).with_name(".lock")):
        rest = {name: names for name, names in _known(workspace).items() if name != place}
        write_json(_file(workspace), rest | ({place: marked} if marked else {}))


def _marked(found: Catalog, workspace: Workspace) -> Iterator[str]:
    for entry in (entry for entries in found.images.values() for entry in entries if entry.yanked):
        for root in (workspace.published, workspace.pulled):
            manifest = read_json(root / entry.key / MANIFEST)
            disk = manifest.get("disk") if isinstance(manifest, dict) else None
            if isinstance(disk, dict) and disk.get("sha256") == entry.sha256:
                yield f"{entry.image}@{entry.version}"
                break


def by(image: str, version: str, workspace: Workspace) -> list[str]:
    """The stores that marked the version as withdrawn when they were asked last."""
    name = f"{image}@{version}"
    return sorted(place for place, names in _known(workspace).items() if name in names)
