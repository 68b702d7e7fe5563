"""The eyes of the chaos suite: whatever a run might leave behind is seen when it is there."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.foundation.waiting import wait_until
from tests.chaos import leftovers, table
from tests.chaos.case import Case, Row, Seen


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    made = Path(tempfile.mkdtemp(prefix="gl", dir="/tmp"))
    yield made
    shutil.rmtree(made)


@contextmanager
def sleeping(*words: str, cwd: Path | None = None, fd: int | None = None) -> Iterator[None]:
    argv = ["sh", "-c", "read _", *words]
    fds = () if fd is None else (fd,)
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=cwd, pass_fds=fds)
    try:
        yield
    finally:
        process.communicate()


def test_a_process_is_seen_by_its_words_its_place_and_its_files(folder: Path) -> None:
    marks = [str(folder)]

    def seen() -> bool:
        return bool(leftovers.processes(marks))

    assert not seen()
    with sleeping(f"--dir={folder}/x"):
        wait_until("its words are seen", seen, 30)
    assert not seen()
    with sleeping(cwd=folder):
        wait_until("its place is seen", seen, 30)
    handle = os.open(folder / "held", os.O_CREAT | os.O_RDWR)
    with sleeping(fd=handle):
        os.close(handle)
        wait_until("its file is seen", seen, 30)
    assert not seen()


def test_a_socket_is_seen_while_bound_and_as_a_file(folder: Path) -> None:
    marks = [str(folder)]
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "s"))
        assert leftovers.sockets(marks, []) == [f"socket {folder}/s"]
    assert leftovers.sockets(marks, []) == []
    assert leftovers.sockets(marks, [folder]) == [f"socket {folder}/s"]


def test_a_lock_is_seen_only_while_it_is_held(folder: Path) -> None:
    with (folder / "image.lock").open("w") as held:
        assert leftovers.locks([folder]) == []
        fcntl.flock(held, fcntl.LOCK_EX)
        assert leftovers.locks([folder]) == ["lock image.lock is held"]
    assert leftovers.locks([folder]) == []


def test_mounts_are_seen_by_their_place() -> None:
    assert any(text.startswith("mount ") for text in leftovers.devices(["/proc"]))
    assert leftovers.devices(["/no/such place"]) == []


def test_every_difference_of_two_trees_is_told(folder: Path) -> None:
    for name in ("kept", "changed", "lost", ".install.work/disk", "failures/evidence"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    before = leftovers.tree(folder)
    (folder / "changed").write_text("xy")
    (folder / "lost").unlink()
    (folder / ".install.work/disk").unlink()  # left by a killed run, cleared by this one
    (folder / "new").touch()
    (folder / "failures/more").touch()
    told = leftovers.changes(before, leftovers.tree(folder))
    assert told == ["file new", "lost is gone", "changed changed"]


CASE = Case("a-fault", "install", "something breaks", "it broke", lambda _: Seen(""))


@pytest.mark.parametrize(
    ("sentence", "good"),
    [("it broke", True), ("it worked", False), ("Traceback: it broke", False)],
)
def test_a_sentence_that_does_not_say_it_is_not_good(sentence: str, good: bool) -> None:
    row = Row.of(CASE)
    row.judge(CASE, Seen(sentence, 1.0))
    assert row.good is good


def test_the_document_is_not_written_with_a_bad_row() -> None:
    bad = Row.of(CASE)
    bad.wrong.append("left behind: a process")
    assert table.write({CASE.key: bad}, [CASE]).endswith("as they should be: a-fault@install")


def test_cells_hold_nothing_of_one_run() -> None:
    row = Row.of(CASE)
    row.sentence = (
        "rehearsal: SSH on port 40123 broke, process 77\n"
        "  hint: see /tmp/x/room 1/check out/output/failures/rehearsal/install-20260102-030405\n"
        "  evidence: /tmp/x/room 1/check out/output/failures/rehearsal/install-20260102-030405"
    )
    told = table.document([row])
    line = next(line for line in told.splitlines() if line.startswith("| `a-fault`"))
    assert "port … broke, process …<br>" in line
    assert "see output/failures/rehearsal/install-…" in line
    assert "evidence" not in line
