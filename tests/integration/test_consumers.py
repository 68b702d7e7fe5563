"""What lies beside a published disk is used as a consumer would: by its own scripts alone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, sha256_file, write_bytes
from pipeline.foundation.paths import ROOT
from pipeline.foundation.process import environment, find_program
from pipeline.foundation.units import Size
from pipeline.foundation.waiting import wait_until
from pipeline.guest.keys import make_key_pair
from pipeline.guest.ssh import connect
from pipeline.machine import image as qemu_img
from pipeline.publishing.consumers import FOLDER, consumer_files
from tests.unit.publishing.samples import sample

pytestmark = pytest.mark.integration

BOOT_SECONDS, OFF_SECONDS = 400.0, 200.0


@pytest.fixture
def version(published_rehearsal: Path, tmp_path: Path) -> Path:
    """The published disk with the consumer files of this checkout, at a path with a blank."""
    folder = tmp_path / "a version"
    manifest = {"user": "golden"} | read_json(published_rehearsal / "manifest.json")
    for name, data in consumer_files(manifest, ROOT / "templates").items():
        write_bytes(folder / name, data)
    (folder / "disk.qcow2").symlink_to(published_rehearsal / "disk.qcow2")
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def started(log: Path, *argv: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A script in the background; it is asked to end, and shows what it said when it did not."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment()
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


async def while_it_runs(
    process: subprocess.Popen[bytes], log: Path, work: Coroutine[None, None, None]
) -> None:
    """Do the work; that the script has ended before it is an answer, too."""
    task = asyncio.ensure_future(work)
    while process.poll() is None and not task.done():
        await asyncio.wait([task], timeout=1)
    await asyncio.wait([task], timeout=30)  # its last act is to let the guest power off
    if not task.done():
        task.cancel()
        raise AssertionError(f"qemu.sh has ended:\n{log.read_text()}")
    task.result()


async def look_and_power_off(port: int, key: Path, share: Path) -> None:
    async with connect(port, "golden", key, None, BOOT_SECONDS) as guest:
        assert (await guest.run("hostname", 60)).out.strip().lower() == "seeded"
        assert await guest.get("/Z:/from-host.txt") == b"from the host"
        await guest.put(b"from the guest", "/Z:/from-guest.txt")
        assert (share / "from-guest.txt").read_bytes() == b"from the guest"
        with suppress(PipelineError):  # the connection may end before the answer
            await guest.run("shutdown.exe /s /t 2 /f", 60)


MACHINES = [
    {"firmware": "uefi", "tpm": False, "secure_boot": False},
    {"firmware": "uefi", "tpm": True, "secure_boot": True},
    {"firmware": "bios", "tpm": False, "secure_boot": False},
]


def status_and_quit(monitor: Path) -> str:
    """What QEMU says of itself over QMP; then it is told to end."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(monitor))
        lines = channel.makefile("rw")
        assert "QMP" in json.loads(lines.readline())
        answers = []
        for command in ("qmp_capabilities", "query-status", "quit"):
            lines.write(json.dumps({"execute": command}) + "\n")
            lines.flush()
            answers.append(json.loads(lines.readline()))
    status: str = answers[1]["return"]["status"]
    return status


@pytest.mark.parametrize("machine", MACHINES)
def test_a_real_qemu_takes_the_machine(machine: dict[str, object], tmp_path: Path) -> None:
    """With firmware, TPM and virtiofsd as installed; the machine is made, and never started."""
    manifest = sample("rehearsal")
    manifest["machine"] |= machine
    version, tools, share = (tmp_path / name for name in ("a version", "tools", "share"))
    for name, data in consumer_files(manifest, ROOT / "templates").items():
        write_bytes(version / name, data)
    qemu_img.create(version / "disk.qcow2", Size.parse("1M"))
    for folder in (tools, share):
        folder.mkdir()
    real, monitor = find_program("qemu-system-x86_64"), tmp_path / "qmp"
    wrapper = tools / "qemu-system-x86_64"
    wrapper.write_text(f'#!/bin/sh\nexec {real} -S -qmp unix:{monitor},server=on,wait=off "$@"\n')
    wrapper.chmod(0o755)
    path, log = f"{tools}:{os.environ['PATH']}", tmp_path / "log"
    words: list[str | Path] = ["--state", tmp_path / "a state, kept", "--share", share]
    words += ["--port", str(free_port())]
    with started(log, "env", f"PATH={path}", "ACCEL=tcg", "sh",
                 version / FOLDER / "qemu.sh", *words) as process:  # fmt: skip

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return monitor.exists()

        wait_until("QEMU's monitor", ready, 60, 0.1)
        assert status_and_quit(monitor) == "prelaunch"
        assert process.wait(60) == 0, log.read_text()


def test_qemu_sh_boots_an_overlay_with_a_shared_folder(version: Path, tmp_path: Path) -> None:
    disk = (version / "disk.qcow2").resolve()
    before = sha256_file(disk)
    key, seed, share = tmp_path / "key", tmp_path / "seed.iso", tmp_path / "shared both ways"
    make_key_pair(key)
    share.mkdir()
    (share / "from-host.txt").write_bytes(b"from the host")
    scripts = version / FOLDER
    argv: list[str | Path] = ["sh", scripts / "seed.sh", key.with_suffix(".pub"), seed, "seeded"]
    subprocess.run(argv, check=True, env=environment())
    port, state, log = free_port(), tmp_path / "state, of it", tmp_path / "qemu.log"
    words: list[str | Path] = [
        "--state",
        state,
        "--seed",
        seed,
        "--share",
        share,
        "--port",
        str(port),
    ]
    with started(log, "sh", scripts / "qemu.sh", *words) as process:
        asyncio.run(while_it_runs(process, log, look_and_power_off(port, key, share)))
        assert process.wait(OFF_SECONDS) == 0, log.read_text()
    assert sha256_file(disk) == before
    assert "GOLDEN firstboot ready" in (state / "com1.log").read_text(errors="replace")
    assert (state / "disk.qcow2").stat().st_size > 200_000
