"""The gate before remote stores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.definitions.loader import load
from pipeline.definitions.model import Image, Publish, Settings
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.publishing.licence import MustStay, is_remote, require_may_leave
from pipeline.publishing.stores.directory import DirectoryStore
from pipeline.publishing.stores.opening import open_store

OCI = "oci://registry.example/windows"
ACCEPTED = Settings(accept_eula=True)
IMAGES = load(Workspace.default(), {}).images
WINDOWS, REHEARSAL = IMAGES["windows-server-2025"], IMAGES["rehearsal"]


def said(**words: bool) -> Image:
    return replace(WINDOWS, publish=Publish(**words))


@pytest.mark.parametrize("image", [WINDOWS, REHEARSAL])
@pytest.mark.parametrize("store", ["/srv/images", "a folder", "//server/share"])
def test_a_folder_takes_everything(image: Image, store: str) -> None:
    require_may_leave(image, Settings(), store)


@pytest.mark.parametrize("image", [said(private=True), said(i_may_redistribute=True)])
def test_who_accepted_and_said_so_may(image: Image) -> None:
    require_may_leave(image, ACCEPTED, OCI, {"rehearsal": False})


@pytest.mark.parametrize("store", [OCI, "OCI://r/x", "https://images.example/", "s3://bucket"])
def test_a_rehearsal_never_leaves(store: str) -> None:
    publish = Publish(private=True, i_may_redistribute=True)
    with pytest.raises(MustStay, match="rehearsal is a rehearsal, which never leaves"):
        require_may_leave(replace(REHEARSAL, publish=publish), ACCEPTED, store)


@pytest.mark.parametrize("manifest", [{"rehearsal": True}, {"rehearsal": None}, {}])
def test_a_manifest_that_is_vague_does_not_leave(manifest: dict[str, object]) -> None:
    with pytest.raises(MustStay):
        require_may_leave(said(private=True), ACCEPTED, OCI, manifest)


def test_without_the_licence_accepted_nothing_leaves() -> None:
    with pytest.raises(MustStay, match="nobody accepted") as caught:
        require_may_leave(said(private=True, i_may_redistribute=True), Settings(), OCI)
    assert "accept_eula: true" in caught.value.hint


def test_the_licence_alone_is_not_enough() -> None:
    with pytest.raises(MustStay, match="nobody said") as caught:
        require_may_leave(WINDOWS, ACCEPTED, OCI)
    assert "private: true" in caught.value.hint
    assert "i_may_redistribute: true" in caught.value.hint


def test_what_is_remote() -> None:
    assert is_remote("oci://x/y")
    assert not is_remote("/srv/a b")
    assert not is_remote("//server/share")


@pytest.mark.parametrize("place", ["/srv/a b", "file:///srv/images", "FILE://x/y", "oci://x/y"])
def test_what_counts_as_a_folder_is_opened_as_one(place: str, tmp_path: Path) -> None:
    """And nothing else is: the gate and the store's opening read a place in one way."""
    try:
        folder = isinstance(open_store(place, tmp_path, lambda _: None), DirectoryStore)
    except PipelineError:
        folder = False
    assert folder is not is_remote(place)
