"""What lies beside a published disk is used as a consumer would: by its own scripts alone."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, sha256_file, write_bytes
from pipeline.foundation.paths import ROOT
from pipeline.foundation.process import environment
from pipeline.guest.keys import make_key_pair
from pipeline.guest.ssh import connect
from pipeline.publishing.consumers import FOLDER, consumer_files

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


async def look_and_power_off(port: int, key: Path, share: Path) -> None:
    async with connect(port, "golden", key, None, BOOT_SECONDS) as guest:
        assert (await guest.run("hostname", 60)).out.strip().lower() == "seeded"
        assert await guest.get("/Z:/from-host.txt") == b"from the host"
        await guest.put(b"from the guest", "/Z:/from-guest.txt")
        assert (share / "from-guest.txt").read_bytes() == b"from the guest"
        with suppress(PipelineError):  # the connection may end before the answer
            await guest.run("shutdown.exe /s /t 2 /f", 60)


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
        asyncio.run(look_and_power_off(port, key, share))
        assert process.wait(OFF_SECONDS) == 0, log.read_text()
    assert sha256_file(disk) == before
    assert "GOLDEN firstboot ready" in (state / "com1.log").read_text(errors="replace")
    assert (state / "disk.qcow2").stat().st_size > 200_000
