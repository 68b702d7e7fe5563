"""``golden matrix`` on a fresh runner: what CI gets, from one request and nothing else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.main import main
from pipeline.definitions.loader import load
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.process import ProgramFailed, run
from pipeline.publishing import catalog
from pipeline.stages import shelves
from pipeline.stages.build import Build
from pipeline.stages.graph import STAGES
from pipeline.stages.plan import decide
from tests.servers import Server, Site
from tests.unit.stages.test_tonight import entry

IMAGES = ("rehearsal", "windows-11")


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def server(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A store, and a runner that has nothing but the checkout and the store's address."""
    shelves.stocked.cache_clear()
    with Server(site) as made:
        for name, value in {
            "GOLDEN_OUTPUT": tmp_path / "out put",
            "GOLDEN_CACHE": tmp_path / "cache",
            "GOLDEN_STORES": made.url("images"),
            "GOLDEN_IMAGES": ",".join(IMAGES),
        }.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.delenv("GOLDEN_REBUILD", raising=False)
        yield made


def published(*images: str, **more: Any) -> bytes:
    """A catalog that has a version of each image, made from the shipped inputs."""
    workspace = Workspace.default()
    definitions = load(workspace, {})
    path = workspace.cache / "made" / "index.json"
    for image in images:
        identifier = decide(Build.of(image, definitions, workspace), STAGES)[-1].examined.id
        values = {"image": image, "expires_at": None} | more
        catalog.add(path, entry(identifier, **values))
    return path.read_bytes()


def matrix(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["matrix", "--json", *words]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1, "CI takes one line"
    assert (line == '{"include": []}\n') == (json.loads(line)["include"] == []), "CI compares it"
    include: list[dict[str, Any]] = json.loads(line)["include"]
    return include


def test_nothing_is_to_be_built_after_one_request(
    server: Server, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.body = published(*IMAGES)
    assert matrix(capsys) == []
    assert [seen.path for seen in site.seen] == ["/images/index.json"]


def test_what_is_missing_comes_with_what_its_runner_needs(
    server: Server, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.body = published("rehearsal")
    (item,) = matrix(capsys)
    needs = {name: item[name] for name in ("image", "firmware", "kvm", "tpm")}
    assert needs == {"image": "windows-11", "firmware": "uefi", "kvm": True, "tpm": True}
    assert item["reason"] == "media: never built here"
    assert item["rebuild"] is False
    assert len(site.seen) == 1


def test_all_means_all_and_asks_nobody(
    server: Server, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    items = matrix(capsys, "--all")
    assert [(item["image"], item["rebuild"]) for item in items] == [(i, True) for i in IMAGES]
    assert {item["reason"] for item in items} == {"it was asked for anew"}
    assert site.seen == []


def test_for_people(server: Server, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.body = published(*IMAGES)
    assert main(["matrix"]) == 0
    assert capsys.readouterr().out == "nothing is to be built: rehearsal, windows-11\n"
    assert main(["matrix", "--all", "rehearsal"]) == 0
    assert capsys.readouterr().out == "rehearsal  it was asked for anew\n"


def doit(*words: str) -> str:
    return run(
        [sys.executable, "-m", "doit", "--dir", ROOT, "--file", ROOT / "dodo.py", *words],
        deadline=60,
        env={name: value for name, value in os.environ.items() if name.startswith("GOLDEN_")},
    ).output


def test_doit_build_on_a_fresh_runner_runs_no_stage_and_downloads_nothing(
    server: Server, site: Site, tmp_path: Path
) -> None:
    site.body = published(*IMAGES)
    said = doit("build")
    ran = [line for line in said.splitlines() if line.startswith(".  ")]
    assert ran == [".  build:rehearsal", ".  build:windows-11"]
    version = "26100.1-20260101.1"
    assert f"rehearsal: version {version} in {server.url('images')}" in said
    assert [seen.path for seen in site.seen] == ["/images/index.json"]
    assert not list((tmp_path / "out put").glob("build/*"))
    assert not (tmp_path / "cache" / "sha256").exists()


def test_a_store_that_does_not_answer_is_one_sentence_and_nothing_is_built(
    server: Server, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.body = b"<!doctype html><title>Sign in</title>"
    assert main(["matrix"]) == 1
    said = capsys.readouterr().err
    assert 'a web page titled "Sign in"' in said
    assert "Traceback" not in said
    assert "build:rehearsal" in doit("list", "--all")
    with pytest.raises(ProgramFailed) as caught:
        doit("build")
    assert "does not say what is published" in str(caught.value)
    assert "Traceback" not in str(caught.value)
