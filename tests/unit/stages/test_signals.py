"""Signals to the task graph, also where whoever started it has some of them ignored."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WAITS = """
from pipeline.stages.signals import stop_on_signals
stop_on_signals()
print("ready", flush=True)
import time
time.sleep(600)
"""


def _heed_all() -> None:
    """Whoever runs the tests may have had signals ignored, as nohup does."""
    for sign in (signal.SIGHUP, signal.SIGINT):
        signal.signal(sign, signal.SIG_DFL)


@contextmanager
def waiting(ignored: signal.Signals | None) -> Iterator[subprocess.Popen[str]]:
    """A process that waits as a build does, started with a signal ignored."""
    trap = f"trap '' {ignored.name.removeprefix('SIG')}; " if ignored else ""
    argv = ["sh", "-c", f'{trap}exec "$@"', "sh", sys.executable, "-c", WAITS]
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_all,  # noqa: PLW1509  # it calls nothing that another thread may hold
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("ignored", [None, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_build_can_be_ended_however_it_was_started(
    ignored: signal.Signals | None, sent: signal.Signals
) -> None:
    with waiting(ignored) as process:
        process.send_signal(sent)
        _, said = process.communicate(timeout=60)
    assert said == "interrupted; the same command goes on where this one was\n"
    assert process.returncode != 0


def test_nohup_is_obeyed() -> None:
    with waiting(signal.SIGHUP) as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        held = int(status.split("SigIgn:")[1].split()[0], 16)
        assert held & 1 << (signal.SIGHUP - 1)


def test_a_closed_terminal_ends_a_build_in_order() -> None:
    with waiting(None) as process:
        process.send_signal(signal.SIGHUP)
        _, said = process.communicate(timeout=60)
    assert said.startswith("interrupted")
