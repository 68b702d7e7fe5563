"""The watch over real machines: a guest that waits for a key, and doors for a person."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.progress import Silent
from pipeline.machine.boot import boot
from pipeline.machine.loop import run
from pipeline.machine.watch import Fault, Limits, MachineFault, Phase, watch
from tests.integration.test_machine import (
    ALIVE,
    KEY,
    RESET,
    SLEEP,
    assert_gone,
    assert_nothing_left,
    family,
    spec,
)
from tests.tools import require

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("own_runtime")]


@pytest.fixture(autouse=True, scope="session")
def _programs() -> None:
    require("qemu-system-x86_64", "qemu-img", "setpriv")


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("a workspace")
    return Workspace(folder / "root", folder / "output", folder / "cache")


class Told(Silent):
    """A progress that remembers events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, text: str) -> None:
        self.events.append(text)


def test_what_the_firmware_boots_and_each_beacon_are_told(
    tmp_path: Path, workspace: Workspace
) -> None:
    told = Told()

    async def main() -> None:
        guest = spec(tmp_path, ALIVE, SLEEP)
        async with boot(guest, workspace, tmp_path / "evidence", told) as machine:
            await machine.console.wait_for("GOLDEN pass alive", 30)

    run(main())
    words = [text for text in told.events if text.startswith(("the firmware", "pass"))]
    assert words == ["the firmware boots a disk (Hard Disk)", "pass alive"]


BUSY = b"\xeb\xfe"  # again: jmp again


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (ALIVE + b"\xfb" + SLEEP, Fault.WAITS),
        (ALIVE + BUSY, Fault.NO_PROGRESS),
    ],
    ids=["waits", "busy"],
)
def test_a_guest_that_waits_is_told_from_one_that_hangs(
    tmp_path: Path, workspace: Workspace, code: bytes, fault: Fault
) -> None:
    async def main() -> None:
        limits = Limits(quiet=3, idle=8, look=0.2, screen=0.5)
        async with (
            boot(spec(tmp_path, code), workspace, tmp_path / "evidence") as machine,
            watch(machine, [Phase("windowsPE", 60, alone=True)], Silent(), limits),
        ):
            await asyncio.sleep(60)

    with pytest.raises(MachineFault) as raised:
        run(main())
    assert raised.value.fault is fault
    assert "nothing has moved for" in raised.value.message
    assert ".png" in raised.value.hint
    assert "last beacon was 'pass alive'" in raised.value.hint
    assert_nothing_left()


def test_a_kept_machine_has_doors_that_go_with_it(tmp_path: Path, workspace: Workspace) -> None:
    def greeting(path: Path) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            return client.recv(4096)

    async def main() -> Path:
        guest = spec(tmp_path, ALIVE, b"\xfb", KEY, RESET)
        async with boot(guest, workspace, tmp_path / "evidence", reachable=True) as machine:
            await machine.console.wait_for("GOLDEN pass alive", 30)
            doors = machine.doors
            assert doors
            assert greeting(doors.vnc).startswith(b"RFB ")
            assert "QMP" in json.loads(greeting(doors.qmp))
            assert machine.alive
            return doors.vnc

    vnc = run(main())
    assert not vnc.parent.exists()
    assert_nothing_left()


def test_without_being_asked_there_are_no_doors(tmp_path: Path, workspace: Workspace) -> None:
    async def main() -> None:
        async with boot(spec(tmp_path, SLEEP), workspace, tmp_path / "evidence") as machine:
            assert machine.doors is None
            command = (machine.evidence / "command.txt").read_text()
            assert "-vnc" not in command

    run(main())


KEEPER = """
import asyncio, signal, sys
from pathlib import Path
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.machine.boot import boot
from pipeline.machine.loop import run
from pipeline.stages.keep import Kept, keep
from tests.integration.test_machine import ALIVE, SLEEP, spec

folder = Path(sys.argv[1])
workspace = Workspace(folder / "root", folder / "output", folder / "cache")
signal.signal(signal.SIGINT, signal.default_int_handler)  # however the tests were started
signal.signal(signal.SIGHUP, signal.SIG_DFL)

async def main():
    guest = spec(folder, ALIVE, SLEEP)
    async with boot(guest, workspace, folder / "evidence", reachable=True) as machine:
        print("up", flush=True)
        await keep(workspace, Kept("tiny", "install", "x", "y"), machine.process, Silent())

run(main())
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_kept_machine_ends_with_its_keeper(tmp_path: Path, sign: signal.Signals) -> None:
    import subprocess

    from pipeline.foundation.waiting import wait_until
    from pipeline.stages.keep import kept

    folder = tmp_path / "x"
    folder.mkdir()
    workspace = Workspace(folder / "root", folder / "output", folder / "cache")
    argv = [sys.executable, "-c", KEEPER, str(folder)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        wait_until("the note", lambda: kept(workspace), 20)
        everybody = family(process.pid)
        assert len(everybody) > 1
        process.send_signal(sign)
        process.wait(30)
    assert_gone(everybody)
    assert kept(workspace) == []
    assert_nothing_left()
