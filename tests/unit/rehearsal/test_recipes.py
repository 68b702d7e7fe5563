"""Identities of what the rehearsal makes: stable, cheap, and different when anything differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.foundation.errors import MissingRequirement, PipelineError
from pipeline.foundation.files import write_json
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.rehearsal import medium, packages, recipes
from pipeline.rehearsal.guest.faults import KNOWN


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, tmp_path / "out put", tmp_path / "out put/cache")


def test_recipe_depends_on_part_version_and_faults() -> None:
    found = {
        recipes.recipe(part, version, faults)
        for part in recipes.SOURCES
        for version in ("1", "2")
        for faults in (frozenset[str](), frozenset({"panic"}))
    }
    assert len(found) == 16
    assert recipes.recipe("windows", "1") == recipes.recipe("windows", "1")


def test_recipe_depends_on_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipes.recipe("windows", "1")
    sources = {path.relative_to(recipes.HERE) for path in recipes._sources("windows")}
    assert Path("guest/agent.py") in sources
    assert Path("initramfs.py") in sources
    for path in recipes.HERE.rglob("*.py"):
        target = tmp_path / path.relative_to(recipes.HERE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    monkeypatch.setattr(recipes, "HERE", tmp_path)
    recipes._digests.cache_clear()
    assert recipes.recipe("windows", "1") == before
    (tmp_path / "guest/agent.py").write_text("# changed\n")
    recipes._digests.cache_clear()
    assert recipes.recipe("windows", "1") != before
    recipes._digests.cache_clear()


def test_every_source_exists() -> None:
    for part in recipes.SOURCES:
        assert all(path.is_file() for path in recipes._sources(part))


def test_made_only_with_its_receipt(workspace: Workspace) -> None:
    assert recipes.made("winfsp", "1", workspace) is None
    path = recipes.place("winfsp", "1", workspace)
    path.parent.mkdir(parents=True)
    path.touch()
    assert recipes.made("winfsp", "1", workspace) is None
    write_json(path.with_name("receipt.json"), {})
    assert recipes.made("winfsp", "1", workspace) == path
    assert medium.make("winfsp", "1", workspace, Silent()) == path


def test_unknown_part_and_unknown_fault(workspace: Workspace) -> None:
    with pytest.raises(PipelineError, match='makes no "macos"'):
        recipes.recipe("macos", "1")
    with pytest.raises(PipelineError, match='no fault "sabotage"'):
        medium.make("windows", "1", workspace, Silent(), frozenset({"sabotage"}))


def test_other_hosts_get_a_clear_sentence(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = {"ID": "fedora", "PRETTY_NAME": "Fedora Linux 43"}
    monkeypatch.setattr(packages, "_os_release", lambda: release)
    with pytest.raises(MissingRequirement, match="this host is Fedora Linux 43"):
        packages.provide(workspace, Silent())


def test_derivatives_use_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    release = {"ID": "linuxmint", "ID_LIKE": "ubuntu debian", "VERSION_ID": "22"}
    monkeypatch.setattr(packages, "_os_release", lambda: release)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert packages._distribution() == ("ubuntu", "22")


def test_every_fault_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs/rehearsal.md").read_text()
    assert [name for name in KNOWN if f"`{name}`" not in text] == []
