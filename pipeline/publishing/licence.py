"""May this version leave the host? The gate before every store that is not a folder of one's own.

Goes in: an image's definition, a version's manifest, the settings, the store's address. Comes out:
nothing, or one sentence that says why not and what would have to be said first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.definitions.model import Image, Settings
from pipeline.foundation.errors import PipelineError


class MustStay(PipelineError):
    """The licence, or what the image is, keeps this version on its host."""

    exit_code = 24


def is_remote(store: str) -> bool:
    """Whether others can read there: every place but a folder, as ``open_store`` tells them apart.

    It takes no ``file://`` for a folder, so this does not either.
    """
    return "://" in store


def require_may_leave(
    image: Image,
    settings: Settings,
    store: str,
    manifest: Mapping[str, Any] | None = None,
) -> None:
    """Raise unless a disk of ``image`` may go to ``store``; for a version, give its manifest too.

    What the manifest and the definition say of a rehearsal counts alike: one of them is enough.
    """
    if not is_remote(store):
        return
    name = image.name
    if image.rehearsal or (manifest is not None and manifest.get("rehearsal") is not False):
        raise MustStay(
            f"{name} is a rehearsal, which never leaves its host: it may not go to {store}",
            hint="stores of rehearsals are folders",
        )
    if not settings.accept_eula:
        raise MustStay(
            f"{name} holds Windows, whose licence nobody accepted here: it may not go to {store}",
            hint="read Microsoft's terms, then set accept_eula: true in golden.yaml",
        )
    if not (image.publish.private or image.publish.i_may_redistribute):
        raise MustStay(
            f"{name} holds Windows, and nobody said that it may go to {store}",
            hint=f"in images/{name}.yaml set publish.private: true for a store that asks who reads,"
            " or publish.i_may_redistribute: true if you hold that right",
        )
