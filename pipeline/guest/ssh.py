"""A guest one is logged in to: commands with a deadline, files by SFTP.

    async with connect(port, "golden", key, host_key, deadline=600) as guest: …

Goes in: the host's port that leads to the guest's SSH server, and the key that should open it.
Comes out: :class:`Guest`; or an error that says what stood in the way (``login``).

Paths in the guest are SFTP's, such as ``/C:/ProgramData/golden/plan.json``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import asyncssh

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_bytes
from pipeline.guest.login import KEY_GRACE, RETRY, GuestUnreachable, Login, Tell, log_in, nobody
from pipeline.guest.powershell import encoded_command, file_command, windows_path, without_clixml

FOLDER = "/C:/ProgramData/golden"
COMMAND_DEADLINE = 120.0
FILE_DEADLINE = 1800.0

_DRIVE = re.compile(r"/?|/[A-Za-z]:/?")  # is there, or nothing can make it

T = TypeVar("T")


class CommandTimeout(PipelineError):
    """A command in the guest did not end within its deadline."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left: its exit code and its outputs as text."""

    code: int
    out: str
    err: str


class Guest:
    """A logged-in guest. ``host_key`` is what answered, to be asked for again later."""

    def __init__(
        self, login: Login, connection: asyncssh.SSHClientConnection, host_key: str
    ) -> None:
        self.login = login
        self.host_key = host_key
        self._connection = connection
        self._sftp: asyncssh.SFTPClient | None = None

    async def reconnect(self, deadline: float) -> None:
        """Log in anew after a restart; the same host key must answer."""
        await self.close()
        login = Login(self.login.port, self.login.user, self.login.key, self.host_key)
        self._connection, self.host_key = await log_in(login, deadline, KEY_GRACE)

    async def close(self) -> None:
        """Hang up; a guest that is gone is not waited for."""
        self._sftp = None
        self._connection.abort()
        with suppress(TimeoutError, asyncssh.Error, OSError):
            async with asyncio.timeout(RETRY):
                await self._connection.wait_closed()

    # Commands

    async def run(self, command: str, deadline: float = COMMAND_DEADLINE) -> Result:
        """Run a command line in the guest's shell, never on a terminal, to its end."""
        try:
            done = await self._connection.run(
                command, stdin=asyncssh.DEVNULL, encoding=None, timeout=deadline
            )
        except asyncssh.TimeoutError:
            raise CommandTimeout(
                f"not done in the guest within {deadline:g} s: {_shown(command)}"
            ) from None
        except (asyncssh.Error, OSError) as error:
            raise GuestUnreachable(
                f"the connection broke during: {_shown(command)}: {error}"
            ) from error
        if done.returncode is None:  # the channel closed and nobody said how it ended
            raise GuestUnreachable(f"the connection broke during: {_shown(command)}")
        return Result(done.returncode, _text(done.stdout), without_clixml(_text(done.stderr)))

    async def powershell(self, script: str, deadline: float = COMMAND_DEADLINE) -> Result:
        """Run PowerShell: a short script on the command line, a long one from a file.

        The exit code is 0 or 1 unless the script ends with ``exit``.
        """
        command = encoded_command(script)
        if command is None:
            path = f"{FOLDER}/script-{sha256_bytes(script.encode())[:16]}.ps1"
            # Windows PowerShell takes a file without the mark for the local code page.
            await self.put(script.encode("utf-8-sig"), path)
            command = file_command(windows_path(path))
        return await self.run(command, deadline)

    # Files

    async def _files(self) -> asyncssh.SFTPClient:
        if self._sftp is None:
            self._sftp = await self._connection.start_sftp_client()
        return self._sftp

    async def _transfer(self, what: str, work: Awaitable[T], deadline: float) -> T:
        try:
            async with asyncio.timeout(deadline):
                return await work
        except TimeoutError:
            raise CommandTimeout(f"{what}: not done within {deadline:g} s") from None
        except (asyncssh.Error, OSError) as error:
            raise PipelineError(f"{what}: {error}") from error

    async def put(self, source: bytes | Path, path: str, deadline: float = FILE_DEADLINE) -> None:
        """Write bytes or a file to ``path`` in the guest; its folder is made."""
        await self.mkdirs(path.rpartition("/")[0], deadline)

        async def work() -> None:
            sftp = await self._files()
            if isinstance(source, Path):
                await sftp.put(str(source), path)
                return
            async with sftp.open(path, "wb") as stream:
                await stream.write(source)

        await self._transfer(f"writing {path} in the guest", work(), deadline)

    async def get(self, path: str, deadline: float = FILE_DEADLINE) -> bytes:
        """The content of the file ``path``."""

        async def work() -> bytes:
            async with (await self._files()).open(path, "rb") as stream:
                content = await stream.read()
                return content if isinstance(content, bytes) else content.encode()

        return await self._transfer(f"reading {path} in the guest", work(), deadline)

    async def tail(self, path: str, size: int, deadline: float = FILE_DEADLINE) -> bytes:
        """The last ``size`` bytes of the file ``path``, which may be growing."""

        async def work() -> bytes:
            async with (await self._files()).open(path, "rb") as stream:
                there = (await stream.stat()).size or 0
                content = await stream.read(size, max(there - size, 0))
                return content if isinstance(content, bytes) else content.encode()

        return await self._transfer(f"reading {path} in the guest", work(), deadline)

    async def names(self, folder: str, deadline: float = COMMAND_DEADLINE) -> list[str]:
        """The names of what lies in ``folder``, sorted; none when it is not there."""

        async def work() -> list[str]:
            sftp = await self._files()
            found = await sftp.listdir(folder) if await sftp.isdir(folder) else []
            return sorted(str(name) for name in found if name not in (".", ".."))

        return await self._transfer(f"listing {folder} in the guest", work(), deadline)

    async def size(self, path: str, deadline: float = COMMAND_DEADLINE) -> int | None:
        """The size of a file in bytes; ``None`` when there is none."""

        async def work() -> int | None:
            try:
                return (await (await self._files()).stat(path)).size or 0
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
                return None

        return await self._transfer(f"looking at {path} in the guest", work(), deadline)

    async def exists(self, path: str, deadline: float = COMMAND_DEADLINE) -> bool:
        """Whether there is a file or folder at ``path``."""
        return await self.size(path, deadline) is not None

    async def mkdirs(self, path: str, deadline: float = COMMAND_DEADLINE) -> None:
        """Make a folder with its parents, from the nearest that exists: a drive is never made."""

        async def make(folder: str) -> None:
            sftp = await self._files()
            if _DRIVE.fullmatch(folder) or await sftp.isdir(folder):
                return
            await make(folder.rpartition("/")[0])
            await sftp.mkdir(folder)

        await self._transfer(f"making {path} in the guest", make(path), deadline)

    async def remove(self, path: str, deadline: float = COMMAND_DEADLINE) -> None:
        """Remove a file."""

        async def work() -> None:
            await (await self._files()).remove(path)

        await self._transfer(f"removing {path} in the guest", work(), deadline)


def _text(output: object) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else str(output or "")


def _shown(command: str) -> str:
    return command if len(command) <= 120 else command[:117] + "..."


@asynccontextmanager
async def connect(
    port: int,
    user: str,
    key: Path,
    host_key: str | None,
    deadline: float,
    *,
    grace: float = KEY_GRACE,
    tell: Tell = nobody,
) -> AsyncIterator[Guest]:
    """Wait for the guest's SSH server, log in, and hang up after the block.

    ``tell`` hears what stands in the way meanwhile.
    """
    login = Login(port, user, key, host_key)
    guest = Guest(login, *await log_in(login, deadline, grace, tell))
    try:
        yield guest
    finally:
        await guest.close()
