"""A program that is run ends with who runs it, however that ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.foundation.paths import ROOT
from pipeline.foundation.process import run
from pipeline.foundation.waiting import wait_until

RUNS = "import sys; from pipeline.foundation.process import run; run(sys.argv[1:], deadline=600)"


def _ended(pid: int) -> bool:
    """Gone, or waiting to be collected by whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs util-linux")
def test_a_program_does_not_outlive_a_killed_run(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = 'echo $$ > "$0.part"; mv "$0.part" "$0"; exec sleep 600'
    argv = [sys.executable, "-c", RUNS, "sh", "-c", script, str(told)]
    process = subprocess.Popen(argv)
    try:
        wait_until("the program runs", told.exists, 30)
        pid = int(told.read_text())
        assert not _ended(pid)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    wait_until("the program is gone", lambda: _ended(pid), 30)


def test_without_setpriv_programs_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = tmp_path / "say"
    echo.write_text(f"#!{shutil.which('sh')}\necho $1\n")
    echo.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["say", "a word"], deadline=30).output == "a word\n"


# A program of ours that puts things away when it is told to end, and one that runs it.
CAREFUL = """
import pathlib, signal, sys, time
place = pathlib.Path(sys.argv[1])
def told(number, _):
    signal.signal(number, signal.SIG_IGN)
    time.sleep(0.5)  # longer than subprocess itself would wait
    (place / "put-away").write_text(signal.Signals(number).name)
    sys.exit(3)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, told)
(place / "ready").touch()
signal.pause()
"""
RUNNER = """
import pathlib, signal, sys
from pipeline.foundation.process import run_shown
signal.signal(signal.SIGINT, signal.default_int_handler)  # however the tests were started
place = pathlib.Path(sys.argv[1])
try:
    run_shown([sys.executable, str(place / "careful.py"), str(place)])
except KeyboardInterrupt:
    (place / "interrupted").write_text(str((place / "put-away").exists()))
"""


@pytest.mark.parametrize(
    ("sent", "heard"), [(signal.SIGINT, "SIGINT"), (signal.SIGKILL, "SIGTERM")]
)
def test_a_program_that_is_shown_gets_time_to_put_things_away(
    tmp_path: Path, sent: signal.Signals, heard: str
) -> None:
    if sent is signal.SIGKILL and not shutil.which("setpriv"):
        pytest.skip("needs setpriv")
    (tmp_path / "careful.py").write_text(CAREFUL)
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    put_away = tmp_path / "put-away"
    wait_until("it is ready", (tmp_path / "ready").exists, 60)
    runner.send_signal(sent)
    runner.wait(60)
    wait_until("it has put things away", lambda: put_away.exists() and put_away.read_text(), 60)
    assert put_away.read_text() == heard
    if sent is signal.SIGINT:
        assert (tmp_path / "interrupted").read_text() == "True"
