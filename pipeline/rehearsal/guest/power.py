"""Restart and power off, asked for from anywhere and done by the first process.

Whoever asks writes a line to a pipe; the first process reads it, waits as long as was asked, ends
what runs, closes C: and switches.
"""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from . import linux

PIPE = Path("/run/power")
KEY_EVENT, KEY_POWER, PRESSED = 1, 116, 1
EVENT_BYTES = 24
DIRTY = "Windows/System32/config/dirty"


def ask(action: str, seconds: float = 0) -> None:
    """Ask for ``reboot`` or ``poweroff`` in so many seconds."""
    with PIPE.open("w") as pipe:
        pipe.write(f"{action} {seconds}\n")


def _buttons() -> list[int]:
    linux.load("button", "evdev")
    return [
        os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in Path("/dev/input").glob("event*")
    ]


def _pressed(handle: int) -> bool:
    data = os.read(handle, EVENT_BYTES * 16)
    for start in range(0, len(data), EVENT_BYTES):
        kind = int.from_bytes(data[start + 16 : start + 18], "little")
        code = int.from_bytes(data[start + 18 : start + 20], "little")
        value = int.from_bytes(data[start + 20 : start + 24], "little")
        if (kind, code, value) == (KEY_EVENT, KEY_POWER, PRESSED):
            return True
    return False


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def wait(every_second: Callable[[], None]) -> str:
    """Wait until a restart or power-off is due, and return which; ``every_second`` is called."""
    pipe = os.open(PIPE, os.O_RDWR | os.O_NONBLOCK)
    buttons = _buttons()
    due: tuple[float, str] | None = None
    while due is None or time.monotonic() < due[0]:
        ready, _, _ = select.select([pipe, *buttons], [], [], 0.25 if due else 1.0)
        for handle in ready:
            if handle == pipe:
                lines = re.findall(r"(reboot|poweroff) ([\d.]+)", os.read(pipe, 4096).decode())
                due = next(((time.monotonic() + float(s), a) for a, s in lines), due)
            elif _pressed(handle):
                due = (time.monotonic(), "poweroff")
        _reap()
        every_second()
    return due[1]


def _processes() -> list[int]:
    """Every process but us, the kernel's own and the file system's."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes()
            if words and path.name != "1" and not words.startswith(b"lowntfs-3g"):
                found.append(int(path.name))
    return found


def _end_all() -> None:
    for sign, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 1.0)):
        for number in _processes():
            with suppress(ProcessLookupError):
                os.kill(number, sign)
        deadline = time.monotonic() + patience
        while _processes() and time.monotonic() < deadline:
            _reap()
            time.sleep(0.02)


def switch(action: str, c: Path) -> None:
    """End everything, close C: in order, then restart or power off."""
    _end_all()
    linux.run("umount", "/Z:", ok=range(256))
    (c / DIRTY).unlink(missing_ok=True)
    linux.run("umount", str(c))
    linux.power(action)
