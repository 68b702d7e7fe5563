"""``golden images``: what is on this host, built or pulled, and what to do when nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.foundation.files import write_json
from pipeline.foundation.paths import Workspace
from pipeline.publishing import catalog
from pipeline.publishing.catalog import Entry
from tests import services
from tests.unit.publishing.samples import sample

OLDER, NEWER = "26100.1-20261101.1", "26100.1-20261124.1"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GOLDEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return Workspace.default()


def built(workspace: Workspace, version: str) -> None:
    entry = Entry(
        image="windows-11", version=version, build_id="b", disk="disk.qcow2", size=4,
        sha256="a" * 64, built_at="2026-11-01T10:00:00Z", expires_at=None, rehearsal=False,
    )  # fmt: skip
    catalog.add(workspace.catalog, entry)


def pulled(workspace: Workspace, version: str) -> None:
    manifest = sample("windows-11") | {"version": version}
    write_json(workspace.pulled / "windows-11" / version / "manifest.json", manifest)


def test_what_was_pulled_is_listed_beside_what_was_built(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    built(workspace, OLDER)
    pulled(workspace, NEWER)
    (workspace.pulled / "windows-11" / ".half.part").mkdir()
    assert main(["images"]) == 0
    heads, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert heads == ["IMAGE", "VERSION", "SIZE", "BUILT", "EXPIRES", "MARKS"]
    expires = sample("windows-11")["expires_at"][:10]
    assert [row[1] for row in rows] == [NEWER, OLDER]
    assert rows[0][-3:] == [expires, "newest,", "pulled"]
    assert "pulled" not in rows[1]


def test_json_says_of_each_version_whether_it_was_pulled(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    built(workspace, OLDER)
    pulled(workspace, OLDER)  # built here, and brought back from a store: one version
    pulled(workspace, NEWER)
    assert main(["images", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["version"], one["pulled"]) for one in told] == [(NEWER, True), (OLDER, True)]
    assert told[0]["expires_at"] == sample("windows-11")["expires_at"]
    assert len(catalog.load(workspace.catalog).entries("windows-11")) == 1, "it only looks"


def test_of_a_store_it_says_what_is_here_already(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = services.signing_key(tmp_path)
    services.publish(tmp_path / "store", key)
    words = ["images", "--json", "--from", str(tmp_path / "store")]
    assert main([*words, "--key", services.fingerprint(key)]) == 0
    assert [one["pulled"] for one in json.loads(capsys.readouterr().out)] == [False]
    assert main(["pull", "toy", "--from", str(tmp_path / "store")]) == 0
    capsys.readouterr()
    assert main(words) == 0
    assert [one["pulled"] for one in json.loads(capsys.readouterr().out)] == [True]


def test_where_nothing_is_it_says_what_to_do_next(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["images"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "./doitw build:" in said.err
    assert "golden pull" in said.err
    assert main(["images", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == []
    assert "golden pull" in said.err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"disk": 1}'])
def test_a_damaged_manifest_hides_no_other_version(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    pulled(workspace, NEWER)
    bad = workspace.pulled / "toy" / OLDER / "manifest.json"
    bad.parent.mkdir(parents=True)
    bad.write_text(text)
    assert main(["images"]) == 0
    said = capsys.readouterr()
    assert NEWER in said.out
    assert str(bad) in said.err
