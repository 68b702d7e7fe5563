"""An SSH server inside the test process that plays a guest: commands, SFTP, keys, moods."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from pipeline.guest.keys import make_key_pair

Answer = tuple[int, bytes, bytes]


@dataclass
class Play:
    """What the guest does: ``answer`` gives exit code, stdout, stderr; ``hang`` never ends."""

    folder: Path
    accepts: bool = True
    open_to_all: bool = False  # whatever the key
    refused_logins: int = 0  # so many are refused before the key is taken
    hang: bool = False
    answer: Callable[[str], Answer] = lambda command: (0, b"", b"")
    host_key: asyncssh.SSHKey = field(
        default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519")
    )
    commands: list[str] = field(default_factory=list)
    terminals: list[object] = field(default_factory=list)
    logins: int = 0
    port: int = 0

    @property
    def key(self) -> Path:
        """The key that opens the guest; made when first asked for."""
        path = self.folder / "id"
        if not path.exists():
            make_key_pair(path)
        return path

    @property
    def drive(self) -> Path:
        """What the guest shows as ``/``."""
        path = self.folder / "drive"
        (path / "C:").mkdir(parents=True, exist_ok=True)
        return path

    def at(self, path: str) -> Path:
        """The file of this test that the guest knows as ``path``."""
        return self.drive / path.lstrip("/")


class _Server(asyncssh.SSHServer):
    def __init__(self, play: Play) -> None:
        self.play = play

    def begin_auth(self, username: str) -> bool:
        self.play.logins += 1
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        ours = self.play.key.with_name("id.pub").read_text().split()[1]
        theirs = key.export_public_key().decode().split()[1]
        if self.play.logins <= self.play.refused_logins:
            return False
        if self.play.open_to_all:
            return True
        return self.play.accepts and username == "golden" and ours == theirs


@asynccontextmanager
async def serving(play: Play, port: int = 0) -> AsyncIterator[Play]:
    """Run the guest's SSH server on loopback."""

    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = process.command or ""
        play.commands.append(command)
        play.terminals.append(process.term_type)
        if play.hang:
            await asyncio.sleep(600)
        code, out, err = play.answer(command)
        process.stdout.write(out)
        process.stderr.write(err)
        process.exit(code)

    server = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=lambda: _Server(play),
        server_host_keys=[play.host_key],
        process_factory=handle,
        sftp_factory=lambda chan: asyncssh.SFTPServer(chan, chroot=os.fsencode(play.drive)),
        encoding=None,
    )
    play.port = server.get_port()
    try:
        yield play
    finally:
        server.close()
        await server.wait_closed()
