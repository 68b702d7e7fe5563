"""Progress: heartbeats where nobody looks, one live line per job where somebody does."""

from __future__ import annotations

import gc
import io
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.foundation import board as boards
from pipeline.foundation import progress
from pipeline.foundation.board import Board, Entry
from pipeline.foundation.process import run
from pipeline.foundation.progress import Expecting, Lines, Live, Silent
from pipeline.foundation.waiting import wait_until


class Screen(io.StringIO):
    """A terminal: what one sees after all that was written to it."""

    WORDS = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[[\d;]*m|([\r\n])|([^\x1b\r\n]+)")

    def isatty(self) -> bool:
        return True

    def seen(self) -> list[str]:
        lines, row, column = [""], 0, 0
        for number, code, control, text in self.WORDS.findall(self.getvalue()):
            if code == "A":
                row -= int(number or 1)
            elif code == "J":
                lines[row] = lines[row][:column]
                del lines[row + 1 :]
            elif control == "\r":
                column = 0
            elif control == "\n":  # the terminal's driver returns the carriage as well
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif text:
                line = lines[row].ljust(column)
                lines[row] = line[:column] + text + line[column + len(text) :]
                column += len(text)
        return [line.rstrip() for line in lines]


def hands(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stops the clock; the result moves it on."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    monkeypatch.setattr(Lines, "BEAT", 3600.0)  # the test beats
    return Lines("install:win", io.StringIO())


def said(lines: Lines) -> str:
    stream = lines.stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_a_heartbeat_comes_every_30_seconds_and_says_where_it_is(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = hands(monkeypatch)
    lines.entry.started = time.monotonic()
    lines.phase("windowsPE", 600)
    lines.event("pass windowsPE")
    for _ in range(65):
        move(1)
        lines.update("1.2 GiB written")
    rest = "of about 10:00 1.2 GiB written; last: pass windowsPE"
    assert said(lines).splitlines() == [
        "install:win [0.0 s] windowsPE (usually 10:00)",
        "install:win [0.0 s] pass windowsPE",
        f"install:win [0:30] ... windowsPE 0:30 {rest}",
        f"install:win [1:00] ... windowsPE 1:00 {rest}",
    ]


def test_the_heart_beats_while_the_job_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lines, "BEAT", 0.01)
    monkeypatch.setattr(progress, "HEARTBEAT", 0.01)
    stream = io.StringIO()
    told = Lines("publish:win", stream)
    told.phase("compress")
    wait_until("a heartbeat", lambda: "... compress" in stream.getvalue(), 10)
    told.done()
    said = stream.getvalue()
    told.beat()
    assert stream.getvalue() == said


def test_a_job_that_is_forgotten_has_no_heart_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lines, "BEAT", 0.01)
    told = Lines("forgotten", io.StringIO())
    (heart,) = [each for each in threading.enumerate() if each.name == "heart of forgotten"]
    del told
    gc.collect()
    heart.join(60)  # how soon does not matter
    assert not heart.is_alive()


def test_learnt_durations_are_told_and_a_given_one_wins(lines: Lines) -> None:
    expecting = Expecting(lines, {"windowsPE": 61.0, "ssh": 20.0})
    expecting.phase("windowsPE")
    expecting.phase("ssh", 30.0)
    expecting.phase("unknown")
    assert re.findall(r"\(usually (\S+)\)", said(lines)) == ["1:01", "0:30"]
    assert lines.entry.expected is None


# On a terminal


def live(job: str, screen: Screen, tmp_path: Path, pid: int) -> Live:
    made = Live(job, screen)
    made.board.path = tmp_path / "board"
    made.entry.pid = pid
    return made


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(Lines, "BEAT", 3600.0)
    monkeypatch.setattr(Live, "PERIOD", 0.0)
    monkeypatch.setattr(boards, "_alive", lambda pid: pid != 666)
    return Screen()


def test_a_live_line_has_phase_elapsed_expected_disk_and_last_event(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = hands(monkeypatch)
    one = live("install:win", screen, tmp_path, 1)
    one.phase("windowsPE", 600)
    move(65)
    one.event("pass windowsPE")
    one.update("1.2 GiB written")
    *above, blank, line = screen.seen()
    assert [text.partition("] ")[2] for text in above] == [
        "windowsPE (usually 10:00)",
        "pass windowsPE",
    ]
    assert blank == ""
    words = " ".join(re.sub(r"[━╸╺]", "", line).split())
    assert re.fullmatch(
        r"install:win windowsPE 1:05 of about 10:00 1\.2 GiB written pass windowsPE", words
    )


def test_two_jobs_on_one_terminal_keep_their_lines_apart(screen: Screen, tmp_path: Path) -> None:
    one = live("install:first", screen, tmp_path, 1)
    two = live("install:second", screen, tmp_path, 2)
    one.phase("windowsPE")
    two.phase("specialize")
    for count in range(20):
        one.update(f"{count} MiB written")
        two.update(f"{count} GiB written")
        if count == 10:
            two.event("pass specialize")
    seen = screen.seen()
    assert len([text for text in seen if "MiB written" in text]) == 1
    assert len([text for text in seen if "GiB written" in text]) == 1
    assert seen[-2].startswith("install:first ")
    assert "19 MiB written" in seen[-2]
    assert "19 GiB written" in seen[-1]
    assert [text for text in seen if text.endswith("] pass specialize")]
    one.done()
    assert screen.seen()[-1].startswith("install:second ")
    two.done()
    assert not [text for text in screen.seen() if "written" in text]
    assert not (tmp_path / "board").exists()


def test_what_another_program_prints_scrolls_like_the_rest(screen: Screen, tmp_path: Path) -> None:
    one = live("install:win", screen, tmp_path, 1)
    one.phase("windowsPE")
    one.update("1 MiB written")
    screen.write(".  provision:other\n")
    one.update("2 MiB written")
    assert ".  provision:other" in screen.seen()
    assert not [text for text in screen.seen() if "1 MiB" in text]


def test_the_line_of_a_process_that_died_goes(screen: Screen, tmp_path: Path) -> None:
    dead = live("install:dead", screen, tmp_path, 666)
    dead.phase("windowsPE")
    other = live("install:win", screen, tmp_path, 1)
    other.phase("windowsPE")
    assert not [text for text in screen.seen() if text.startswith("install:dead  ")]


def test_a_job_that_fails_takes_its_line_away(screen: Screen, tmp_path: Path) -> None:
    one = live("install:win", screen, tmp_path, 1)
    progress._reporters.add(one)
    one.phase("windowsPE")
    one.update("1 MiB written")
    progress.close_all()
    one.update("2 MiB written")
    assert not [text for text in screen.seen() if "written" in text]


@pytest.mark.parametrize("content", [b"", b"nonsense", b'[{"pid": 1}]', b"[1]"])
def test_a_damaged_board_is_no_matter(screen: Screen, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "board").write_bytes(content)
    live("install:win", screen, tmp_path, 1).phase("windowsPE")
    assert screen.seen()[-1].startswith("install:win")


def test_where_no_board_can_be_kept_the_job_is_drawn_alone(tmp_path: Path) -> None:
    screen = Screen()
    (tmp_path / "link").symlink_to(tmp_path / "somebody elses")
    board = Board(screen, lambda entries: [entry.job for entry in entries], tmp_path / "link")
    board.paint(Entry(os.getpid(), "mine", 0.0, 0.0))
    assert screen.seen() == ["", "mine"]
    assert not (tmp_path / "somebody elses").exists()


def test_a_terminal_that_was_closed_is_no_error(screen: Screen, tmp_path: Path) -> None:
    one = live("install:win", screen, tmp_path, 1)
    one.phase("windowsPE")
    screen.close()
    one.update("1 MiB written")
    one.event("x")
    one.close()
    assert not (tmp_path / "board").exists()


def test_a_folder_of_somebody_else_is_not_used(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = live("install:win", screen, tmp_path, 1)
    real = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: real + 1)
    one.phase("windowsPE")
    assert screen.seen()[-1].startswith("install:win")
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize(
    ("terminal", "environment", "kind"),
    [
        (True, {"TERM": "xterm"}, Live),
        (True, {"TERM": "dumb"}, Lines),
        (True, {"TERM": "xterm", "CI": "true"}, Lines),
        (False, {"TERM": "xterm"}, Lines),
    ],
)
def test_where_we_run_decides(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], kind: type
) -> None:
    for name in ("CI", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", Screen() if terminal else io.StringIO())
    made = progress.reporter("x")
    assert type(made) is kind
    progress.close_all()


def test_without_a_terminal_rich_is_not_loaded() -> None:
    import sys

    code = (
        "import sys; from pipeline.foundation.progress import reporter; r = reporter('x'); "
        "r.phase('p'); r.done(); assert 'rich' not in sys.modules"
    )
    run([sys.executable, "-c", code], deadline=30, cwd=Path(progress.__file__).parents[2])


def test_silence() -> None:
    silent = Silent()
    silent.phase("x")
    silent.update("y")
    silent.event("z")
    silent.done()
