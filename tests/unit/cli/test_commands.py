"""The ``golden`` command: help everywhere, clean errors, exit codes that mean something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS, main
from pipeline.foundation.errors import PipelineError


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
    assert main(["plan", "windows-12"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("golden: there is no image 'windows-12'")
    assert "windows-11" in said


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
