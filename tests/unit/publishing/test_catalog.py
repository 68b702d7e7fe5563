"""The catalog and the manifest."""

from __future__ import annotations

import datetime
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.definitions.model import Edition, MediaFacts
from pipeline.foundation.errors import PipelineError
from pipeline.publishing.catalog import Entry, add, find, load, order, present
from pipeline.publishing.manifest import licence, version_of

ENTRY = Entry(
    "toy",
    "26100.1-20261123.1",
    "id-1",
    "disk.qcow2",
    5,
    "a" * 64,
    "2026-11-23T10:00:00Z",
    None,
    rehearsal=True,
)
DAY = datetime.date(2026, 11, 23)


def test_what_was_added_is_found_by_its_inputs(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    add(path, ENTRY)
    assert find(path, "toy", "id-1") == ENTRY
    assert find(path, "toy", "id-2") is None
    assert find(path, "other", "id-1") is None


def test_a_yanked_version_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    add(path, replace(ENTRY, yanked=True))
    assert find(path, "toy", "id-1") is None


def test_versions_are_listed_oldest_first_by_number(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    for counter in (10, 2, 1):
        add(path, replace(ENTRY, version=f"26100.1-20261123.{counter}"))
    assert [e.version.rpartition(".")[2] for e in load(path).entries("toy")] == ["1", "2", "10"]
    import json

    assert json.loads(path.read_text())["images"]["toy"]["newest"] == "26100.1-20261123.10"


def _publish(path: Path, number: int) -> None:
    add(path, replace(ENTRY, version=f"26100.1-20261123.{number}"))


def test_two_publishers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    publishers = [multiprocessing.Process(target=_publish, args=(path, n)) for n in range(1, 9)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join(30)
    assert len(load(path).entries("toy")) == 8


def test_a_version_is_present_only_with_its_whole_disk(tmp_path: Path) -> None:
    folder = tmp_path / "toy" / ENTRY.version
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    assert not present(tmp_path, ENTRY)
    (folder / "disk.qcow2").write_bytes(b"1234")
    assert not present(tmp_path, ENTRY)
    (folder / "disk.qcow2").write_bytes(b"12345")
    assert present(tmp_path, ENTRY)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2, "images": {}}', '{"schema": 1}'])
def test_a_foreign_file_is_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "index.json"
    path.write_text(text)
    with pytest.raises(PipelineError, match="is not a catalog"):
        add(path, ENTRY)
    assert path.read_text() == text


def test_the_counter_of_a_day_follows_the_highest(tmp_path: Path) -> None:
    assert version_of("26100.1", DAY, tmp_path / "none") == "26100.1-20261123.1"
    (tmp_path / "26100.1-20261123.1").mkdir()
    assert version_of("26100.1", DAY, tmp_path) == "26100.1-20261123.2"
    (tmp_path / ".26100.1-20261123.9.gone.part").mkdir()  # .1 to .8 were removed before it
    assert version_of("26100.1", DAY, tmp_path) == "26100.1-20261123.10"
    listed = ["26100.1-20261123.11", "26100.1-20261122.40"]
    assert version_of("26100.1", DAY, tmp_path, listed) == "26100.1-20261123.12"
    assert version_of("26100.2", DAY, tmp_path, listed) == "26100.2-20261123.12"


def test_a_day_has_one_counter_also_when_the_windows_build_goes_back() -> None:
    names = ["26200.1-20261123.1", "26100.1-20261123.2", "26200.1-20261123.3"]
    assert sorted(names, key=lambda name: order(name, ENTRY.built_at)) == names


def test_the_clock_of_evaluation_media() -> None:
    facts = MediaFacts("26100.1", "amd64", "en-US", (Edition(1, "E"),), 180)
    built = datetime.datetime(2026, 11, 23, 10, tzinfo=datetime.UTC)
    assert licence(facts, built, rehearsal=False)["expires_at"] == "2027-05-22T10:00:00Z"
    assert licence(facts, built, rehearsal=True)["expires_at"] is None
    retail = replace(facts, evaluation_days=None)
    assert licence(retail, built, rehearsal=False)["expires_at"] is None
