"""The state of an instance is true however its supervisor ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.foundation.locks import lock_free
from pipeline.foundation.paths import ROOT
from pipeline.foundation.waiting import Timeout
from pipeline.instances import state
from pipeline.instances.instance import Home
from tests.unit.instances.samples import WINDOWS, made, workspace

HOLD = (
    "import sys, pathlib; from pipeline.instances import state; "
    "held = state.holding(pathlib.Path(sys.argv[1])); held.__enter__(); print('held', flush=True); "
    "sys.stdin.read()"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return made(workspace(tmp_path), WINDOWS)


@pytest.fixture
def holder(home: Home) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the instance's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.supervised)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_before_the_first_start(home: Home) -> None:
    assert state.read(home).state == state.NEVER
    home.state.write_text("half a JS")
    assert state.read(home).state == state.NEVER


def test_a_supervisor_that_lives_is_believed(home: Home, holder: object) -> None:
    state.write(home, state.RUNNING, port=22)
    said = state.read(home)
    assert (said.state, said.port, said.pid, said.alive) == (state.RUNNING, 22, os.getpid(), True)


def test_kill_9_shows_at_once(home: Home, holder: subprocess.Popen[str]) -> None:
    state.write(home, state.RUNNING)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    said = state.read(home)
    assert (said.state, said.alive) == ("stopped (killed)", False)


def test_an_ended_ones_last_words_stay(home: Home) -> None:
    with state.holding(home.supervised):
        state.write(home, state.FAILED, message="it broke", hint="mend it")
    error = state.end_of(home)
    assert (state.read(home).state, error.message) == (state.FAILED, "agent: it broke")
    assert (error.hint, error.evidence) == ("mend it", home.log)


def test_a_new_supervisor_does_not_inherit_what_an_earlier_one_said(home: Home) -> None:
    state.write(home, state.FAILED, message="it broke")
    state.expect(home)
    with state.holding(home.supervised):
        assert state.read(home) == state.State(state.STARTING)


def test_only_one_holds_the_lock_and_lookers_do_not_get_in_its_way(
    home: Home, holder: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "TAKEN_PATIENCE", 0.0)
    with pytest.raises(Timeout, match="the lock"), state.holding(home.supervised):
        pass
    assert not lock_free(home.supervised)
