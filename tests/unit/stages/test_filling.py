"""What a build brings to the stores of the settings: what they lack, and nothing withdrawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.definitions.loader import load
from pipeline.definitions.model import Settings
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.progress import Silent
from pipeline.publishing import catalog
from pipeline.publishing.catalog import Entry
from pipeline.publishing.marks import Mark, set_marks
from pipeline.publishing.stores.push import Publisher, push_to
from pipeline.stages import shelves, tasks
from pipeline.stages.build import Build
from tests import services

IMAGE = "rehearsal"


class World:
    """A host with a published version, and two folders as stores."""

    def __init__(self, base: Path) -> None:
        self.stores = (str(base / "first"), str(base / "second"))
        workspace = Workspace(ROOT, base / "output", base / "cache")
        defined = replace(load(workspace, {}), settings=Settings(stores=self.stores))
        self.build = Build.of(IMAGE, defined, workspace)
        self.publisher = Publisher.of(workspace, self.build.settings)
        self.entry = replace(services.entry(), image=IMAGE)
        services.version_folder(workspace.published, self.publisher.key, self.entry)
        catalog.add(workspace.catalog, self.entry, self.publisher.sign)

    def fill(self) -> None:
        tasks._fill_stores(self.build, self.entry)

    def mark(self, place: str, *, yanked: bool | None = None, pinned: bool | None = None) -> None:
        mark = Mark(IMAGE, self.entry.version, "marked", yanked=yanked, pinned=pinned)
        set_marks(mark, [place], self.publisher, Silent())

    def there(self, place: str) -> Entry | None:
        return catalog.load(Path(place) / catalog.INDEX).find(IMAGE, self.entry.version)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_store_that_was_added_since_gets_the_version(world: World) -> None:
    world.fill()
    assert [world.there(place) for place in world.stores] == [world.entry, world.entry]
    before = [(Path(place) / catalog.INDEX).stat().st_mtime_ns for place in world.stores]
    world.fill()
    assert [(Path(place) / catalog.INDEX).stat().st_mtime_ns for place in world.stores] == before


def test_a_version_withdrawn_in_one_store_is_offered_to_none(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = world.stores
    push_to(first, world.build.image, world.entry, world.publisher, Silent())
    world.mark(first, yanked=True)
    world.fill()
    found = world.there(first)
    assert found is not None
    assert found.yanked
    assert world.there(second) is None
    said = capsys.readouterr().out
    assert f"{IMAGE} {world.entry.version} was withdrawn in {first}" in said


def test_another_version_of_the_same_build_is_no_reason_to_keep_this_one(world: World) -> None:
    """As before expiry: the same inputs, Windows installed anew, and the push had failed."""
    world.fill()
    newer = replace(world.entry, version="26100.1-20261123.2")
    services.version_folder(world.build.workspace.published, world.publisher.key, newer)
    world.entry = newer
    world.fill()
    assert [world.there(place) for place in world.stores] == [newer, newer]


def test_a_store_that_has_lost_its_catalog_does_not_have_everything_rebuilt(world: World) -> None:
    world.fill()
    first = Path(world.stores[0])
    first.rename(first.with_name("away"))
    shelves.stocked.cache_clear()
    with pytest.raises(PipelineError, match="has no catalog, although"):
        shelves.known(world.build)
    with pytest.raises(PipelineError, match="has no catalog, although"):
        world.fill()
    assert not first.exists()
