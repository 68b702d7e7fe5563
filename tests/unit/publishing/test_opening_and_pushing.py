"""Places and what they name; what may go where; a folder as a store."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.definitions.loader import load
from pipeline.definitions.model import Image, Settings
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Lines, Silent
from pipeline.publishing import catalog
from pipeline.publishing.catalog import Catalog, Entry
from pipeline.publishing.licence import MustStay
from pipeline.publishing.marks import Mark, set_marks
from pipeline.publishing.signature import SignedByAnother
from pipeline.publishing.stores.base import ReadOnly, Waiting, writable
from pipeline.publishing.stores.directory import DirectoryStore
from pipeline.publishing.stores.oci_store import OciStore
from pipeline.publishing.stores.opening import canonical, on_loopback, open_store
from pipeline.publishing.stores.push import Publisher, change, push_all, push_to
from pipeline.publishing.stores.web import WebStore
from pipeline.publishing.trust import Anchors, RolledBack
from tests import services

REMOTE = "oci://registry.example.org/golden"


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    workspace = Workspace(tmp_path, tmp_path / "output", tmp_path / "cache")
    return Publisher.of(workspace, Settings())


@pytest.fixture(scope="module")
def images() -> dict[str, Image]:
    return load(Workspace.default(), {}).images


def publish(publisher: Publisher, image: str, *, rehearsal: bool) -> Entry:
    entry = replace(services.entry(rehearsal=rehearsal), image=image)
    services.version_folder(publisher.workspace.published, publisher.key, entry)
    catalog.add(publisher.workspace.catalog, entry, publisher.sign)
    return entry


@pytest.mark.parametrize(
    ("place", "kind", "remote"),
    [
        ("a folder/here", DirectoryStore, False),
        ("/srv/golden", DirectoryStore, False),
        ("https://images.example.org/golden", WebStore, True),
        ("http://127.0.0.1:8080", WebStore, False),
        ("oci://127.0.0.1:5000/golden", OciStore, False),
        ("oci://localhost/golden/windows", OciStore, False),
        (REMOTE, OciStore, True),
        ("oci://127.0.0.1.example.org/golden", OciStore, True),
    ],
)
def test_what_a_place_names(place: str, kind: type, remote: bool, tmp_path: Path) -> None:
    with open_store(place, tmp_path, print) as store:
        assert type(store) is kind
        assert store.remote is remote


@pytest.mark.parametrize("place", ["ftp://x/y", "oci://x", "oci://x/UPPER", "oci://x/y:tag"])
def test_what_no_place_looks_like(place: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="is no") as said:
        open_store(place, tmp_path, print).close()
    assert "oci://" in said.value.hint


@pytest.mark.parametrize("place", ["x:/", "http://[", "oci://", "folder", "://"])
def test_odd_places_are_not_loopback(place: str) -> None:
    assert not on_loopback(place)


def test_one_spelling_is_remembered(tmp_path: Path) -> None:
    assert canonical("HTTPS://user:pw@Host/Path/", tmp_path) == "https://host/Path"
    assert canonical("a/../b", tmp_path) == canonical("b", tmp_path) == str(tmp_path / "b")


def test_what_a_web_server_serves_is_not_written_to(tmp_path: Path) -> None:
    with (
        open_store("https://images.example.org", tmp_path, print) as store,
        pytest.raises(ReadOnly, match=r"images\.example\.org"),
    ):
        writable(store)


def test_a_rehearsal_never_leaves_the_host(publisher: Publisher, images: dict[str, Image]) -> None:
    entry = publish(publisher, "rehearsal", rehearsal=True)
    with pytest.raises(MustStay) as said:
        push_to(REMOTE, images["rehearsal"], entry, publisher, Silent())
    assert said.value.exit_code == 24
    # Neither a definition nor a catalog that says otherwise changes that.
    bold = replace(images["rehearsal"], rehearsal=False)
    with pytest.raises(MustStay):
        push_to("oci://127.0.0.1:1/golden", bold, entry, publisher, Silent())


def test_windows_needs_to_be_allowed_to_go_even_next_door(
    publisher: Publisher, images: dict[str, Image]
) -> None:
    image = images["windows-11"]
    entry = publish(publisher, "windows-11", rehearsal=False)
    for place in (REMOTE, "oci://127.0.0.1:1/golden"):
        with pytest.raises(MustStay, match="licence"):
            push_to(place, image, entry, publisher, Silent())
        agreed = replace(publisher, settings=Settings(accept_eula=True))
        with pytest.raises(MustStay):
            push_to(place, image, entry, agreed, Silent())


def test_a_folder_takes_everything_and_what_was_killed_is_made_good(
    publisher: Publisher, images: dict[str, Image]
) -> None:
    entry = publish(publisher, "windows-11", rehearsal=False)
    store = publisher.workspace.root / "store"
    half = store / "windows-11" / f".{entry.version}.part" / "disk.qcow2"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"di")
    for _ in range(2):
        push_to("store", images["windows-11"], entry, publisher, Silent())
        source = publisher.workspace.published / entry.key
        names = {path.name for path in source.iterdir()}
        assert {path.name for path in (store / entry.key).iterdir()} == names
        assert all((store / entry.key / n).read_bytes() == (source / n).read_bytes() for n in names)
        assert catalog.load(store / catalog.INDEX).find("windows-11", entry.version) == entry
    assert not half.exists()


def test_one_store_that_fails_does_not_keep_the_others_from_theirs(
    publisher: Publisher, images: dict[str, Image]
) -> None:
    entry = publish(publisher, "rehearsal", rehearsal=True)
    services.publish(
        publisher.workspace.root / "foreign", services.signing_key(publisher.workspace.root)
    )
    stores = ("foreign", "https://images.example.org", "good")
    several = replace(publisher, settings=Settings(stores=stores))
    with pytest.raises(PipelineError, match="not in every store") as said:
        push_all(images["rehearsal"], entry, several, Silent())
    assert "foreign/index.json is signed by" in said.value.message
    assert f"golden push rehearsal@{entry.version}" in said.value.hint
    good = publisher.workspace.root / "good" / catalog.INDEX
    assert catalog.load(good).find("rehearsal", entry.version) == entry
    with pytest.raises(SignedByAnother) as refused:
        push_to("foreign", images["rehearsal"], entry, publisher, Silent())
    assert "signing_key" in refused.value.hint


@pytest.mark.parametrize("marks", [{"yanked": True}, {"pinned": True}])
def test_marks_that_only_the_store_has_outlive_another_push(
    publisher: Publisher, images: dict[str, Image], marks: dict[str, Any]
) -> None:
    entry = publish(publisher, "rehearsal", rehearsal=True)
    push_to("store", images["rehearsal"], entry, publisher, Silent())
    set_marks(Mark("rehearsal", entry.version, "so", **marks), ["store"], publisher, Silent())
    push_to("store", images["rehearsal"], entry, publisher, Silent())
    index = publisher.workspace.root / "store" / catalog.INDEX
    assert catalog.load(index).find("rehearsal", entry.version) == replace(entry, **marks)
    ends = Mark("rehearsal", entry.version, "so", yanked=False, pinned=False)
    set_marks(ends, ["store"], publisher, Silent())
    assert catalog.load(index).find("rehearsal", entry.version) == entry


def test_a_version_withdrawn_here_arrives_withdrawn(
    publisher: Publisher, images: dict[str, Image], capsys: pytest.CaptureFixture[str]
) -> None:
    entry = publish(publisher, "rehearsal", rehearsal=True)
    push_to("store", images["rehearsal"], entry, publisher, Silent())
    push_to("store", images["rehearsal"], replace(entry, yanked=True), publisher, Lines("push"))
    index = publisher.workspace.root / "store" / catalog.INDEX
    assert catalog.load(index).newest("rehearsal") is None
    assert "where it is withdrawn" in capsys.readouterr().out


def test_a_store_that_is_refused_gets_no_files(
    publisher: Publisher, images: dict[str, Image]
) -> None:
    store = publisher.workspace.root / "foreign"
    services.publish(store, services.signing_key(publisher.workspace.root))
    entry = publish(publisher, "rehearsal", rehearsal=True)
    with pytest.raises(SignedByAnother):
        push_to("foreign", images["rehearsal"], entry, publisher, Silent())
    assert not (store / "rehearsal").exists()


def test_a_share_that_is_not_mounted_is_not_filled(
    publisher: Publisher, images: dict[str, Image]
) -> None:
    entry = publish(publisher, "rehearsal", rehearsal=True)
    push_to("store", images["rehearsal"], entry, publisher, Silent())
    store = publisher.workspace.root / "store"
    store.rename(store.with_name("the server's"))
    store.mkdir()
    with pytest.raises(RolledBack, match="has no catalog, although") as said:
        push_to("store", images["rehearsal"], entry, publisher, Silent())
    assert list(store.iterdir()) == []
    Path(said.value.hint.rpartition("remove ")[2]).unlink()  # deliberately anew
    push_to("store", images["rehearsal"], entry, publisher, Silent())
    assert catalog.load(store / catalog.INDEX).newest("rehearsal") == entry


class Sleepy(DirectoryStore):
    """A store whose lease has ended while its holder slept."""

    def lease(self, name: str, waiting: Waiting) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def test_who_slept_through_the_end_of_a_lease_undoes_nothing(publisher: Publisher) -> None:
    store = Sleepy(publisher.workspace.root / "store")
    trust = publisher.trust("store", Anchors())
    numbers = iter(range(1, 3))

    def slow(found: Catalog) -> Catalog:
        """While this one is at it, others list versions of theirs; twice."""
        if number := next(numbers, None):
            one = services.entry(f"26100.1-20261123.{number}")
            change(store, trust, publisher, lambda now: now.having(one), Silent())
        return found.having(services.entry("26100.1-20261123.9"))

    after = change(store, trust, publisher, slow, Silent())
    assert [one.version[-1] for one in after.entries("toy")] == ["1", "2", "9"]
    assert catalog.load(publisher.workspace.root / "store" / catalog.INDEX) == after


def test_a_catalog_that_never_rests_is_told(publisher: Publisher) -> None:
    store = Sleepy(publisher.workspace.root / "store")
    trust = publisher.trust("store", Anchors())
    numbers = itertools.count(1)

    def disturbed(found: Catalog) -> Catalog:
        one = services.entry(f"26100.1-20261123.{next(numbers)}")
        change(store, trust, publisher, lambda now: now.having(one), Silent())
        return found.having(services.entry("26100.1-20261123.99"))

    with pytest.raises(PipelineError, match="changed by others"):
        change(store, trust, publisher, disturbed, Silent())
