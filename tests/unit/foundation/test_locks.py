"""Locks: the second waits and says for whom, and no death leaves one behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.foundation.locks import lock
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.waiting import wait_until
from pipeline.rehearsal import medium, recipes

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.foundation.locks import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_second_waits_and_says_who_has_it(tmp_path: Path) -> None:
    path, said, order = tmp_path / "x.lock", list[str](), list[str]()

    def second() -> None:
        with lock(path, said.append):
            order.append("second")

    with lock(path):
        thread = threading.Thread(target=second)
        thread.start()
        wait_until("the second's word", lambda: said, 10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert len(said) == 1
    assert said[0].startswith("process ")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_holder_that_dies_leaves_no_lock(tmp_path: Path, sign: signal.Signals) -> None:
    path = tmp_path / "x.lock"
    argv = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        said: list[str] = []
        thread = threading.Thread(target=_hold, args=(path, said))
        thread.start()
        wait_until("the wait", lambda: said, 10)
        assert f"process {process.pid}," in said[0]
        process.send_signal(sign)
        thread.join(10)
        assert said[-1] == "got it"


def _hold(path: Path, said: list[str]) -> None:
    with lock(path, said.append):
        said.append("got it")


def test_parts_of_one_cache_have_one_lock_whatever_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Path] = []

    def noting(path: Path, *_: object) -> AbstractContextManager[None]:
        held.append(path)
        return lock(path)

    monkeypatch.setattr("pipeline.rehearsal.medium.lock", noting)
    for output in ("one", "two"):
        workspace = Workspace(tmp_path, tmp_path / output, tmp_path / "cache")
        target = recipes.place("winfsp", "1", workspace)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        target.with_name("receipt.json").touch()
        assert medium.make("winfsp", "1", workspace, Silent()) == target
    assert held[0] == held[1]
    assert held[0].is_relative_to(tmp_path / "cache")
