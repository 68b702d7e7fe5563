"""The store that a place names.

Goes in: a folder, ``https://host/path``, ``http://…``, ``oci://registry/repository``. Comes out:
the store. Libraries of one kind of store are not loaded for another.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.inputs.fetch_urls import on_loopback
from pipeline.publishing.stores.base import Store

__all__ = ["canonical", "on_loopback", "open_store"]


def open_store(place: str, base: Path, tell: Callable[[str], None]) -> Store:
    """The store at ``place``; folders are relative to ``base``. ``tell`` hears of oddities."""
    scheme, separator, _ = place.partition("://")
    if not separator:
        from pipeline.publishing.stores.directory import DirectoryStore

        return DirectoryStore((base / Path(place).expanduser()).absolute())
    if scheme in ("http", "https"):
        from pipeline.publishing.stores.web import WebStore

        store: Store = WebStore(place, tell)
    elif scheme == "oci":
        from pipeline.publishing.stores.oci_store import OciStore

        store = OciStore(place, tell, plain=on_loopback(place))
    else:
        raise PipelineError(
            f"{place}: is no store",
            hint="a folder, https://host/path, http://host/path, oci://registry/repository",
        )
    store.remote = not on_loopback(place)
    return store


def canonical(place: str, base: Path) -> str:
    """One spelling for a place, under which it is remembered."""
    if "://" not in place:
        return str((base / Path(place).expanduser()).resolve())
    scheme, _, rest = place.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.rpartition('@')[2].lower()}{slash}{path.rstrip('/')}"
