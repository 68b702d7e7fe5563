"""The way from a person's keyboard to an instance's serial console.

The supervisor listens on a socket in the kernel's abstract namespace: it has no file, so none is
left behind however the supervisor ends, and no path that could be too long. Both sides see to it
that the other one is the same user's. What the console answers is read from its log.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import termios
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_bytes
from pipeline.instances.follow import follow
from pipeline.instances.instance import Home
from pipeline.machine.console import Console

CHUNK = 4096
LOOK = 0.05
LEAVE = b"\x1d"  # Ctrl-], as telnet and virsh have it
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid


class Left(Exception):
    """Somebody pressed Ctrl-]."""


def _address(home: Home) -> str:
    return f"\0golden-{sha256_bytes(os.fsencode(home.folder.resolve()))[:32]}"


def _is_ours(channel: socket.socket) -> bool:
    """Whether this user, or root, is on the other side."""
    said = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(said)[1] in (0, os.getuid())


@asynccontextmanager
async def serving(home: Home, console: Console) -> AsyncIterator[None]:
    """Pass on what comes while the block lasts."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            if _is_ours(writer.get_extra_info("socket")):
                while data := await reader.read(CHUNK):
                    console.send(data)
        writer.close()

    server = await asyncio.start_unix_server(pass_on, path=_address(home))
    try:
        yield
    finally:
        server.close()


@contextmanager
def _connected(home: Home) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(_address(home))
        except OSError as error:
            raise PipelineError(
                f"{home.name} takes no input: {os.strerror(error.errno or 0)}",
                hint=f"golden ls says whether it runs; see {home.log}",
            ) from error
        if not _is_ours(channel):
            raise PipelineError(f"another user listens in the place of {home.name}")
        yield channel


@contextmanager
def _unechoed(keyboard: int) -> Iterator[None]:
    """Give each key as it is pressed, if the keyboard is a terminal."""
    if not os.isatty(keyboard):
        yield
        return
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard)
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def typing(home: Home, keyboard: int, show: Callable[[bytes], None]) -> None:
    """Send what is typed, show what is answered; until Ctrl-] or the instance's end."""
    with _connected(home) as channel, _unechoed(keyboard), suppress(Left):
        hand = _Hand(keyboard, channel)
        for data in follow(home, home.com1, once=False, pause=hand.pass_on):
            show(data)


class _Hand:
    """Passes on what is typed; an end of input leaves the console open for its answers."""

    def __init__(self, keyboard: int, channel: socket.socket) -> None:
        self._open = [keyboard]
        self._channel = channel

    def pass_on(self) -> None:
        """Wait a moment for input, and send it."""
        for keyboard in select.select(self._open, (), (), LOOK)[0]:
            data = os.read(keyboard, CHUNK)
            before, leave, _ = data.partition(LEAVE)
            with suppress(ConnectionError):
                self._channel.sendall(before)
            if leave:
                raise Left
            if not data:
                self._open.clear()
