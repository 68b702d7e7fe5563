"""What golden gc finds, what it leaves, and that --dry-run touches nothing."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.publishing import catalog, gc, signature, waste
from tests import services

IMAGE = "rehearsal"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GOLDEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GOLDEN_STORES", "none")
    return Workspace.default()


def publish(workspace: Workspace, number: int) -> Path:
    key = services.signing_key(workspace.keys, "signing_ed25519")
    one = replace(services.entry(f"26100.1-20261123.{number}"), image=IMAGE)
    folder = services.version_folder(workspace.published, key, one)
    catalog.add(workspace.catalog, one, lambda file: signature.sign(file, key))
    return folder


def everything(workspace: Workspace) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for base in (workspace.output, workspace.cache)
        for path in base.rglob("*")
        if path.is_file()
    }


def aged(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    _age(path)
    return path


def _age(*paths: Path) -> None:
    then = time.time() - 2 * waste.OLD
    for path in paths:
        os.utime(path, (then, then))


def overlay(workspace: Workspace, disk: Path) -> None:
    """An instance's overlay, as far as its header goes."""
    folder = workspace.instances / "mine"
    folder.mkdir(parents=True)
    name = os.fsencode(os.path.relpath(disk, folder))
    head = b"QFI\xfb\0\0\0\x03" + (104).to_bytes(8, "big") + len(name).to_bytes(4, "big")
    (folder / "disk.qcow2").write_bytes(head.ljust(104, b"\0") + name)


def test_the_policy_and_a_dry_run(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [publish(workspace, number) for number in range(1, 7)]
    overlay(workspace, folders[0] / "disk.qcow2")
    assert main(["gc", "--pin", f"{IMAGE}@26100.1-20261123.2"]) == 0
    before = everything(workspace)
    capsys.readouterr()
    assert main(["gc", "--dry-run"]) == 0
    assert everything(workspace) == before
    said = capsys.readouterr().out
    assert [n for n in range(1, 7) if f"26100.1-20261123.{n} " in said] == [3]
    assert main(["gc"]) == 0
    assert [folder.exists() for folder in folders] == [True, True, False, True, True, True]
    found = catalog.load(workspace.catalog)
    assert [e.version[-1] for e in found.entries(IMAGE)] == ["1", "2", "4", "5", "6"]
    sig = workspace.catalog.with_name(catalog.SIGNATURE)
    assert signature.signer(workspace.catalog, sig)
    assert main(["gc", "--unpin", f"{IMAGE}@26100.1-20261123.2"]) == 0
    assert main(["gc"]) == 0
    assert not folders[1].exists()


def test_leftovers_go_when_nobody_uses_them(workspace: Workspace) -> None:
    digest = "a" * 64
    old = aged(workspace.partial / f"{digest}.part")
    note = aged(workspace.partial / f"{digest}.json")
    held = aged(workspace.partial / f"{'b' * 64}.part")
    new = workspace.partial / f"{'c' * 64}.part"
    new.write_bytes(b"half")
    staging = aged(workspace.published / IMAGE / ".abc.part" / "disk.qcow2")
    half = aged(workspace.pulled / IMAGE / ".1.part" / "manifest.json")
    _age(staging.parent, half.parent)
    with lock(held.with_suffix(".lock")):
        assert main(["gc"]) == 0
    assert [path.exists() for path in (old, note, staging, half)] == [False] * 4
    assert held.exists()
    assert new.exists()


def test_pulled_versions_go_only_when_asked(workspace: Workspace) -> None:
    for number in (1, 2):
        folder = workspace.pulled / IMAGE / f"26100.1-20261123.{number}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        (folder / "disk.qcow2").write_bytes(b"disk")
    overlay(workspace, workspace.pulled / IMAGE / "26100.1-20261123.1" / "disk.qcow2")
    assert main(["gc"]) == 0
    assert len(list(workspace.pulled.glob("*/*"))) == 2
    assert main(["gc", "--pulled"]) == 0
    (left,) = workspace.pulled.glob("*/*")
    assert left.name == "26100.1-20261123.1"


def test_a_removal_that_was_killed_is_finished_by_the_next(workspace: Workspace) -> None:
    publish(workspace, 1)
    gone = workspace.published / IMAGE / ".26100.1-20261123.9.gone.part"
    gone.mkdir()
    aged(gone / "disk.qcow2")
    _age(gone)
    assert main(["gc"]) == 0
    assert not gone.exists()


def test_stores_are_kept_by_the_same_policy(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("GOLDEN_STORES", str(store))
    assert main(["gc"]) == 0  # a store without a catalog is an empty one
    for number in range(1, 7):
        publish(workspace, number)
        assert main(["push", f"{IMAGE}@26100.1-20261123.{number}"]) == 0
    overlay(workspace, store / IMAGE / "26100.1-20261123.1" / "disk.qcow2")  # launched by its path
    assert main(["gc", "--pin", f"{IMAGE}@26100.1-20261123.2"]) == 0
    assert main(["yank", IMAGE, "26100.1-20261123.6"]) == 0
    assert main(["gc", "--dry-run"]) == 0
    assert len(list(store.glob("rehearsal/*"))) == 6
    assert main(["gc"]) == 0
    assert [path.name[-1] for path in sorted(workspace.published.glob("*/2*"))] == [*"23456"]
    assert [path.name[-1] for path in sorted(store.glob("rehearsal/*"))] == [*"123456"]
    found = catalog.load(store / catalog.INDEX)
    assert found.serial > 0
    newest = found.newest(IMAGE)
    assert newest is not None
    assert newest.version.endswith(".5")
    assert signature.signer(store / catalog.INDEX, store / catalog.SIGNATURE)
    publish(workspace, 7)  # what was withdrawn is older than the newest good one from now on
    assert main(["push", f"{IMAGE}@26100.1-20261123.7"]) == 0
    assert main(["gc"]) == 0
    assert [path.name[-1] for path in sorted(store.glob("rehearsal/*"))] == [*"12457"]


def test_a_pin_reaches_every_store_and_holds_on_a_host_that_knows_nothing(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [tmp_path / "first", tmp_path / "second"]
    monkeypatch.setenv("GOLDEN_STORES", ", ".join(map(str, stores)))
    for number in range(1, 6):
        publish(workspace, number)
        assert main(["push", f"{IMAGE}@26100.1-20261123.{number}"]) == 0
    assert main(["gc", "--pin", f"{IMAGE}@26100.1-20261123.1"]) == 0
    runner = tmp_path / "a fresh runner"
    shutil.copytree(workspace.keys, runner / "keys")
    monkeypatch.setenv("GOLDEN_OUTPUT", str(runner))
    monkeypatch.setenv("GOLDEN_CACHE", str(runner / "cache"))
    assert main(["gc"]) == 0
    for store in stores:
        assert [path.name[-1] for path in sorted(store.glob("rehearsal/*"))] == [*"1345"]
    assert main(["gc", "--unpin", f"{IMAGE}@26100.1-20261123.1"]) == 0
    assert main(["gc"]) == 0
    for store in stores:
        assert [path.name[-1] for path in sorted(store.glob("rehearsal/*"))] == [*"345"]


def test_a_pin_of_what_no_catalog_lists_is_told(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gc", "--pin", f"{IMAGE}@26100.1-20261123.9"]) == 1
    assert "no catalog lists 26100.1-20261123.9" in capsys.readouterr().err


def test_what_an_earlier_removal_left_is_in_nobodys_way(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("GOLDEN_STORES", str(store))
    for number in range(1, 5):
        publish(workspace, number)
        assert main(["push", f"{IMAGE}@26100.1-20261123.{number}"]) == 0
    for root in (workspace.published, store):
        left = root / IMAGE / ".26100.1-20261123.1.gone.part"
        left.mkdir()
        (left / "disk.qcow2").write_bytes(b"half")
    assert main(["gc"]) == 0
    for root in (workspace.published, store):
        assert sorted(p.name[-1] for p in (root / IMAGE).iterdir()) == [*"234"]
    half = aged(store / IMAGE / ".26100.1-20261123.0.gone.part" / "disk.qcow2").parent
    _age(half)
    assert main(["gc"]) == 0
    assert not half.exists()


def test_files_whose_removal_was_killed_are_found_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [publish(workspace, number) for number in range(1, 6)]

    def killed(found: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gc, "remove", killed)
    main(["gc"])
    monkeypatch.undo()
    monkeypatch.setenv("GOLDEN_OUTPUT", str(workspace.output))
    monkeypatch.setenv("GOLDEN_CACHE", str(workspace.cache))
    monkeypatch.setenv("GOLDEN_STORES", "none")
    listed = catalog.load(workspace.catalog)
    assert [e.version[-1] for e in listed.entries(IMAGE)] == [*"345"]
    assert main(["gc"]) == 0
    assert all(folder.exists() for folder in folders), "a day has not passed yet"
    for folder in folders:
        _age(folder, *folder.iterdir())
    overlay(workspace, folders[0] / "disk.qcow2")
    with lock(workspace.locks / f"{IMAGE}.lock"):
        assert main(["gc"]) == 0
    assert all(folder.exists() for folder in folders), "the image is being built"
    capsys.readouterr()
    assert main(["gc"]) == 0
    assert [folder.exists() for folder in folders] == [True, False, True, True, True]
    assert "that the catalog does not list" in capsys.readouterr().out


def test_a_lost_catalog_is_no_reason_to_remove_what_it_listed(workspace: Workspace) -> None:
    folder = publish(workspace, 1)
    _age(folder, *folder.iterdir())
    workspace.catalog.unlink()
    assert main(["gc"]) == 0
    assert folder.exists()


def test_a_pull_that_takes_days_keeps_its_folder(workspace: Workspace) -> None:
    half = aged(workspace.pulled / IMAGE / ".26100.1-20261123.1.part" / "manifest.json").parent
    whole = aged(workspace.pulled / IMAGE / "26100.1-20261123.1" / "manifest.json").parent
    _age(half, whole)
    with lock(workspace.partial / f"{IMAGE}-26100.1-20261123.1.lock"):
        assert main(["gc", "--pulled"]) == 0
    assert half.exists()
    assert whole.exists()
    assert main(["gc", "--pulled"]) == 0
    assert not half.exists()
    assert not whole.exists()


def test_a_version_that_is_pinned_meanwhile_stays_with_its_files(workspace: Workspace) -> None:
    folders = [publish(workspace, number) for number in range(1, 6)]
    old = list(catalog.load(workspace.catalog).entries(IMAGE)[:2])
    assert main(["gc", "--pin", f"{IMAGE}@26100.1-20261123.1"]) == 0
    key = services.signing_key(workspace.keys, "signing_ed25519")
    gc.collect_here(workspace, old, lambda file: signature.sign(file, key))
    assert [folder.exists() for folder in folders] == [True, False, True, True, True]
    assert catalog.load(workspace.catalog).find(IMAGE, "26100.1-20261123.1")
