"""A program that is run ends with who runs it, however that ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
