"""The fake machine behind a real SSH server: what the host's own code says to a Windows guest.

Goes in: a :class:`FakeMachine`. Comes out: a port on loopback where one key logs in, a ``cmd.exe``
that runs the guest scripts under the real PowerShell, ``C:`` over SFTP, and restarts. It also plays
the part of :class:`pipeline.machine.machine.Machine`: RESET events, console, evidence.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import asyncssh

from pipeline.guest.keys import make_key_pair
from pipeline.guest.ssh import Guest, connect
from pipeline.machine.console import Console
from pipeline.machine.machine import Machine
from tests.powershell.fake_machine import FakeMachine

CALL = ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"]
# asyncssh sends and takes the lowest byte of an exit code only.
NO_SUCH_PROGRAM = 9009 & 0xFF  # cmd.exe's own code
NO_SUCH_SCRIPT = 0xFFFD0000 & 0xFF  # Windows PowerShell's, for a -File that is not there: 0
PENDING = (
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending",
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired",
)
Answer = tuple[int, str, str]


def words(line: str) -> list[str]:
    """A command line as cmd.exe and a program's start-up code cut it; what cmd.exe would make
    something else of (a pipe, a variable) is refused."""
    if bare := re.search(r"[&|<>^%!]", re.sub(r'"[^"]*"', "", line)):
        raise ValueError(f"cmd.exe has its own meaning for {bare[0]}: {line}")
    pairs: list[tuple[str, str]] = re.findall(r'"([^"]*)"|(\S+)', line)
    return [quoted or plain for quoted, plain in pairs]


def left_over(folder: Path) -> list[str]:
    """The processes that still run on the machine in ``folder``."""
    mark, found = f"GOLDEN_MACHINE={folder}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " ") or "(ended)")
    return [line for line in found if line != "(ended)"]


class _Server(asyncssh.SSHServer):
    def __init__(self, guest: SshMachine) -> None:
        self.guest = guest

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.conn = conn
        self.guest.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self.guest.connections.discard(self.conn)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        theirs = key.export_public_key().decode().split()[1]
        return username == "golden" and theirs == self.guest.public_key.split()[1]


class _Files(asyncssh.SFTPServer):
    """``/C:/`` is the machine's drive; what is written there is noted."""

    def __init__(self, chan: asyncssh.SSHServerChannel[bytes], guest: SshMachine) -> None:
        super().__init__(chan, chroot=os.fsencode(guest.drives))
        self.guest = guest

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if pflags & asyncssh.FXF_WRITE:
            self.guest.uploads.append(path.decode())
        return super().open(path, pflags, attrs)


class SshMachine:
    """The guest that the host sees; what it was told is in ``commands``, ``uploads``, ``calls``."""

    def __init__(self, fake: FakeMachine) -> None:
        self.fake = fake
        self.evidence = fake.folder / "evidence"
        self.evidence.mkdir(exist_ok=True)
        self.key = fake.folder / "id"
        self.public_key = make_key_pair(self.key)
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.drives = fake.folder / "drives"
        self.drives.mkdir()
        (self.drives / "C:").symlink_to(fake.c)
        self.console = Console()
        self.commands: list[str] = []
        self.uploads: list[str] = []
        self.calls: list[list[str]] = []
        self.restarts = 0
        self.port = 0
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._running: set[asyncio.subprocess.Process] = set()
        self._listeners: list[asyncio.Queue[dict[str, Any]]] = []
        self._server: asyncssh.SSHAcceptor | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # What the host's code asks of a machine

    @property
    def machine(self) -> Machine:
        """This, as the host's code takes it."""
        return cast(Machine, self)

    @contextmanager
    def listen(self, *names: str) -> Iterator[asyncio.Queue[dict[str, Any]]]:
        """See :class:`Machine`."""
        assert names == ("RESET",)
        events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._listeners.append(events)
        try:
            yield events
        finally:
            self._listeners.remove(events)

    # Power

    async def power_on(self) -> None:
        """The SSH server listens, always on the same port and with the same host key."""
        self._server = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=lambda: _Server(self),
            server_host_keys=[self.host_key],
            process_factory=self._session,
            sftp_factory=lambda chan: _Files(chan, self),
            encoding=None,
            reuse_address=True,
        )
        self.port = self._server.get_port()

    async def power_off(self) -> None:
        """Everything ends at once, as when the power goes."""
        for process in self._running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for connection in set(self.connections):
            connection.abort()
        if self._server:
            self._server.close()
            await self._server.wait_closed()
        while self._running:
            await asyncio.gather(*(process.wait() for process in set(self._running)))

    async def _restart(self) -> None:
        """Down, RESET, and back; before that the port accepts and nobody speaks, as QEMU's does."""
        await self.power_off()
        self.restarts += 1
        self._forget()
        knocked = asyncio.Event()

        def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            knocked.set()

        async with await asyncio.start_server(refuse, "127.0.0.1", self.port):
            for events in self._listeners:
                events.put_nowait({"event": "RESET"})
            await knocked.wait()
        await self.power_on()

    def _forget(self) -> None:
        """What Windows does while it starts: waiting renames and updates are carried out."""
        self.fake.restart()
        for key in PENDING:
            if key in self.fake.registry:
                self.fake.remove_key(key)

    async def close(self) -> None:
        """Nothing is left of the machine."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.power_off()

    # cmd.exe

    async def _session(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        line = process.command or ""
        self.commands.append(line)
        assert process.term_type is None, "a terminal would cut and colour what programs print"
        answer = asyncio.create_task(self._command(line))
        gone = asyncio.create_task(process.channel.wait_closed())
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not answer.done():  # whoever asked has hung up
            answer.cancel()
            return
        code, out, err = answer.result()
        process.stdout.write(out.encode("ascii"))
        process.stderr.write(err.encode())
        process.exit(code)
        if self.fake.state["power"] == "/r":
            await process.wait_closed()  # the two seconds of `shutdown /t 2` are enough for that
            self._begin(self._restart())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _command(self, line: str) -> Answer:
        program, *arguments = words(line)
        if program == "powershell.exe" and arguments[: len(CALL)] == CALL:
            return await self._script(*arguments[len(CALL) :])
        if program == "shutdown.exe":
            return await self._run([str(self.fake.folder / "bin" / program), *arguments], {})
        said = f"'{program}' is not recognized as an internal or external command\r\n"
        return NO_SUCH_PROGRAM, "", said

    async def _script(self, path: str, *arguments: str) -> Answer:
        drive, _, rest = path.partition(":\\")
        if drive != "C" or not (self.fake.c / rest.replace("\\", "/")).is_file():
            said = f"The argument '{path}' to the -File parameter does not exist.\r\n"
            return NO_SUCH_SCRIPT, said, ""
        batch = self.fake.folder / "batch.json"
        batch.write_text(json.dumps([{"script": path, "arguments": arguments, "state": None}]))
        return self._told(*await self._run(self.fake.command(), {"GOLDEN_BATCH": str(batch)}))

    async def _run(self, argv: list[str], more: dict[str, str]) -> Answer:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=self.fake.environment() | more,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._running.add(process)
        try:
            out, err = await process.communicate()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it left behind, too
            await process.wait()
            self._running.discard(process)
        return process.returncode or 0, out.decode(), err.decode()

    def _told(self, code: int, out: str, err: str) -> Answer:
        """Sort the harness's words from the script's: beacons to COM1, the rest to the host."""
        shown = []
        for line in out.splitlines():
            match line.partition(" "):
                case "##com1", _, rest:
                    self.console.feed(f"{rest}\r\n".encode())
                case "##call", _, rest:
                    self.calls.append(json.loads(rest))
                case "##exit", _, rest:
                    code = int(rest)
                case "##uncaught", _, rest:
                    err += rest
                case word, _, _ if not word.startswith("##"):
                    shown.append(line)
        return code, "".join(f"{line}\r\n" for line in shown), err


@asynccontextmanager
async def powered(fake: FakeMachine) -> AsyncIterator[tuple[SshMachine, Guest]]:
    """The machine, running, and the host logged in to it; afterwards nothing of it is left."""
    machine = SshMachine(fake)
    await machine.power_on()
    try:
        async with connect(machine.port, "golden", machine.key, None, 20) as guest:
            yield machine, guest
    finally:
        await machine.close()
