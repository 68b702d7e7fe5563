"""What must be built tonight, by a clock that the test holds: expiry, wishes, what stores have."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.definitions.loader import load
from pipeline.definitions.model import (
    Drivers,
    Edition,
    Image,
    Kind,
    MediaFacts,
    Pin,
    Release,
    Settings,
)
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import write_json
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.progress import Silent
from pipeline.publishing import catalog
from pipeline.stages import shelves
from pipeline.stages.build import Build, Made, Stage, Work
from pipeline.stages.graph import STAGES
from pipeline.stages.plan import State, decide
from pipeline.stages.runner import run_stage
from pipeline.stages.tonight import (
    ASKED,
    begin,
    due,
    end,
    installed_too_long_ago,
    moment,
    tonight,
    unpublished,
)
from tests.servers import Server, Site, answer, status

DAY = datetime.timedelta(days=1)
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
FACTS = MediaFacts("26100.1", "amd64", "en-US", (Edition(1, "Edition"),), evaluation_days=180)
IMAGE = Image("toy", "Toy", Release.SERVER_2025, "iso", "Edition", Drivers("d"), "w")
PINS = {"iso": Pin("iso", "1", Kind.ISO, made="windows", media=FACTS)}


def later(days: float) -> datetime.datetime:
    return START + days * DAY


def utc(when: datetime.datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def entry(build_id: str, built: datetime.datetime = START, **more: Any) -> catalog.Entry:
    values: dict[str, Any] = {
        "image": "toy", "version": f"26100.1-{built:%Y%m%d}.1", "build_id": build_id,
        "disk": "disk.qcow2", "size": 1, "sha256": "0" * 64, "built_at": utc(built),
        "expires_at": utc(built + 180 * DAY), "rehearsal": False,
    }  # fmt: skip
    return catalog.Entry(**values | more)


def index(*entries: catalog.Entry, image: str = "toy") -> bytes:
    versions = [one.data() for one in entries]
    body = {"newest": versions[-1]["version"], "versions": versions} if versions else {}
    return json.dumps({"schema": 1, "images": {image: body} if versions else {}}).encode()


class Night:
    """A graph of install, seal and publish over a folder, on any day that one likes."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root, root / "output", root / "cache")
        self.settings = Settings()
        self.day = 0.0
        self.rebuild = False
        self.fails = ""
        self.value = 1
        self.ran: list[str] = []
        self.stages = (
            self.stage("install", worn=installed_too_long_ago),
            self.stage("seal", stands_on=("install",), worn=installed_too_long_ago),
            self.stage("publish", stands_on=("seal",), elsewhere=unpublished),
        )

    def stage(self, name: str, **more: Any) -> Stage:
        night = self

        class Toy(Stage):
            def make(self, work: Work) -> Made:
                return night.make(work, self.name)

        def inputs(_: Build, ids: Mapping[str, str]) -> dict[str, Any]:
            return {"value": night.value, **ids}

        return Toy(name=name, title=name, inputs=inputs, **more)

    def make(self, work: Work, name: str) -> Made:
        self.ran.append(name)
        if name == self.fails:
            raise PipelineError(f"{name} failed")
        if name == "publish":
            self.publish(work)
        (work.folder / "product").write_text(name)
        return Made(("product",))

    def publish(self, work: Work) -> None:
        made = entry(work.id, later(self.day))
        folder = self.workspace.published / "toy" / made.version
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        (folder / made.disk).write_text("x")
        catalog.add(self.workspace.catalog, made)

    @property
    def build(self) -> Build:
        day = later(self.day)
        return Build(IMAGE, PINS, self.settings, self.workspace, day, rebuild=self.rebuild)

    def run(self) -> list[str]:
        """Build what must be built; receipts get the time of the test's clock."""
        self.ran.clear()
        for decision in decide(self.build, self.stages):
            if decision.state is State.RUN:
                begin(self.build)
                run_stage(self.build, decision.name, self.stages, Silent())
                path = self.workspace.receipt("toy", decision.name)
                receipt = json.loads(path.read_text())
                write_json(path, receipt | {"finished_at": utc(later(self.day))})
        end(self.build)
        return list(self.ran)

    def reasons(self) -> list[str]:
        return [item.reason for item in tonight([self.build], self.stages)]

    def versions(self) -> list[str]:
        return [one.version for one in catalog.load(self.workspace.catalog).entries("toy")]


@pytest.fixture
def night(tmp_path: Path) -> Night:
    shelves.stocked.cache_clear()
    return Night(tmp_path)


EVERYTHING = ["install", "seal", "publish"]


def test_nothing_new_means_nothing_to_build(night: Night) -> None:
    assert night.run() == EVERYTHING
    for night.day in (0, 1, 100, 165.9):
        assert night.reasons() == []
        assert night.run() == []


def test_near_expiry_windows_is_installed_again_with_unchanged_inputs(night: Night) -> None:
    night.run()
    ids = [item.examined.id for item in decide(night.build, night.stages)]
    night.day = 166
    assert night.reasons() == ["version 26100.1-20260101.1 ends on 2026-06-30 (in 14 days)"]
    assert night.run() == EVERYTHING
    assert [item.examined.id for item in decide(night.build, night.stages)] == ids
    assert night.versions() == ["26100.1-20260101.1", "26100.1-20260616.1"]
    assert night.run() == []
    night.day = 166 + 165.9
    assert night.run() == []


def test_an_expired_version_says_since_when(night: Night) -> None:
    night.run()
    night.day = 200
    assert night.reasons() == ["version 26100.1-20260101.1 ended on 2026-06-30 (20 days ago)"]


def test_how_long_before_is_a_setting(night: Night) -> None:
    night.run()
    night.day = 150
    assert night.reasons() == []
    night.settings = Settings(rebuild_before_expiry_days=30)
    assert len(night.reasons()) == 1


def test_a_later_change_does_not_turn_the_clock_of_windows_back(night: Night) -> None:
    """Provisioned again on an old disk, a version would seem to live longer than its Windows."""
    night.run()
    night.day = 170
    plan = decide(night.build, night.stages)
    assert plan[0].examined.reasons == (
        "Windows was installed on 2026-01-01, its evaluation ends on 2026-06-30 (in 10 days)",
    )


def test_a_runner_that_has_only_receipts_of_long_ago_reuses_no_old_disk(night: Night) -> None:
    night.run()
    night.workspace.catalog.unlink()
    night.day = 100
    assert [d.name for d in decide(night.build, night.stages) if d.state is State.RUN] == [
        "publish"
    ]
    night.day = 170
    assert night.run() == EVERYTHING


def test_a_layer_is_judged_by_its_own_age_and_not_by_what_lies_here(night: Night) -> None:
    night.run()
    night.day = 170
    old = night.build.receipt("install")
    assert old is not None
    newer = replace(old, finished_at=utc(later(160)))
    assert installed_too_long_ago(night.build, old)
    assert installed_too_long_ago(night.build, newer) == ()
    on_top = replace(newer, stage="seal")
    assert installed_too_long_ago(night.build, on_top), "the Windows below it is the old one"


def test_retail_media_never_expire(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    retail = replace(PINS["iso"], media=replace(FACTS, evaluation_days=None))
    monkeypatch.setitem(PINS, "iso", retail)
    night.run()
    kept = replace(catalog.load(night.workspace.catalog).entries("toy")[0], expires_at=None)
    catalog.add(night.workspace.catalog, kept)
    night.day = 5000
    assert night.reasons() == []


def test_what_is_asked_for_is_built_although_nothing_changed(night: Night) -> None:
    night.run()
    night.day, night.rebuild = 1, True
    assert night.reasons() == ["it was asked for anew"]
    assert night.run() == EVERYTHING
    night.rebuild = False
    assert night.run() == []
    assert len(night.versions()) == 2


def test_a_rebuild_that_failed_goes_on_where_it_was(night: Night) -> None:
    night.run()
    night.day, night.rebuild, night.fails = 1, True, "publish"
    with pytest.raises(PipelineError, match="publish failed"):
        night.run()
    assert night.ran == EVERYTHING
    night.day, night.fails = 3, ""
    assert night.reasons() == ["it was asked for anew"]
    assert night.run() == ["publish"]
    assert len(night.versions()) == 2


def test_asked_for_every_night_it_is_built_anew_once_after_every_version(night: Night) -> None:
    """As from a host's file of variables."""
    night.rebuild = True
    for night.day in (0, 1, 2):
        assert night.run() == EVERYTHING
    assert len(night.versions()) == 3


def test_what_was_published_since_it_was_asked_for_is_not_published_again(night: Night) -> None:
    """It is here, but a store did not take it: only that is left to do."""
    night.run()
    night.day, night.rebuild = 1, True
    begin(night.build)
    night.run()
    asked = night.workspace.asked("toy")
    write_json(asked, {"began": utc(later(1))})
    night.day = 2
    assert night.reasons() == []
    assert night.run() == []
    assert not asked.exists()
    assert night.reasons() == ["it was asked for anew"]


def test_who_asks_no_more_has_a_later_wish_counted_from_then(night: Night) -> None:
    night.run()
    night.day, night.rebuild, night.fails = 1, True, "publish"
    with pytest.raises(PipelineError):
        night.run()
    night.day, night.rebuild, night.fails = 2, False, ""
    assert night.run() == []
    night.day, night.rebuild = 3, True
    assert night.run() == EVERYTHING


def test_asking_what_would_be_built_begins_nothing(night: Night) -> None:
    night.run()
    night.rebuild = True
    assert night.reasons() == ["it was asked for anew"]
    assert not night.workspace.asked("toy").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"began": 5}'])
def test_a_note_cut_short_is_none(night: Night, text: str) -> None:
    night.run()
    night.day, night.rebuild = 1, True
    night.workspace.asked("toy").write_text(text)
    old = night.build.receipt("install")
    assert old is not None
    assert installed_too_long_ago(night.build, old) == ASKED
    assert night.run() == EVERYTHING


def test_a_changed_input_is_the_reason(night: Night) -> None:
    night.run()
    night.value = 2
    assert night.reasons() == ["install: value: 1 → 2"]


def test_the_environment_asks_by_name_and_refuses_what_is_no_image() -> None:
    workspace = Workspace(ROOT, ROOT / "output", ROOT / "cache")
    definitions = load(workspace, {"GOLDEN_REBUILD": "rehearsal"})
    assert Build.of("rehearsal", definitions, workspace).rebuild
    assert not Build.of("windows-11", definitions, workspace).rebuild
    with pytest.raises(PipelineError, match=r"GOLDEN_REBUILD: no such image .*rehearsel"):
        load(workspace, {"GOLDEN_REBUILD": "rehearsel"})


def test_the_environment_names_the_stores_and_none_means_none() -> None:
    workspace = Workspace(ROOT, ROOT / "output", ROOT / "cache")
    stores = "https://a.example/x, /srv/images"
    assert load(workspace, {"GOLDEN_STORES": stores}).settings.stores == (
        "https://a.example/x",
        "/srv/images",
    )
    assert load(workspace, {"GOLDEN_STORES": "none"}).settings.stores == ()
    unset = load(workspace, {}).settings.stores
    assert load(workspace, {"GOLDEN_STORES": ""}).settings.stores == unset


def test_in_the_real_graph_every_disk_that_publish_stands_on_grows_old_with_windows() -> None:
    stages = {stage.name: stage for stage in STAGES}
    chain, name = [], "publish"
    while name != "cidata":
        (name,) = stages[name].stands_on
        chain.append(name)
    assert chain == ["seal", "provision", "install", "cidata"]
    assert {stages[name].worn for name in chain[:-1]} == {installed_too_long_ago}
    assert stages["publish"].elsewhere is unpublished


@given(
    life=st.floats(min_value=0.1, max_value=4000),
    margin=st.integers(min_value=0, max_value=3650),
    age=st.floats(min_value=0, max_value=5000),
)
def test_due_comes_once_and_never_in_the_first_half_of_a_life(
    life: float, margin: int, age: float
) -> None:
    settings = Settings(rebuild_before_expiry_days=margin)
    workspace = Workspace(Path("/r"), Path("/o"), Path("/c"))
    built, ends = START, START + life * DAY

    def at(days: float) -> bool:
        return due(built, ends, Build(IMAGE, PINS, settings, workspace, later(days)))

    assert not at(0)
    assert at(life + 0.001)
    assert at(age) <= at(age + 1), "once due, always due"
    if age < life / 2 - 0.001:
        assert not at(age)


@pytest.mark.parametrize("text", ["soon", "", "2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_is_a_sentence(text: str) -> None:
    with pytest.raises(PipelineError, match="is no time"):
        moment(text)


# Stores


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    with Server(site) as made:
        yield made


def goal(night: Night) -> str:
    return decide(night.build, night.stages)[-1].examined.id


def fresh(night: Night, place: str) -> None:
    """A runner of the next day: no receipts, no catalog; only the settings."""
    shelves.stocked.cache_clear()
    night.settings = Settings(stores=(place,))


def test_a_fresh_runner_learns_from_one_request_that_there_is_nothing_to_do(
    night: Night, server: Server, site: Site
) -> None:
    site.body = index(entry(goal(night)))
    fresh(night, server.url("images"))
    assert night.reasons() == []
    assert night.run() == []
    assert [seen.path for seen in site.seen] == ["/images/index.json"]
    assert site.seen[0].sent == len(site.body)


def test_the_next_time_nothing_is_sent_when_the_catalog_is_the_same(
    night: Night, server: Server, site: Site
) -> None:
    site.body = index(entry(goal(night)))
    fresh(night, server.url("images"))
    assert night.reasons() == []
    site.script = [status(304)]
    fresh(night, server.url("images"))
    assert night.reasons() == []
    assert site.seen[1].headers["If-None-Match"] == site.etag
    assert site.seen[1].sent == 0


def test_a_copy_that_something_changed_is_not_believed(
    night: Night, server: Server, site: Site
) -> None:
    site.body = index(entry(goal(night)))
    fresh(night, server.url("images"))
    assert night.reasons() == []
    (copy,) = night.workspace.cache.glob("catalogs/*.json")
    copy.write_bytes(index())
    fresh(night, server.url("images"))
    assert night.reasons() == []
    assert site.seen[1].headers["If-None-Match"] is None


@pytest.mark.parametrize("where", ["http", "folder"])
def test_a_version_of_the_store_that_is_about_to_expire_is_not_good(
    night: Night, server: Server, site: Site, tmp_path: Path, where: str
) -> None:
    site.body = index(entry(goal(night)))
    (tmp_path / "a store").mkdir()
    (tmp_path / "a store" / "index.json").write_bytes(site.body)
    night.day = 170
    fresh(night, server.url("images") if where == "http" else str(tmp_path / "a store"))
    assert night.reasons() == ["version 26100.1-20260101.1 ends on 2026-06-30 (in 10 days)"]


def test_a_store_without_a_catalog_has_published_nothing(
    night: Night, server: Server, site: Site
) -> None:
    site.always = status(404)
    fresh(night, server.url("images"))
    assert night.reasons() == ["install: never built here"]


def test_on_a_fresh_runner_the_reason_names_what_was_published_before(
    night: Night, server: Server, site: Site
) -> None:
    site.body = index(entry("another"))
    fresh(night, server.url("images"))
    assert night.reasons() == ["version 26100.1-20260101.1 was made from other inputs"]


def test_other_inputs_yanked_versions_and_other_images_do_not_count(
    night: Night, server: Server, site: Site
) -> None:
    mine = goal(night)
    for body in (
        index(entry("another")),
        index(entry(mine, yanked=True)),
        index(entry(mine), image="other"),
    ):
        site.body = body
        fresh(night, server.url("images"))
        assert len(night.reasons()) == 1


def test_a_good_version_in_any_place_is_enough(night: Night, server: Server, site: Site) -> None:
    night.run()
    night.day = 170
    site.body = index(entry(goal(night), later(160)))
    fresh(night, server.url("images"))
    assert night.reasons() == []


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (status(503), "503"),
        (status(403), "403"),
        (answer(b"<html><title>Sign in</title></html>"), 'a web page titled "Sign in"'),
        (answer(b'{"schema": 99}'), "is not a catalog of schema 1"),
        (answer(b""), "an empty file"),
    ],
    ids=["unavailable", "forbidden", "page", "schema", "empty"],
)
def test_a_store_that_does_not_say_what_it_has_stops_the_night(
    night: Night, server: Server, site: Site, behaviour: Any, said: str
) -> None:
    """Taken for empty it would have everything rebuilt."""
    site.always = behaviour
    fresh(night, server.url("images"))
    with pytest.raises(PipelineError) as caught:
        night.reasons()
    assert said in str(caught.value)
    assert "does not say what is published" in str(caught.value)
    assert not list(night.workspace.cache.rglob("*.json"))
