"""What the stores have published: their catalogs, each asked once per run.

Goes in: a store as the settings name it. Comes out: its catalog's entries. A folder is read where
it is, everything else with one small request, which brings nothing when a copy kept from an
earlier run is still what the store has. No artifact is downloaded.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, sha256_bytes, sha256_file, write_bytes, write_json
from pipeline.foundation.paths import Workspace
from pipeline.publishing.catalog import INDEX, LARGEST, Catalog, Entry, NotACatalog, load, parse
from pipeline.stages.build import Build

WITHIN = 30.0


def find(place: str, workspace: Workspace, image: str, build_id: str) -> Entry | None:
    """The newest version of ``image`` in the store that was made from exactly these inputs."""
    return stocked(place, workspace).made_from(image, build_id)


def entries(place: str, workspace: Workspace, image: str) -> Sequence[Entry]:
    """The versions of ``image`` in the store, oldest first."""
    return stocked(place, workspace).entries(image)


def known(build: Build) -> list[Entry]:
    """Every version of the build's image that this host's catalog or one of the stores lists."""
    name, workspace = build.image.name, build.workspace
    found = [*load(workspace.catalog).entries(name)]
    for place in build.settings.stores:
        found += entries(place, workspace, name)
    return found


class Silent(PipelineError):
    """A store does not say what is published there."""


# Asked once, too, and not once an image: each time could take as long as the network's patience.
_silent: dict[tuple[str, Workspace], Silent] = {}


def forget() -> None:
    """Ask every store again."""
    stocked.cache_clear()
    _silent.clear()


@functools.cache
def stocked(place: str, workspace: Workspace) -> Catalog:
    """The catalog of the store; asked once in the life of a process.

    A store that does not answer is an error, and so is one that has lost the catalog it had: taken
    for empty, it would have everything rebuilt.
    """
    found = _asked(place, workspace)
    if found is None:
        from pipeline.publishing.stores.opening import canonical
        from pipeline.publishing.trust import refuse_missing

        refuse_missing(canonical(place, workspace.root), workspace)
    return found or Catalog()


def _asked(place: str, workspace: Workspace) -> Catalog | None:
    """The catalog of the store; None when it has none."""
    if "://" not in place:
        path = workspace.root / Path(place).expanduser() / INDEX
        return load(path) if path.exists() else None
    if known := _silent.get((place, workspace)):
        raise known
    try:
        return _remote(place, workspace)
    except PipelineError as error:
        silent = _silent[place, workspace] = Silent(
            f"the store {place} does not say what is published there: {error.message}",
            hint="try again later; GOLDEN_STORES=none decides by this host's catalog alone",
        )
        raise silent from error


def _remote(place: str, workspace: Workspace) -> Catalog | None:
    if place.startswith(("https://", "http://")):
        return _conditional(f"{place.rstrip('/')}/{INDEX}", workspace)
    from pipeline.publishing.stores.opening import open_store

    with open_store(place, workspace.root, lambda text: print(text, file=sys.stderr)) as store:
        data = store.read("", INDEX, LARGEST)
    return None if data is None else parse(data, place)


def _conditional(url: str, workspace: Workspace) -> Catalog | None:
    """The catalog behind ``url``; nothing but a short answer comes when the copy is up to date."""
    from pipeline.inputs.fetch_types import HttpError, whole
    from pipeline.inputs.http import Client

    copy = workspace.cache / "catalogs" / f"{sha256_bytes(url.encode())[:16]}.json"
    note = copy.with_suffix(".validator")
    try:
        with (
            Client() as client,
            client.get(url, within=WITHIN, headers=_condition(copy, note)) as answer,
        ):
            data, validator = whole(answer, LARGEST), answer.validator
    except HttpError as error:
        if error.status == 304:
            return load(copy)
        if error.status == 404:  # nothing was ever published there, or it is gone
            return None
        raise
    made = _parsed(data, url)  # only a catalog takes the place of the copy
    write_bytes(copy, data)
    write_json(note, {"validator": validator, "sha256": sha256_bytes(data)})
    return made


def _parsed(data: bytes, url: str) -> Catalog:
    try:
        return parse(data, url)
    except NotACatalog as error:
        from pipeline.inputs.magic import described

        raise NotACatalog(f"{error.message}, but {described(data)}", hint=error.hint) from None


def _condition(copy: Path, note: Path) -> dict[str, str]:
    """Ask for the catalog only if it is another than the copy, which is the one noted."""
    known = read_json(note)
    if not isinstance(known, dict) or not copy.exists():
        return {}
    validator = str(known.get("validator", ""))
    if not validator or known.get("sha256") != sha256_file(copy):
        return {}
    return {"If-None-Match" if validator.startswith('"') else "If-Modified-Since": validator}
