"""The ``golden`` command: help everywhere, clean errors, exit codes that mean something."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS, main
from pipeline.foundation.errors import PipelineError, refused


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GOLDEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir("/")


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_everywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    assert "usage: golden" in capsys.readouterr().out


def test_wrong_use_is_exit_code_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["paln"])
    assert ended.value.code == 2


def test_the_plan_of_a_fresh_host_runs_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "rehearsal"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "rehearsal"
    assert said.count("because never built here") == 9


def test_the_plan_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--json", "rehearsal", "windows-11"]) == 0
    plans = json.loads(capsys.readouterr().out)
    assert set(plans) == {"rehearsal", "windows-11"}
    assert {stage["state"] for stage in plans["windows-11"]} == {"run"}


def test_an_unknown_image_is_one_clean_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "windows-12"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("golden: there is no image 'windows-12'")
    assert "windows-11" in said


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "nosuch"],
        ["render", "nosuch", "--out", "x"],
        ["trial", "nosuch"],
        ["keep", "nosuch"],
        ["refresh", "nosuch"],
        ["purge", "nosuch"],
    ],
    ids=lambda words: words[0],
)
def test_a_name_that_nothing_has_is_wrong_use_and_the_hint_says_the_names(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "'nosuch'" in said
    assert "windows-11" in said


def test_a_launch_of_nothing_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch"]) == 2
    assert "name an image" in capsys.readouterr().err


def test_broken_definitions_are_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOLDEN_IMAGES", "nosuch")
    assert main(["plan"]) == 2
    assert "nothing was run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "GOLDEN_OUTPUT"),
        (errno.EDQUOT, "GOLDEN_OUTPUT"),
        (errno.EACCES, "who owns it"),
        (errno.EPERM, "who owns it"),
        (errno.EROFS, "can be written to"),
        (errno.ENOENT, "spelling"),
        (errno.ENOTDIR, "a file and no folder"),
        (errno.EISDIR, "name a file"),
        (errno.EIO, ""),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else "",
)
def test_what_the_system_refuses_is_one_sentence_that_names_the_file(
    number: int, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("pipeline.cli.render.write_bytes", refuse)
    assert main(["render", "rehearsal", "--out", "/a place"]) == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("golden: /a place/rehearsal/")
    assert first.endswith(f": {os.strerror(number)}")
    assert len(rest) == (1 if hint else 0)
    assert hint in "".join(rest)


def test_a_folder_that_cannot_be_made_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "rehearsal", "--out", "/proc/x"]) == 1
    assert capsys.readouterr().err.startswith("golden: /proc/x")


@pytest.mark.parametrize("bug", [OSError("made up by a library"), KeyError("x"), ValueError("x")])
def test_a_bug_keeps_its_traceback(bug: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise bug

    monkeypatch.setattr("pipeline.cli.render.write_bytes", break_down)
    with pytest.raises(type(bug)):
        main(["render", "rehearsal", "--out", "/a place"])


def test_a_rename_that_is_refused_names_both_ends() -> None:
    error = OSError(errno.EXDEV, os.strerror(errno.EXDEV), b"/one", None, "/two")
    assert refused(error).message == f"/one -> /two: {os.strerror(errno.EXDEV)}"
    assert refused(OSError(errno.ENOSPC, "full")).message == "full"


def test_rendering_needs_no_download_and_what_it_writes_passes_lint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", "windows-server-2025", "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "windows-server-2025"
    names = {path.name for path in folder.iterdir()}
    assert {"autounattend.xml", "unattend-oobe.xml", "agent.ps1", "provision.json"} <= names
    answers = [str(path) for path in folder.glob("*.xml")]
    assert main(["lint", *answers]) == 0
    assert not (tmp_path / "cache").exists()


def test_lint_finds_a_defect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "autounattend.xml"
    broken.write_text("<unattend/>")
    assert main(["lint", "--json", str(broken)]) == 1
    assert json.loads(capsys.readouterr().out)


def test_a_missing_medium_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["media", str(tmp_path / "no.iso")]) == 1
    assert "no.iso" in capsys.readouterr().err


def test_the_doctor_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.cli import doctor

    def missing(_: object) -> str:
        raise PipelineError("no such thing", hint="install thing")

    monkeypatch.setattr(doctor, "NEEDED", {"thing": missing})
    monkeypatch.setattr(doctor, "WANTED", {"luck": lambda _: "some"})
    assert main(["doctor", "--json"]) == 1
    lines = json.loads(capsys.readouterr().out)
    assert [(line["name"], line["state"]) for line in lines] == [
        ("thing", "missing"),
        ("luck", "ok"),
    ]
    monkeypatch.setattr(doctor, "NEEDED", {})
    monkeypatch.setattr(doctor, "WANTED", {"thing": missing})
    assert main(["doctor"]) == 0
    assert "install thing" in capsys.readouterr().out


def test_a_medium_on_a_server_is_read_by_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    """How little of a large one travels is tested in tests/integration/test_media.py."""
    from tests.servers import Server, Site
    from tests.unit.media.making import medium

    site = Site(medium().read())
    with Server(site) as server:
        assert main(["media", server.url("windows.iso")]) == 0
        assert main(["media", "--yaml", server.url("windows.iso")]) == 0
    assert all(site.ranges)
    said = capsys.readouterr().out
    assert "  editions:" in said
    assert "SERVERDATACENTER" in said
