"""``golden``'s commands for instances, without machines."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.foundation.paths import Workspace
from pipeline.instances import state
from pipeline.instances.instance import Home
from pipeline.machine.spec import Share
from tests.unit.instances.samples import WINDOWS, made, publish

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GOLDEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir("/")
    return Workspace.default()


@pytest.fixture
def home(space: Workspace) -> Home:
    return made(space, replace(WINDOWS, share=Share(Path("/data")), port=2222))


def test_ls_of_nothing(capsys: Output) -> None:
    assert main(["ls"]) == 0
    assert capsys.readouterr().out == "no instances; golden launch IMAGE makes one\n"
    assert main(["ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_ls_shows_each_in_columns_and_a_broken_one_too(home: Home, capsys: Output) -> None:
    broken = Home(home.workspace, "broken")
    broken.folder.mkdir()
    broken.record.write_text("{}")
    state.write(home, state.RUNNING)  # and nobody holds the lock
    assert main(["ls"]) == 0
    heads, mine, theirs = capsys.readouterr().out.splitlines()
    assert heads.split() == ["NAME", "IMAGE", "STATE", "PORT", "CPUS", "MEMORY", "DISK", "SHARE"]
    assert mine.split("  ")[0] == "agent"
    for word in (
        "windows-11@26100.1-20261124.1",
        "stopped (killed)",
        "2222",
        "4G",
        "/data (golden)",
    ):
        assert word in mine
    assert theirs.startswith("broken")
    assert "is not an instance" in theirs
    assert main(["ls", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert listed["agent"]["state"] == "stopped (killed)"
    assert listed["broken"]["state"] == "broken"


@pytest.mark.parametrize("words", [["ssh"], ["stop"], ["rm", "--yes"], ["logs"], ["console"]])
def test_an_unknown_instance_is_one_line(words: list[str], capsys: Output) -> None:
    assert main([*words, "nobody"]) == 1
    assert "golden: there is no instance 'nobody'" in capsys.readouterr().err
    assert main([*words, "../x"]) == 1
    assert "can't be called" in capsys.readouterr().err


def test_launch_without_anything_published(capsys: Output) -> None:
    assert main(["launch", "windows-11"]) == 1
    said = capsys.readouterr().err
    assert "no published version of windows-11 is on this host" in said
    assert "golden pull windows-11" in said


def test_launch_refuses_what_is_no_size(capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["launch", "x", "--memory", "4"])
    assert ended.value.code == 2
    assert 'a size such as "64G"' in capsys.readouterr().err


def test_launch_refuses_a_share_with_the_image_before_anything_is_made(
    tmp_path: Path, space: Workspace, capsys: Output
) -> None:
    folder = publish(tmp_path / "store")
    assert main(["launch", str(folder), "--share", str(tmp_path / "store")]) == 1
    assert "sample: the shared folder" in capsys.readouterr().err
    assert not space.instances.exists()


def test_ssh_into_a_stopped_one_says_how_to_start_it(home: Home, capsys: Output) -> None:
    assert main(["ssh", "agent"]) == 1
    assert "run: golden launch --name agent" in capsys.readouterr().err


def test_ssh_becomes_the_real_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: became.append(words))
    with state.holding(home.supervised):
        state.write(home, state.RUNNING)
        main(["ssh", "agent", "--", "dir", "/b", "C:\\"])
    assert became == [["ssh", "-F", str(home.ssh_config), "agent", "dir", "/b", "C:\\"]]


def test_rm_asks_and_a_no_keeps_all(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "")
    assert main(["rm", "agent"]) == 1
    assert home.record.exists()
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert main(["rm", "agent"]) == 0
    assert not home.folder.exists()


def test_rm_where_nobody_can_be_asked(home: Home, capsys: Output) -> None:
    assert main(["rm", "agent"]) == 1
    assert "--yes removes it" in capsys.readouterr().err
    assert home.record.exists()


def test_logs_and_console_show_the_latest_run(home: Home, capsys: Output) -> None:
    home.log.mkdir()
    home.supervisor_log.write_text("it began\n")
    home.com1.write_bytes(b"\x1b[2J\x1b[01;01HGOLDEN firstboot ready\r\nlast words")
    assert main(["logs", "agent"]) == 0
    said = capsys.readouterr()
    assert said.out == "it began\n"
    assert str(home.log) in said.err
    assert main(["console", "--once", "agent"]) == 0
    assert capsys.readouterr().out == "GOLDEN firstboot ready\nlast words\n"


def test_following_ends_with_the_instance(home: Home, capsys: Output) -> None:
    home.log.mkdir()
    home.supervisor_log.write_text("all of it\n")
    assert main(["logs", "-f", "agent"]) == 0
    assert capsys.readouterr().out == "all of it\n"
