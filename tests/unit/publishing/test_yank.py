"""golden yank: everywhere the version is listed, told where it is not, and never silently left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.foundation.paths import Workspace
from pipeline.publishing import catalog, signature
from tests import services

IMAGE = "rehearsal"
VERSION = "26100.1-20261123.1"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GOLDEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GOLDEN_STORES", f"{tmp_path / 'full'}, {tmp_path / 'other'}")
    workspace = Workspace.default()
    key = services.signing_key(workspace.keys, "signing_ed25519")
    for number in (1, 2):
        one = replace(services.entry(f"26100.1-20261123.{number}"), image=IMAGE)
        services.version_folder(workspace.published, key, one)
        catalog.add(workspace.catalog, one, lambda file: signature.sign(file, key))
        assert main(["push", f"{IMAGE}@{one.version}", "--to", str(tmp_path / "full")]) == 0
    return workspace


def yanked(folder: Path) -> bool:
    found = catalog.load(folder / catalog.INDEX).find(IMAGE, VERSION)
    assert found is not None
    return found.yanked


def test_a_store_without_the_version_is_told_and_keeps_the_others_from_nothing(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = f"{IMAGE}@26100.1-20261123.2"
    assert main(["push", other, "--to", str(tmp_path / "other")]) == 0
    assert main(["yank", IMAGE, VERSION]) == 0
    assert yanked(workspace.published)
    assert yanked(tmp_path / "full")
    said = capsys.readouterr().out
    assert f"{tmp_path / 'other'}: lists no {VERSION} of {IMAGE}" in said
    assert main(["yank", IMAGE, VERSION, "--undo"]) == 0
    assert not yanked(tmp_path / "full")


def test_a_store_that_fails_is_told_after_all_were_tried(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    closed = f"oci://127.0.0.1:{services.free_port()}/x"
    monkeypatch.setenv("GOLDEN_STORES", f"{closed}, {tmp_path / 'full'}")
    assert main(["yank", IMAGE, VERSION]) == 1
    assert yanked(tmp_path / "full")
    assert "is withdrawn in 2 of 3 catalogs" in capsys.readouterr().err


def test_a_version_that_no_catalog_lists(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = workspace.catalog.read_bytes()
    assert main(["yank", IMAGE, "26100.1-20261123.9"]) == 1
    assert "no catalog lists 26100.1-20261123.9" in capsys.readouterr().err
    assert workspace.catalog.read_bytes() == before
