"""A version's folder: what it lists, and that every change of it is noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.main import main
from pipeline.definitions.model import Settings
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_file
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import run
from pipeline.publishing import signature
from pipeline.publishing.version import (
    SUMS,
    Damaged,
    appear,
    complete,
    parse_sums,
    require_whole,
    staging,
    unlisted,
)
from tests import services
from tests.unit.publishing.samples import sample

MORE = {"check-checks.json": b"[]", "consumers/run.sh": b"#!/bin/sh\n", "report.html": b"<p>"}
LINE = f"{'a' * 64}  manifest.json\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published version with a small disk."""
    output = tmp_path_factory.mktemp("out put")
    workspace = Workspace(output, output, output / "cache")
    key = signature.ensure_key(workspace, Settings())
    final = workspace.published / "toy" / "1-20261124.1"
    with staging(workspace.published, "toy", "1" * 64) as folder:
        (folder / "disk.qcow2").write_bytes(b"disk")
        manifest = sample("rehearsal")
        manifest["disk"] |= {"size": 4, "sha256": sha256_file(folder / "disk.qcow2")}
        complete(folder, manifest, MORE, lambda file: signature.sign(file, key))
        appear(folder, final)
    line = signature.allowed_signers_line(signature.public_key(key))
    signature.allow(workspace.published / signature.ALLOWED, line)
    return final


@pytest.fixture
def version(made: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "toy" / made.name
    shutil.copytree(made, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    return folder


def test_every_file_is_listed_also_below_folders(made: Path) -> None:
    assert set(require_whole(made)) == {"disk.qcow2", "manifest.json", *MORE}
    assert not list(made.parent.glob(".*.part"))
    assert all(p.stat().st_mode & 0o777 == 0o444 for p in made.rglob("*") if p.is_file())


def test_sha256sum_agrees(made: Path) -> None:
    said = run(["sha256sum", "--check", "--strict", SUMS], deadline=30, cwd=made).output
    assert said.count(": OK") == len(MORE) + 2


def test_a_manifest_against_the_schema_is_not_published(tmp_path: Path) -> None:
    with staging(tmp_path, "toy", "1" * 64) as folder:
        with pytest.raises(PipelineError, match="not as its schema says"):
            complete(folder, sample("rehearsal") | {"version": "latest"}, {}, lambda file: file)
        assert list(folder.iterdir()) == []


def test_an_interrupted_run_leaves_no_half_version(tmp_path: Path) -> None:
    def interrupted() -> None:
        with staging(tmp_path, "toy", "1" * 64) as folder:
            (folder / "disk.qcow2").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "toy").iterdir()) == []


def test_a_version_that_a_killed_run_did_not_list_is_found_again(version: Path) -> None:
    build = json.loads((version / "manifest.json").read_text())["build_id"]
    assert unlisted(version.parent, build, set()) == version
    assert unlisted(version.parent, build, {version.name}) is None
    assert unlisted(version.parent, "another", set()) is None
    assert unlisted(version.parent, build, {"1-20261123.7"}) == version
    (version / "disk.qcow2").write_bytes(b"evil")
    assert unlisted(version.parent, build, set()) is None


def test_what_a_removal_left_is_not_offered_again(version: Path) -> None:
    """It was listed once, perhaps withdrawn, and is older than what is listed now."""
    build = json.loads((version / "manifest.json").read_text())["build_id"]
    for later in ("1-20261124.2", "1-20261125.1", "0-20261124.2"):
        assert unlisted(version.parent, build, {"1-20261123.1", later}) is None


def change(path: Path) -> None:
    path.write_bytes(b"evil")


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize("name", ["disk.qcow2", "manifest.json", "consumers/run.sh"])
@pytest.mark.parametrize("harm", [change, remove, link])
def test_a_changed_missing_or_linked_file_is_noticed(
    version: Path, name: str, harm: object
) -> None:
    assert callable(harm)
    harm(version / name)
    with pytest.raises(Damaged, match=name):
        require_whole(version)


@pytest.mark.parametrize("name", ["extra.sh", "consumers/extra.sh", ".hidden"])
def test_a_file_that_is_not_listed_is_noticed(version: Path, name: str) -> None:
    (version / name).write_text("x")
    with pytest.raises(Damaged, match="is not listed"):
        require_whole(version)


OUTSIDE = ["../x", "/etc/passwd", "a/../b", "a//b", "./x", "a/", ".ssh/x", "a b", "x\\y"]


@pytest.mark.parametrize("name", [*OUTSIDE, "SHA256SUMS.sig", "sha256sums", "Manifest.json"])
def test_no_name_leads_out_or_hides(name: str) -> None:
    with pytest.raises(Damaged, match="line 2"):
        parse_sums(f"{LINE}{'b' * 64}  {name}\n")


@pytest.mark.parametrize("text", ["", "x", f"{'a' * 64}  disk.qcow2\n", LINE + LINE, LINE + "\n"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(Damaged):
        parse_sums(text)


@given(st.text())
def test_any_text_is_a_list_of_names_below_or_refused(text: str) -> None:
    try:
        found = parse_sums(LINE + text)
    except Damaged:
        return
    root = Path("/version")
    for name in found:
        assert (root / name).resolve().is_relative_to(root)


def golden(*words: object) -> int:
    return main(["verify", *map(str, words)])


def test_golden_verify_trusts_whom_it_is_told(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "fresh"))
    by = signature.signer(made / SUMS, made / f"{SUMS}.sig")
    assert golden(made, "--key", by) == 0
    assert golden(made, "--key", made.parents[2] / "keys" / f"{signature.KEY}.pub") == 0
    assert golden(made, "--allowed-signers", made.parents[1] / "allowed_signers") == 0
    assert f"signed by {by}" in capsys.readouterr().out
    assert golden(made) == signature.SignedByAnother.exit_code
    assert f"--key {by}" in capsys.readouterr().err
    monkeypatch.setenv("GOLDEN_OUTPUT", str(made.parents[2]))
    assert golden(made) == 0


def test_golden_verify_tells_what_is_wrong(version: Path, tmp_path: Path) -> None:
    by = signature.signer(version / SUMS, version / f"{SUMS}.sig")
    (version / "disk.qcow2").write_bytes(b"evil")
    assert golden(version, "--key", by) == Damaged.exit_code
    (version / SUMS).write_text(LINE)
    assert golden(version, "--key", by) == signature.SignatureWrong.exit_code
    (version / f"{SUMS}.sig").unlink()
    assert golden(version, "--key", by) == signature.NotSigned.exit_code
    assert golden(tmp_path / "nothing") == Damaged.exit_code


def test_what_was_pulled_is_verified_by_whom_the_pull_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And only what was pulled: the same bytes elsewhere are a stranger's."""
    key = services.signing_key(tmp_path)
    folder = services.publish(tmp_path / "store", key)
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GOLDEN_CACHE", str(tmp_path / "cache"))
    public = key.with_suffix(".pub")
    assert main(["pull", "toy", "--from", str(tmp_path / "store"), "--key", str(public)]) == 0
    here = Path(capsys.readouterr().out.strip())
    assert golden(here) == golden("toy") == golden(f"toy@{here.name}") == 0
    assert capsys.readouterr().out.count(f"{here}: ") == 3
    assert golden(tmp_path / "store" / folder) == signature.SignedByAnother.exit_code
    (here / "report.html").chmod(0o644)
    (here / "report.html").write_text("changed")
    assert golden(here) == golden("toy") == Damaged.exit_code


@pytest.mark.parametrize("name", ["toy", "toy@26100.1-20261123.1", "To y"])
def test_a_version_that_is_not_here_is_not_verified(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    assert golden(name) == 1
    assert "no image is on this host" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["pull", "toy"], ["images"]])
@pytest.mark.parametrize("key", ["missing.pub", "SHA256:nonsense"])
def test_a_key_that_is_none_is_wrong_use_everywhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    key: str,
) -> None:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    assert main([*command, "--from", str(tmp_path), "--key", key]) == 2
    assert "hint:" in capsys.readouterr().err
