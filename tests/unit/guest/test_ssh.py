"""Logging in to a guest, commands and files, against a server inside the test process."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import asyncssh
import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.guest.login import GuestUnreachable, HostKeyChanged, KeyRefused, wait_for_banner
from pipeline.guest.ssh import CommandTimeout, Guest, connect
from tests.unit.guest.server import Play, serving


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def inside(
    play: Play, work: Callable[[Guest], Awaitable[None]], host_key: str | None = None
) -> None:
    async def main() -> None:
        async with (
            serving(play),
            connect(play.port, "golden", play.key, host_key, 20, grace=0) as guest,
        ):
            await work(guest)

    asyncio.run(main())


def public(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])


def test_a_command_gives_code_and_outputs_and_never_gets_a_terminal(play: Play) -> None:
    play.answer = lambda command: (7, command.encode() + b"\r\n", b"oh \xff\r\n")

    async def work(guest: Guest) -> None:
        result = await guest.run('echo "a b" & exit 7')
        assert (result.code, result.out) == (7, 'echo "a b" & exit 7\r\n')
        assert result.err.startswith("oh ")

    inside(play, work)
    assert play.terminals == [None]


def test_a_command_that_hangs_ends_at_its_deadline(play: Play) -> None:
    play.hang = True

    async def work(guest: Guest) -> None:
        with pytest.raises(CommandTimeout, match=r"within 0\.1 s: ping -t"):
            await guest.run("ping -t", 0.1)

    inside(play, work)


def test_the_host_key_is_recorded_and_asked_for_again(play: Play) -> None:
    seen: list[str] = []

    async def work(guest: Guest) -> None:
        seen.append(guest.host_key)

    inside(play, work)
    assert seen == [public(play.host_key)]
    inside(play, work, host_key=f"{seen[0]} some comment")
    assert len(seen) == 2


def test_another_host_key_is_a_named_error_at_once(play: Play) -> None:
    other = public(asyncssh.generate_private_key("ssh-ed25519"))
    with pytest.raises(HostKeyChanged, match=public(play.host_key).split()[1].replace("+", r"\+")):
        inside(play, lambda guest: asyncio.sleep(0), host_key=other)
    assert play.logins == 0


def test_a_host_key_of_another_kind_is_not_accepted_either(play: Play) -> None:
    other = public(asyncssh.generate_private_key("ecdsa-sha2-nistp256"))
    with pytest.raises(HostKeyChanged):
        inside(play, lambda guest: asyncio.sleep(0), host_key=other)


def test_a_refused_key_is_a_named_error(play: Play) -> None:
    play.accepts = False
    with pytest.raises(KeyRefused, match="refuses the key id of user golden"):
        inside(play, lambda guest: asyncio.sleep(0))


def test_a_key_may_be_refused_for_a_moment(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.guest.login.RETRY", 0.01)
    play.refused_logins = 3

    async def main() -> None:
        async with (
            serving(play),
            connect(play.port, "golden", play.key, None, 20, grace=20) as guest,
        ):
            assert (await guest.run("x")).code == 0

    asyncio.run(main())
    assert play.logins == 4


async def _mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As the forwarding does while the guest does not listen yet."""
    await reader.read()
    writer.close()


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("handler", "seen"),
    [(_mute, "nobody speaks"), (_hangs_up, "closes at once"), (_other, "220 mail")],
)
def test_an_open_port_without_a_greeting_is_not_ssh(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    seen: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.guest.login.BANNER_PATIENCE", 0.05)
    monkeypatch.setattr("pipeline.guest.login.RETRY", 0.01)

    async def main() -> None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with server:
            with pytest.raises(GuestUnreachable, match=seen):
                await wait_for_banner(server.sockets[0].getsockname()[1], 0.15)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("accepts", "told"),
    [(True, []), (False, ["the guest refuses the key id of user golden"])],
    ids=["let in", "refused"],
)
def test_what_stands_in_the_way_is_told_while_it_does(
    play: Play, monkeypatch: pytest.MonkeyPatch, accepts: bool, told: list[str]
) -> None:
    monkeypatch.setattr("pipeline.guest.login.RETRY", 0.01)
    play.accepts = accepts
    heard: list[str] = []

    async def main() -> None:
        async with serving(play):
            pass
        port = play.port
        door = (port, "golden", play.key, None, 20.0)
        opening = asyncio.create_task(_open(door, heard.append))
        while not heard:
            await asyncio.sleep(0.01)
        async with serving(play, port):
            await opening

    asyncio.run(main())
    assert heard[0] == "SSH never answered (Connection refused)"
    assert [each for each in heard if "never" not in each] == (told or [""])


async def _open(door: tuple[int, str, Path, None, float], tell: Callable[[str], None]) -> None:
    with suppress(KeyRefused):
        async with connect(*door, grace=0, tell=tell):
            pass


def test_a_closed_port_says_so(play: Play) -> None:
    async def main() -> None:
        async with serving(play):
            pass
        await wait_for_banner(play.port, 0.05)

    with pytest.raises(GuestUnreachable, match="refused"):
        asyncio.run(main())


def test_the_guest_is_waited_for(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.guest.login.RETRY", 0.01)

    async def main() -> None:
        async with serving(play):
            pass
        waiting = asyncio.create_task(wait_for_banner(play.port, 20))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        async with serving(play, play.port):
            assert (await waiting).startswith("SSH-2.0-")

    asyncio.run(main())


def test_files_travel_both_ways_and_folders_are_made(play: Play, tmp_path: Path) -> None:
    source = tmp_path / "a file"
    source.write_bytes(b"\r\n\x00" * 40_000)

    async def work(guest: Guest) -> None:
        await guest.put(b"text", "/C:/ProgramData/golden/payload/deep/a.txt")
        await guest.put(source, "/C:/ProgramData/golden/b b.bin")
        assert await guest.get("/C:/ProgramData/golden/b b.bin") == source.read_bytes()
        assert await guest.exists("/C:/ProgramData/golden/payload/deep/a.txt")
        assert not await guest.exists("/C:/ProgramData/nothing")
        assert await guest.size("/C:/ProgramData/golden/payload/deep/a.txt") == 4
        await guest.remove("/C:/ProgramData/golden/b b.bin")
        with pytest.raises(PipelineError, match=r"reading .*b b.bin"):
            await guest.get("/C:/ProgramData/golden/b b.bin")

    inside(play, work)
    assert play.at("/C:/ProgramData/golden/payload/deep/a.txt").read_bytes() == b"text"


def test_a_short_script_goes_on_the_command_line(play: Play) -> None:
    async def work(guest: Guest) -> None:
        await guest.powershell("Get-Service 'ä'; exit $LASTEXITCODE")

    inside(play, work)
    (command,) = play.commands
    script = base64.b64decode(command.rpartition(" ")[2]).decode("utf-16-le")
    assert script.endswith("Get-Service 'ä'; exit $LASTEXITCODE")
    assert "-EncodedCommand" in command


@pytest.mark.parametrize("length", [2_800, 2_900, 20_000])
def test_no_command_line_exceeds_what_cmd_takes(play: Play, length: int) -> None:
    script = "#" * length

    async def work(guest: Guest) -> None:
        await guest.powershell(script)

    inside(play, work)
    assert len(play.commands[0]) < 8191
    if "-EncodedCommand" not in play.commands[0]:
        (uploaded,) = play.at("/C:/ProgramData/golden").glob("script-*.ps1")
        assert uploaded.read_bytes() == b"\xef\xbb\xbf" + script.encode()
        assert f"-File C:\\ProgramData\\golden\\{uploaded.name}" in play.commands[0]


def test_reconnecting_after_a_restart_keeps_the_handle_and_the_host_key(play: Play) -> None:
    async def main() -> None:
        async with serving(play):
            port = play.port
            going = connect(port, "golden", play.key, None, 20)
            guest = await going.__aenter__()
        async with serving(play, port):
            await guest.reconnect(20)
            assert (await guest.run("x")).code == 0
        play.host_key = asyncssh.generate_private_key("ssh-ed25519")
        async with serving(play, port):
            with pytest.raises(HostKeyChanged):
                await guest.reconnect(20)
        await going.__aexit__(None, None, None)

    asyncio.run(main())


def test_a_guest_that_is_gone_is_said(play: Play) -> None:
    async def main() -> None:
        async with serving(play):
            going = connect(play.port, "golden", play.key, None, 20)
            guest = await going.__aenter__()
            await guest.close()
            with pytest.raises(GuestUnreachable, match="the connection broke during: dir"):
                await guest.run("dir")
            await going.__aexit__(None, None, None)

    asyncio.run(main())


def test_the_private_key_is_ours_alone(play: Play) -> None:
    assert play.key.stat().st_mode & 0o777 == 0o600
    assert play.key.with_name("id.pub").read_text().startswith("ssh-ed25519 ")
