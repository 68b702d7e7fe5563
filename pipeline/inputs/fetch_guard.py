"""A limit on time that holds whatever a connection is doing.

Goes in: every socket as it is made, and how long the work may take. Comes out: connections cut when
the time is up. A socket's own timeout counts from one byte to the next, so a server that drips
headers, or a body, keeps a reader busy for ever; here a timer shuts the connection down instead.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import urllib3


class Guard:
    """The sockets of one client, and why they were cut (empty while they were not)."""

    def __init__(self) -> None:
        self.why = ""
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def watch(self, sock: socket.socket) -> None:
        """Take a new connection into care.

        It is a duplicate that is kept: TLS takes the original's descriptor away, and a number that
        was closed may by then stand for another file.
        """
        with self._lock:
            self._sockets.append(sock.dup())
        if self.why:
            self._cut(self.why)

    @contextlib.contextmanager
    def within(self, seconds: float, why: str) -> Iterator[None]:
        """Cut every connection when the block takes longer than ``seconds``; ``why`` says so."""
        timer = threading.Timer(max(seconds, 0.0), self._cut, (why,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self, why: str) -> None:
        self.why = self.why or why
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Forget all connections."""
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()


def watched_pools(guard: Guard) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Connection pools whose every socket is known to ``guard``."""

    class Plain(urllib3.connection.HTTPConnection):
        def _new_conn(self) -> Any:
            sock = super()._new_conn()
            guard.watch(sock)
            return sock

    class Secure(urllib3.connection.HTTPSConnection):
        def _new_conn(self) -> Any:
            sock = super()._new_conn()
            guard.watch(sock)
            return sock

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
