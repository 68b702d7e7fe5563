"""Finding a published version on this host from what somebody typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, write_json
from pipeline.foundation.paths import Workspace
from pipeline.publishing import catalog, local
from pipeline.publishing.catalog import Entry
from tests.unit.instances.samples import publish, workspace


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def test_the_newest_is_taken_by_number_and_from_both_places(space: Workspace) -> None:
    publish(space.published, version="1.0-20261124.9")
    newest = publish(space.pulled, version="1.0-20261124.10")
    publish(space.published, version="2.0-20261101.1", built_at="2026-11-01T00:00:00Z")
    publish(space.published, version=".1234.part")
    assert local.find("sample", space).disk == newest / "disk.qcow2"
    assert [each.version for each in local.versions("sample", space)] == [
        "2.0-20261101.1", "1.0-20261124.9", "1.0-20261124.10",
    ]  # fmt: skip
    assert local.find("sample@2.0-20261101.1", space).version == "2.0-20261101.1"


def test_what_was_built_here_comes_before_the_same_pulled(space: Workspace) -> None:
    publish(space.pulled)
    here = publish(space.published)
    assert local.find("sample", space).disk.parent == here


def test_a_withdrawn_version_is_taken_only_by_its_name(space: Workspace) -> None:
    publish(space.published, version="1.0-20261124.1")
    publish(space.published, version="1.0-20261124.2")
    bad = Entry(
        "sample",
        "1.0-20261124.2",
        "ab" * 32,
        "disk.qcow2",
        1,
        "ab" * 32,
        "2026-11-24T12:00:00Z",
        None,
        True,
        True,
    )
    catalog.add(space.catalog, bad)
    assert local.find("sample", space).version == "1.0-20261124.1"
    assert local.find("sample@1.0-20261124.2", space).version == "1.0-20261124.2"


@pytest.mark.parametrize("tail", ["", "disk.qcow2", "manifest.json"])
def test_a_path_to_folder_disk_or_manifest(tmp_path: Path, space: Workspace, tail: str) -> None:
    folder = publish(tmp_path / "else where")
    found = local.find(str(folder / tail), space)
    assert (found.name, found.user) == ("sample@1.0-20261124.1", "someone")


def test_a_manifest_from_before_users_were_named(tmp_path: Path, space: Workspace) -> None:
    folder = publish(tmp_path)
    data = read_json(folder / "manifest.json")
    del data["user"]
    write_json(folder / "manifest.json", data)
    assert local.find(str(folder), space).user == "golden"


def test_a_disk_that_was_cut_short_is_refused(tmp_path: Path, space: Workspace) -> None:
    folder = publish(tmp_path)
    (folder / "disk.qcow2").write_bytes(b"short")
    with pytest.raises(PipelineError, match="has 5 bytes, its manifest says"):
        local.find(str(folder), space)
    (folder / "disk.qcow2").unlink()
    with pytest.raises(PipelineError, match="is not there"):
        local.find(str(folder), space)


@pytest.mark.parametrize("manifest", [None, [], {"schema": 2}, {"schema": 1, "image": "x"}])
def test_a_broken_manifest_is_named(tmp_path: Path, space: Workspace, manifest: object) -> None:
    folder = publish(tmp_path)
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(PipelineError, match=r"manifest\.json is not a manifest of schema 1"):
        local.find(str(folder), space)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("windows-12", "no published version of windows-12 is on this host"),
        ("sample@9", "sample 9 is not on this host"),
        ("Sample?", "names no image"),
        ("./absent", "there is nothing at"),
        ("/tmp/..", "has no manifest.json"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(space: Workspace, wanted: str, says: str) -> None:
    publish(space.published)
    with pytest.raises(PipelineError) as raised:
        local.find(wanted, space)
    assert says in str(raised.value)
    assert "/" in wanted or "on this host: sample" in str(raised.value)


def test_another_disk_beside_a_manifest_is_not_its_disk(tmp_path: Path, space: Workspace) -> None:
    folder = publish(tmp_path)
    (folder / "other.qcow2").write_bytes(b"")
    with pytest.raises(PipelineError, match="is not the disk of sample"):
        local.find(str(folder / "other.qcow2"), space)


@pytest.mark.parametrize(
    "user", ['x"\n  ProxyCommand sh -c id', 'x" y', "a\nHost *", "", 7, "x" * 21, "%h"]
)
def test_a_user_that_openssh_would_read_as_something_else(space: Workspace, user: object) -> None:
    """A manifest may be anybody's, and its user stands in the instance's ssh.config."""
    folder = publish(space.published, user=user)
    with pytest.raises(PipelineError, match=r"is not a manifest of schema 1: .*user"):
        local.Published.of(folder)
