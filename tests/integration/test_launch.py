"""Instances for real: two of one image, stopped, started again, killed, removed.

The tests of this file are one story in order; each needs the one before. The published image is
that of ``conftest.py``, and at the end it is byte for byte what it was.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.foundation.files import sha256_file
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.waiting import wait_until
from pipeline.instances import access, state
from pipeline.instances.instance import Home
from pipeline.machine.boot import boot
from pipeline.machine.loop import run
from pipeline.machine.runtime import base, runtime_folder
from tests.integration.checkout import processes
from tests.integration.test_machine import ALIVE, spec
from tests.tools import require

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

ONE, TWO = "one", "two"


@dataclass(frozen=True)
class World:
    """An output folder of its own, and the command as a consumer has it."""

    output: Path
    image: Path
    digest: str

    @property
    def workspace(self) -> Workspace:
        return Workspace(ROOT, self.output, self.output / "cache")

    def home(self, name: str) -> Home:
        return Home(self.workspace, name)

    def start(self, *words: str) -> subprocess.Popen[str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("GOLDEN_CACHE", "PYTHONPATH")}
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli.main", *words], cwd="/", text=True,
            env=kept | {"GOLDEN_OUTPUT": str(self.output), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def golden(self, *words: str, code: int = 0) -> str:
        """Run ``golden`` to its end; its output."""
        process = self.start(*words)
        output, _ = process.communicate()
        assert process.returncode == code, output
        return output

    def launch(self, name: str, *words: str, code: int = 0) -> str:
        return self.golden("launch", str(self.image), "--name", name, *words, code=code)

    def ssh(self, name: str, command: str) -> str:
        return self.golden("ssh", name, "--", command).strip()

    def listed(self) -> dict[str, Any]:
        return {each["name"]: each for each in json.loads(self.golden("ls", "--json"))}

    def share(self, name: str) -> Path:
        return self.output.parent / f"shared with {name}"


# Again: wait for a byte on COM1, send it back.
ECHO = b"\xba\xfd\x03\xec\xa8\x01\x74\xf8\xba\xf8\x03\xec\xee\xeb\xf1"


def test_what_is_sent_to_the_console_reaches_the_guest(tmp_path: Path) -> None:
    """With a guest of a few bytes; from the keyboard: tests/unit/instances/test_keyboard.py."""
    require("qemu-system-x86_64", "setpriv")
    space = Workspace(tmp_path / "root", tmp_path / "output", tmp_path / "cache")

    async def main() -> None:
        async with boot(spec(tmp_path, ALIVE, ECHO), space, tmp_path / "log") as machine:
            await machine.console.wait_for("GOLDEN pass alive", 60)
            machine.console.send(b"typed here\r")
            await machine.console.wait_for("^typed here", 60)
        machine.console.send(b"nobody is there")

    run(main())


def starting(home: Home) -> bool:
    """Its machine runs, and nobody has logged in yet."""
    return state.read(home).state == state.STARTING and home.com1.exists()


@pytest.fixture(scope="module")
def world(published_rehearsal: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    require("qemu-system-x86_64", "qemu-img", "setpriv", "ssh", "sftp")
    folder = tmp_path_factory.mktemp("instances of a test")
    disk = published_rehearsal / "disk.qcow2"
    made = World(folder / "out put", published_rehearsal, sha256_file(disk))
    for name in (ONE, TWO):
        made.share(name).mkdir()
    yield made
    for name in made.listed():
        made.golden("rm", "--yes", name)
    assert processes(str(folder)) == []


def test_two_instances_of_one_image_start_at_once_and_a_name_only_once(world: World) -> None:
    words = ("launch", str(world.image), "--share")
    first = (*words, str(world.share(ONE)), "--name", ONE)
    launches = [world.start(*first) for _ in range(2)]
    launches.append(world.start(*words, f"{world.share(TWO)}:work", "--name", TWO))
    for process in launches:
        output, _ = process.communicate()
        assert process.returncode == 0, output
        assert output.splitlines()[-1].startswith("ssh -F ")
    listed = world.listed()
    assert {name: each["state"] for name, each in listed.items()} == {
        ONE: "running", TWO: "running"
    }  # fmt: skip
    assert listed[ONE]["port"] != listed[TWO]["port"]
    assert len([line for line in processes(str(world.home(ONE).disk)) if "qemu" in line]) == 1


def test_each_is_a_machine_of_its_own(world: World) -> None:
    assert [world.ssh(name, "hostname") for name in (ONE, TWO)] == [ONE, TWO]
    assert access.pinned(world.home(ONE)) != access.pinned(world.home(TWO))
    assert "GOLDEN firstboot disc nocloud" in world.golden("console", "--once", ONE)
    assert "firstboot ready" in world.golden("logs", ONE)


def test_the_share_goes_both_ways_and_its_tag_is_the_one_asked_for(world: World) -> None:
    for name in (ONE, TWO):
        (world.share(name) / "from-host.txt").write_text(f"hello {name}")
        assert world.ssh(name, r"type Z:\from-host.txt") == f"hello {name}"
        world.ssh(name, rf"echo hello host, says {name}> Z:\from-guest.txt")
        answer = (world.share(name) / "from-guest.txt").read_text()
        assert answer.strip() == f"hello host, says {name}"
    assert "tag=work" in (world.home(TWO).log / "command.txt").read_text()


def test_what_contradicts_a_running_instance_is_refused(world: World) -> None:
    refused = world.launch(ONE, "--memory", "2G", code=1)
    assert "one is running, and this would change: memory 1G -> 2G" in refused
    assert "golden stop one" in refused
    assert "--yes" in world.golden("rm", ONE, code=1)  # nobody can be asked here
    assert world.listed()[ONE]["state"] == "running"


def test_stop_is_the_guests_own_shutdown_and_keeps_its_files(world: World) -> None:
    world.ssh(ONE, r"echo it was here> C:\kept.txt")
    assert "stopped: the guest shut down" in world.golden("stop", ONE)
    assert world.listed()[ONE]["state"] == "stopped"
    assert processes(str(world.home(ONE).folder)) == []
    assert world.listed()[TWO]["state"] == "running"
    assert "one is stopped" in world.golden("ssh", ONE, code=1)


def test_a_port_that_is_taken_is_named_before_anything_starts(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = world.launch(ONE, "--port", str(port), code=1)
    assert f"port {port} of 127.0.0.1 is taken" in said
    assert world.listed()[ONE]["state"] == "stopped"


def test_it_goes_on_when_launcher_and_parent_are_killed_and_nothing_is_lost(world: World) -> None:
    parent = subprocess.Popen(
        ["sh", "-c", '"$@"; true', "sh", sys.executable, "-m", "pipeline.cli.main",
         "launch", "--name", ONE, "--memory", "1536M"],
        cwd="/", env=os.environ | {"GOLDEN_OUTPUT": str(world.output), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_until("QEMU runs", lambda: starting(world.home(ONE)), 120)
    os.killpg(parent.pid, signal.SIGKILL)  # the shell and the launcher, as a dying terminal would
    parent.wait()
    assert state.read(world.home(ONE)).state == state.STARTING
    world.launch(ONE)  # waits for the one that is under way
    assert world.ssh(ONE, r"type C:\kept.txt") == "it was here"
    assert world.listed()[ONE]["memory"] == 1536 << 20
    assert (world.share(ONE) / "from-guest.txt").exists()
    command = (world.home(ONE).log / "command.txt").read_text()
    assert "size=1536M,share=on" in command


def test_kill_9_of_the_supervisor_leaves_nothing_behind(world: World) -> None:
    """To the guest it is a power cut; so it is made to flush before, as Windows does by itself."""
    home = world.home(TWO)
    put = f"put -f '{world.share(TWO) / 'from-host.txt'}' /C:/flushed.txt\n"
    sftp = ["sftp", "-F", str(home.ssh_config), "-b", "-", TWO]
    subprocess.run(sftp, input=put, text=True, check=True, stdout=subprocess.DEVNULL)
    mine = processes(str(world.share(TWO))) + processes(str(home.folder))
    assert any("qemu" in line for line in mine)
    assert any("virtiofsd" in line for line in mine)
    os.kill(state.read(home).pid, signal.SIGKILL)
    wait_until("QEMU is gone", lambda: not processes(str(home.folder)), 20)
    wait_until("virtiofsd is gone", lambda: not processes(str(world.share(TWO))), 20)
    assert world.listed()[TWO]["state"] == "stopped (killed)"
    assert world.listed()[ONE]["state"] == "running"
    with runtime_folder() as ours:  # sweeps; the other instance has one
        others = [path for path in base().iterdir() if path.is_dir() and path != ours]
    assert all((path / "owner").exists() for path in others)
    assert [path for path in home.folder.rglob("*") if path.is_socket()] == []


def test_another_host_key_is_named_and_the_machine_ends(world: World) -> None:
    home = world.home(TWO)
    right = home.known_hosts.read_text()
    home.known_hosts.write_text(f"{TWO} {access.pinned(world.home(ONE))}\n")
    said = world.launch(TWO, code=1)
    assert "answers with another host key than was recorded" in said
    assert str(home.log) in said
    assert world.listed()[TWO]["state"] == "failed"
    assert processes(str(home.folder)) == []
    home.known_hosts.write_text(right)


def test_after_all_that_the_next_launch_just_works(world: World) -> None:
    world.launch(TWO)
    assert world.ssh(TWO, "hostname") == TWO
    assert world.ssh(TWO, r"type C:\flushed.txt") == f"hello {TWO}"


def test_rm_removes_everything_also_of_a_running_one(world: World) -> None:
    for name in (ONE, TWO):
        assert f"{name} is removed" in world.golden("rm", "--yes", name)
    assert processes(str(world.output)) == []
    assert list(world.workspace.instances.iterdir()) == []
    assert world.golden("ls").startswith("no instances")
    assert (world.share(ONE) / "from-host.txt").exists()  # the shared folder is not its own


def test_the_published_image_is_what_it_was(world: World) -> None:
    disk = world.image / "disk.qcow2"
    assert sha256_file(disk) == world.digest
    assert disk.stat().st_mode & 0o222 == 0
