"""One run of the task graph under observation: its lines with the time when each one came."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.foundation.waiting import wait_until

STRIKE_DEADLINE = 600.0
FAILED = re.compile(r"^(TaskFailed|TaskError|UnmetDependency)")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
# What doit and progress print besides sentences.
NOISE = re.compile(r"^(\.  |-- |\S+ \[[^\]]*\] |#{5,}|_{5,}|held here$|\s*$)")


class Running:
    """A run that has been started, in a process group (on request: a terminal) of its own."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], sign: Path, *, terminal: bool = False
    ) -> None:
        self.lines: list[tuple[float, str]] = []
        self.sign, self._size, self.last_sign = sign, -1, time.monotonic()
        self._hung_up = threading.Event()
        out = pty.openpty() if terminal else os.pipe()
        self._mine, theirs = out
        words = ["setsid", "--ctty", *argv] if terminal else list(argv)
        self.process = subprocess.Popen(
            words,
            cwd="/",
            env=dict(env),
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=not terminal,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        rest = ""
        try:
            while not self._hung_up.is_set():
                if not select.select([self._mine], [], [], 0.05)[0]:
                    continue
                if not (data := os.read(self._mine, 1 << 16)):
                    break
                *whole, rest = (rest + data.decode(errors="replace")).split("\n")
                now = time.monotonic()
                self.lines += [(now, CONTROL.sub("", line)) for line in whole]
        except OSError:
            pass  # a terminal says so when its other end is gone
        finally:
            os.close(self._mine)
        if rest:
            self.lines.append((time.monotonic(), CONTROL.sub("", rest)))

    @property
    def text(self) -> str:
        """All that was printed so far."""
        return "\n".join(line for _, line in list(self.lines))

    def time_of(self, pattern: str) -> float | None:
        """When a line first matched."""
        return next((at for at, line in list(self.lines) if re.search(pattern, line)), None)

    def wait_line(self, pattern: str, deadline: float = STRIKE_DEADLINE) -> float:
        """Wait until a line matches; when it came. Raises when the run ends before."""

        def look() -> float | None:
            ended = self.process.poll() is not None
            found = self.time_of(pattern)
            if found is None and ended:
                raise AssertionError(f"the run ended without {pattern!r}:\n{self.text}")
            return found

        found = wait_until(f"a line {pattern!r} of {self.sign}", look, deadline)
        assert found is not None
        return found

    def strike(self, number: signal.Signals) -> float:
        """Send a signal as it comes in life; when that was.

        A terminal sends it to the whole group; whoever kills picks the program alone.
        """
        send = os.kill if number is signal.SIGKILL else os.killpg
        send(self.process.pid, number)
        return time.monotonic()

    def hang_up(self) -> float:
        """Close the terminal."""
        self._hung_up.set()
        self._reader.join()
        return time.monotonic()

    def end(self, deadline: float = 1500.0) -> int:
        """Wait for the end, watching for signs of the guest's life; the exit code."""
        end = time.monotonic() + deadline
        while self.process.poll() is None:
            if time.monotonic() > end:
                self.process.send_signal(signal.SIGINT)
                self.process.wait(60)
                raise AssertionError(f"not ended within {deadline:g} s:\n{self.text}")
            self._look()
            time.sleep(0.05)
        self._reader.join(5)
        return self.process.returncode

    def _look(self) -> None:
        try:
            size = self.sign.stat().st_size
        except OSError:
            return
        if size != self._size:
            self._size, self.last_sign = size, time.monotonic()

    def sentence(self) -> str:
        """What the user reads in the end: the error with its hint, or the last words."""
        lines = [line for _, line in self.lines]
        starts = [n for n, line in enumerate(lines) if FAILED.match(line)]
        if starts:
            told = [line for line in lines[starts[0] + 1 :] if not NOISE.match(line)]
        else:
            told = [line for line in lines if not NOISE.match(line)]
        return "\n".join(told)

    def seconds_to_sentence(self, since: float) -> float:
        """From ``since`` to the error's first line, or to the end."""
        said = next((at for at, line in self.lines if FAILED.match(line)), time.monotonic())
        return round(max(said - since, 0.0), 1)
