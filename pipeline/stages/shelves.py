"""What the stores have published: their catalogs, each asked once per run.

Goes in: a store as the settings name it. Comes out: its catalog's entries. A folder is read where
it is, everything else with one small request, which brings nothing when a copy kept from an
earlier run is still what the store has. No artifact is downloaded.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, replacing, sha256_bytes, write_json
from pipeline.foundation.paths import Workspace
from pipeline.publishing import catalog

LARGEST = 16 << 20
WITHIN = 30.0
INDEX = "index.json"


def find(place: str, workspace: Workspace, image: str, build_id: str) -> catalog.Entry | None:
    """The newest version of ``image`` in the store that was made from exactly these inputs."""
    for entry in reversed(entries(place, workspace).get(image, [])):
        if entry.build_id == build_id and not entry.yanked:
            return entry
    return None


@functools.cache
def entries(place: str, workspace: Workspace) -> Mapping[str, list[catalog.Entry]]:
    """Every image's versions in the store, oldest first; asked once in the life of a process.

    A store that does not answer is an error: taken for empty, it would have everything rebuilt.
    """
    if "://" not in place:
        return catalog.read(workspace.root / Path(place).expanduser() / INDEX)
    try:
        return _remote(place, workspace)
    except PipelineError as error:
        raise PipelineError(
            f"the store {place} does not say what is published there: {error.message}",
            hint="try again later; GOLDEN_STORES= (empty) decides by this host's catalog alone",
        ) from error


def _remote(place: str, workspace: Workspace) -> Mapping[str, list[catalog.Entry]]:
    copy = workspace.cache / "catalogs" / f"{sha256_bytes(place.encode())[:16]}.json"
    if place.startswith(("https://", "http://")):
        _refresh(f"{place.rstrip('/')}/{INDEX}", copy)
    return catalog.read(copy)


def _refresh(url: str, copy: Path) -> None:
    """Bring the copy up to date; a store that has no catalog yet has published nothing."""
    from pipeline.inputs.http import Client, HttpError, whole

    note = copy.with_suffix(".validator")
    try:
        with (
            Client() as client,
            client.get(url, within=WITHIN, headers=_condition(copy, note)) as answer,
        ):
            data, validator = whole(answer, LARGEST), answer.validator
    except HttpError as error:
        if error.status == 404:
            copy.unlink(missing_ok=True)
        elif error.status != 304:
            raise
        return
    _keep(data, copy, url)
    write_json(note, {"validator": validator})


def _keep(data: bytes, copy: Path, url: str) -> None:
    """Only a catalog takes the place of the copy."""
    with replacing(copy) as part:
        part.write_bytes(data)
        try:
            catalog.read(part)
        except PipelineError:
            from pipeline.inputs.magic import described

            raise PipelineError(f"{url}: sent {described(data)} instead of a catalog") from None


def _condition(copy: Path, note: Path) -> dict[str, str]:
    """Ask for the catalog only if it is another than the copy."""
    known = read_json(note) if copy.exists() else None
    validator = str(known.get("validator", "")) if isinstance(known, dict) else ""
    if not validator:
        return {}
    return {"If-None-Match" if validator.startswith('"') else "If-Modified-Since": validator}
