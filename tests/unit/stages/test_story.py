"""What the report tells of a version, held against the versions before it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from PIL import Image

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import canonical_json
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.publishing import catalog
from pipeline.publishing.stores import opening
from pipeline.stages import shelves
from pipeline.stages.build import Build, Work
from pipeline.stages.earlier import INPUTS, Inputs
from pipeline.stages.story import CHECKED, FILMED, all_inputs, changed, pages
from tests import services
from tests.unit.publishing.samples import definitions, sample

IMAGE = "rehearsal"
CHECKS = [{"name": "round-trip", "group": "virtio-fs", "ok": True, "evidence": "both ways"}]


def test_a_change_is_told_once_where_it_enters() -> None:
    before: Inputs = {
        "cidata": {"drivers": "a", "agent": "1"},
        "install": {"cidata": "x", "machine": {"cpus": 2}},
        "provision": {"install": "p", "agent": "1"},
    }
    now: Inputs = {
        "cidata": {"drivers": "a", "agent": "2"},
        "install": {"cidata": "y", "machine": {"cpus": 4}},
        "provision": {"install": "q", "agent": "2"},
    }
    assert list(changed(before, now)) == [
        "cidata: agent: 1 → 2",
        "install: machine.cpus: 2 → 4",
    ]


def test_equal_inputs_tell_nothing() -> None:
    now = {"install": {"cidata": "x"}}
    assert list(changed(now, now)) == []


def test_a_stage_that_is_new_is_told() -> None:
    assert list(changed({}, {"seal": {"scripts": {"seal.ps1": "1"}}})) == [
        "seal: scripts: (absent) → {'seal.ps1': '1'}"
    ]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """What the stages before have left: check results and screenshots, some in parts."""
    build = Build.of(IMAGE, definitions(), Workspace(ROOT, tmp_path / "o", tmp_path / "c"))
    for stage in CHECKED:
        build.folder(stage).mkdir(parents=True)
        (build.folder(stage) / "checks.json").write_text(json.dumps(CHECKS))
    for stage in FILMED:
        folder = build.folder(stage) / "evidence" / ("lima" if stage == "prove" else "")
        folder.mkdir(parents=True)
        Image.new("RGB", (720, 400), "navy").save(folder / "0000-boot.png")
    return Work(build, tmp_path / "work", "7" * 64)


@pytest.fixture(autouse=True)
def _each_store_is_asked_anew() -> Iterator[None]:
    shelves.stocked.cache_clear()
    yield
    shelves.stocked.cache_clear()


def manifest(number: int = 9, **timings: float) -> dict[str, Any]:
    day = f"2026112{number}" if number < 9 else "20261130"
    return sample(IMAGE) | {
        "version": f"26100.1-{day}.1",
        "built_at": f"{day[:4]}-{day[4:6]}-{day[6:]}T10:00:00Z",
        "timings": timings or {"install": 60.0, "seal": 20.0},
    }


def lay_down(folder: Path, document: dict[str, Any], inputs: Any) -> None:
    """A version, as far as the next one's report looks at it."""
    version = folder / IMAGE / str(document["version"])
    version.mkdir(parents=True)
    (version / "manifest.json").write_text(json.dumps(document))
    (version / INPUTS).write_bytes(canonical_json(inputs))
    one = replace(
        services.entry(str(document["version"])), image=IMAGE, built_at=document["built_at"]
    )
    catalog.add(folder / catalog.INDEX, one)


def page(made: dict[str, bytes]) -> Any:
    return html.document_fromstring(made["report.html"].decode())


def told(made: dict[str, bytes], section: str) -> str:
    (found,) = page(made).xpath(f"//section[@aria-labelledby='{section}']")
    return " ".join(found.text_content().split())


def with_cpus(build: Build, cpus: int) -> Build:
    machine = replace(build.image.machine, cpus=cpus)
    return replace(build, image=replace(build.image, machine=machine))


def test_the_first_version_has_nothing_to_be_held_against(work: Work) -> None:
    made = pages(work, manifest())
    assert "first version" in told(made, "changed")
    assert "first build" in told(made, "time")
    assert json.loads(made[INPUTS]) == json.loads(canonical_json(all_inputs(work.build)))


def test_each_stage_shows_its_screen_and_its_checks(work: Work) -> None:
    made = pages(work, manifest())
    captions = [" ".join(c.text_content().split()) for c in page(made).xpath("//figcaption")]
    shown = zip(("install", "seal", "prove, lima"), captions, strict=True)
    assert all(stage in caption for stage, caption in shown)
    groups = page(made).xpath("//details/summary/text()")
    assert [next(s for s in CHECKED if group.strip().startswith(s)) for group in groups] == [
        *CHECKED
    ]


@pytest.mark.parametrize("where", ["here", "in a store"])
def test_the_next_version_says_what_changed_and_how_long_it_took(
    work: Work, tmp_path: Path, where: str
) -> None:
    build = work.build
    folder = build.workspace.published if where == "here" else tmp_path / "a store"
    for number, seconds in ((1, 10.0), (3, 30.0), (2, 1000.0)):
        inputs = all_inputs(with_cpus(build, number + 1))
        lay_down(folder, manifest(number, install=seconds, seal=20.0), inputs)
    if where == "in a store":
        build = replace(build, settings=replace(build.settings, stores=(str(folder),)))
    now = with_cpus(build, 8)
    made = pages(replace(work, build=now), manifest())
    assert "Against 26100.1-20261123.1" in told(made, "changed")
    assert "machine.cpus: 4 → 8" in told(made, "changed")
    assert told(made, "changed").count("→") == 1, "what follows from it is no news"
    assert "100 % slower" in told(made, "time"), "than the median of the last builds"
    assert "as usual" in told(made, "time")


def test_a_version_built_anew_says_that_nothing_changed(work: Work) -> None:
    lay_down(work.build.workspace.published, manifest(1), all_inputs(work.build))
    assert "from the same inputs" in told(pages(work, manifest()), "changed")


@pytest.mark.parametrize(
    ("document", "inputs"),
    [
        (manifest(1) | {"timings": "long"}, {}),
        (manifest(1) | {"surplus": 1}, {}),
        (manifest(1), ["no", "mapping"]),
        (manifest(1), {"install": "no mapping"}),
    ],
)
def test_what_a_store_makes_up_stops_no_build(
    work: Work, tmp_path: Path, document: dict[str, Any], inputs: Any
) -> None:
    lay_down(tmp_path / "store", document, inputs)
    settings = replace(work.build.settings, stores=(str(tmp_path / "store"),))
    made = pages(replace(work, build=replace(work.build, settings=settings)), manifest())
    said = told(made, "changed")
    assert "first version" in said or "does not say what went into it" in said


def test_a_store_that_fails_costs_the_page_its_past_and_no_build(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_down(tmp_path / "store", manifest(1), {})
    settings = replace(work.build.settings, stores=(str(tmp_path / "store"),))
    work = replace(work, build=replace(work.build, settings=settings))

    def broken(*_: object) -> None:
        raise PipelineError("the store is away")

    monkeypatch.setattr(opening, "open_store", broken)
    assert "first version" in told(pages(work, manifest()), "changed")
