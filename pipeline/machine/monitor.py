"""QEMU's monitor protocol over a socket we made: commands with a deadline, events, and a log.

Goes in: a connected socket and a log file. Comes out: :class:`Monitor`. The log holds every message
in both directions, with the time.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient, QMPError, Runstate
from qemu.qmp.message import Message

from pipeline.foundation.errors import PipelineError

DEADLINE = 30.0


class MonitorFailed(PipelineError):
    """QEMU's monitor refused a command, did not answer, or is gone."""


class _Logged(QMPClient):
    """A client that writes each message to a file."""

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(name)
        self.log = log.open("a", buffering=1)

    def _write(self, direction: str, message: Message) -> None:
        if self.log.closed:
            return
        text = json.dumps(dict(message), separators=(",", ":"))
        try:
            self.log.write(f"{time.time():.3f} {direction} {text}\n")
        except OSError:  # a full disk: the machine's own writes will tell of it
            with suppress(OSError):
                self.log.close()

    def _cb_outbound(self, msg: Message) -> Message:
        self._write("->", msg)
        return msg

    def _cb_inbound(self, msg: Message) -> Message:
        self._write("<-", msg)
        return msg


class Monitor:
    """A running QEMU's monitor."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._client = _Logged(name, log)
        self._all = EventListener()
        self._client.register_listener(self._all)

    async def connect(self, channel: socket.socket) -> None:
        """Greet QEMU; raises :class:`MonitorFailed` when it ends or says nothing."""
        try:
            async with asyncio.timeout(DEADLINE):
                await self._client.connect(channel)
        except (QMPError, TimeoutError) as error:
            raise MonitorFailed(f"{self.name}: QEMU's monitor did not answer: {error}") from error

    async def execute(self, name: str, **arguments: Any) -> Any:
        """Run a command (underscores in argument names stand for hyphens) and give its answer."""
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            async with asyncio.timeout(DEADLINE):
                return await self._client.execute(name, given)
        except TimeoutError:
            raise MonitorFailed(f"{self.name}: no answer to {name} in {DEADLINE:g} s") from None
        except (QMPError, EOFError, OSError) as error:
            raise MonitorFailed(f"{self.name}: {name}: {error}") from error

    @property
    def events(self) -> tuple[dict[str, Any], ...]:
        """All events so far."""
        return tuple(dict(event) for event in self._all.history)

    @contextmanager
    def listen(self, *names: str) -> Iterator[EventListener]:
        """Listen for events of these names (all without names), before what causes them."""
        with self._client.listener(names) as listener:
            yield listener

    async def drained(self) -> None:
        """Wait until everything has been read that QEMU said before it ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE):
                while self._client.runstate is Runstate.RUNNING:
                    await self._client.runstate_changed()

    async def close(self) -> None:
        """End the session; QEMU may be gone already."""
        try:
            await self._client.disconnect()
        except (QMPError, EOFError, OSError):
            pass  # QEMU hung up first
        finally:
            with suppress(OSError):
                self._client.log.close()
