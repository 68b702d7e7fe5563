"""Getting into a guest: waiting for its SSH server's greeting, then logging in with one key.

Goes in: :class:`Login`. Comes out: a connection and the host key that answered; or an error that
says whether nobody answers, the key is refused, or another host key answers than was recorded.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from pipeline.foundation.errors import PipelineError

HOST = "127.0.0.1"
BANNER = b"SSH-2.0-"
# The forwarding accepts before the guest listens, so each try for a banner is short.
BANNER_PATIENCE = 5.0
RETRY = 0.5
# Between the server's start and its key file's last byte a key may be refused.
KEY_GRACE = 10.0
LOGIN_PATIENCE = 60.0
KEEPALIVE, KEEPALIVES = 15, 20

# Takes what stands in the way of a login for now, in words; empty when nothing does any more.
Tell = Callable[[str], None]


def nobody(_: str) -> None:
    """Nobody listens."""


class GuestUnreachable(PipelineError):
    """The guest's SSH server did not answer, or the connection broke."""


class KeyRefused(GuestUnreachable):
    """The guest's SSH server answers, but does not take our key."""


class HostKeyChanged(GuestUnreachable):
    """Another host key answers than the one that was recorded."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where and how to log in; ``host_key`` is the only one accepted, ``None`` takes any."""

    port: int
    user: str
    key: Path
    host_key: str | None = None


class _Client(asyncssh.SSHClient):
    """Notes the host key that answers, and accepts it if it is the expected one."""

    def __init__(self, expected: str | None) -> None:
        self.expected = expected
        self.seen = ""

    def validate_host_public_key(
        self,
        host: str,  # noqa: ARG002
        addr: str,  # noqa: ARG002
        port: int,  # noqa: ARG002
        key: asyncssh.SSHKey,
    ) -> bool:
        """See asyncssh."""
        self.seen = _bare(key.export_public_key().decode())
        return self.expected is None or self.seen == _bare(self.expected)


def _bare(public_key: str) -> str:
    """Type and key, without a comment."""
    return " ".join(public_key.split()[:2])


async def wait_for_banner(port: int, deadline: float, tell: Tell = nobody) -> str:
    """Wait until an SSH server greets on ``port``; gives its greeting."""
    end = time.monotonic() + deadline
    last = "nothing was tried"
    while time.monotonic() < end:
        try:
            async with asyncio.timeout(min(BANNER_PATIENCE, max(end - time.monotonic(), 0.01))):
                greeting = await _greeting(port)
        except TimeoutError:
            last = "the port accepts, and nobody speaks"
        except OSError as error:
            last = os.strerror(error.errno) if error.errno else str(error)
        else:
            if greeting.startswith(BANNER):
                return greeting.decode(errors="replace").strip()
            last = f"it says {greeting!r}" if greeting else "the port accepts, and closes at once"
        tell(f"SSH never answered ({last})")
        await asyncio.sleep(min(RETRY, max(end - time.monotonic(), 0)))
    raise GuestUnreachable(
        f"no SSH server answered on port {port} within {deadline:g} s: {last}",
        hint="see com1.log and the screenshots for what the guest does instead",
    )


async def _greeting(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        return await reader.readline()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _try(login: Login) -> tuple[asyncssh.SSHClientConnection, str]:
    client = _Client(login.host_key)
    try:
        async with asyncio.timeout(LOGIN_PATIENCE):
            connection = await asyncssh.connect(
                HOST,
                login.port,
                username=login.user,
                client_keys=[str(login.key)],
                client_factory=lambda: client,
                known_hosts=([], [], []),  # no key is trusted beforehand: the client is asked
                config=[],  # nor anything of the user's own settings and agent
                agent_path=None,
                preferred_auth="publickey",
                keepalive_interval=KEEPALIVE,
                keepalive_count_max=KEEPALIVES,
            )
    except asyncssh.PermissionDenied as error:
        raise KeyRefused(
            f"the guest refuses the key {login.key.name} of user {login.user}",
            hint="see the ACL and content of administrators_authorized_keys in the guest",
        ) from error
    except asyncssh.HostKeyNotVerifiable as error:
        raise HostKeyChanged(
            f"the guest on port {login.port} answers with another host key than was recorded: "
            f"{client.seen}",
            hint="another machine answers on this port, or the guest made itself new keys",
        ) from error
    except (asyncssh.Error, OSError, TimeoutError) as error:
        raise GuestUnreachable(
            f"SSH on port {login.port} broke while logging in: {error}"
        ) from error
    return connection, client.seen


async def log_in(
    login: Login, deadline: float, grace: float, tell: Tell = nobody
) -> tuple[asyncssh.SSHClientConnection, str]:
    """Banner, then login; a broken one is tried again, a refused key for ``grace`` seconds."""
    end = time.monotonic() + deadline
    refused: float | None = None
    while True:
        await wait_for_banner(login.port, max(end - time.monotonic(), 0), tell)
        try:
            connection = await _try(login)
        except HostKeyChanged:
            raise
        except KeyRefused as error:
            tell(error.message)
            refused = refused or time.monotonic()
            if time.monotonic() - refused >= grace:
                raise
        except GuestUnreachable as error:
            tell(error.message)
            if time.monotonic() >= end:
                raise
        else:
            tell("")
            return connection
        await asyncio.sleep(RETRY)
