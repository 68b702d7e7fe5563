"""What is typed reaches the console of a running instance, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.waiting import wait_until
from pipeline.instances import keyboard, state
from pipeline.instances.instance import Home
from pipeline.machine.console import Console
from tests.unit.instances.samples import WINDOWS, made, workspace


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = made(workspace(tmp_path), WINDOWS)
    home.log.mkdir()
    home.com1.write_bytes(b"SAC>")
    return home


@contextlib.contextmanager
def supervised(home: Home) -> Iterator[bytearray]:
    """A supervisor's part of it, in a thread; what its console was told."""
    told, ready, loop = bytearray(), threading.Event(), asyncio.new_event_loop()
    end = asyncio.Event()

    async def main() -> None:
        console = Console()
        console.connect(told.extend)
        async with keyboard.serving(home, console):
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    with state.holding(home.supervised):
        state.write(home, state.RUNNING)
        thread.start()
        assert ready.wait(10)
        try:
            yield told
        finally:
            loop.call_soon_threadsafe(end.set)
            thread.join()
            loop.close()


def test_what_is_typed_arrives_and_ctrl_bracket_leaves(home: Home) -> None:
    ours, theirs = pty.openpty()
    shown = bytearray()

    def show(data: bytes) -> None:
        shown.extend(data)
        os.write(ours, b"cmd\r\x03\x1dnot this")  # Ctrl-C is for the guest

    with supervised(home) as told:
        keyboard.typing(home, theirs, show)
        wait_until("it arrives", lambda: bytes(told) == b"cmd\r\x03", 10, 0.01)
    assert shown == b"SAC>"
    assert os.isatty(theirs)
    os.close(ours)
    os.close(theirs)


def test_input_that_ends_leaves_the_answers(home: Home) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"?\r")
    os.close(writing)
    shown = bytearray()
    with supervised(home) as told:
        watching = threading.Thread(target=keyboard.typing, args=(home, reading, shown.extend))
        watching.start()
        wait_until("it arrives", lambda: bytes(told) == b"?\r", 10, 0.01)
        with home.com1.open("ab") as stream:
            stream.write(b" help")
        wait_until("it is shown", lambda: bytes(shown) == b"SAC> help", 10, 0.01)
    watching.join(10)  # the lock is free: the instance has ended
    assert not watching.is_alive()
    os.close(reading)


def test_one_that_does_not_run_takes_no_input(home: Home) -> None:
    with pytest.raises(PipelineError, match="agent takes no input: Connection refused"):
        keyboard.typing(home, 0, bytearray().extend)


def test_another_user_in_its_place_is_not_typed_to(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with supervised(home) as told:
        monkeypatch.setattr(keyboard, "_is_ours", lambda _: False)
        with pytest.raises(PipelineError, match="another user listens"):
            keyboard.typing(home, 0, bytearray().extend)
    assert told == b""


def test_no_socket_is_left_as_a_file(home: Home) -> None:
    with supervised(home):
        assert [path for path in home.folder.rglob("*") if path.is_socket()] == []
