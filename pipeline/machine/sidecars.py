"""The programs beside QEMU: virtiofsd for the shared folder, swtpm for the TPM.

Each is a context manager that gives the chardev backend for QEMU's end of the connection. Both ends
exist before either program starts, and no socket file outlives its making. A sidecar ends with QEMU
(its connection closes), with us (the kernel kills it), and at the latest with the context.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.foundation.errors import MissingRequirement, PipelineError
from pipeline.foundation.files import read_json
from pipeline.foundation.process import ProgramFailed, find_program, run, spawn, stop
from pipeline.machine.remember import install_hint
from pipeline.machine.spec import Share

DEADLINE = 10.0
VIRTIOFSD_PACKAGES = {
    "apt": "apt-get install virtiofsd (qemu-system-common on Debian 12 and Ubuntu 22.04)",
    "dnf": "dnf install virtiofsd",
    "zypper": "zypper install virtiofsd",
    "pacman": "pacman -S virtiofsd",
}
SWTPM_PACKAGES = {
    "apt": "apt-get install swtpm",
    "dnf": "dnf install swtpm",
    "zypper": "zypper install swtpm",
    "pacman": "pacman -S swtpm",
}
DESCRIPTORS = (Path("/etc/qemu/vhost-user"), Path("/usr/share/qemu/vhost-user"))
USUAL_PLACES = ("/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd")


@dataclass(slots=True)
class Sidecar:
    """A running sidecar, and QEMU's end of the connection to it."""

    name: str
    process: asyncio.subprocess.Process
    argv: tuple[str, ...]
    log: Path
    channel: socket.socket

    @property
    def backend(self) -> str:
        """QEMU's chardev backend."""
        return f"socket,fd={self.channel.fileno()}"


def virtiofsd_binary() -> Path:
    """The installed virtiofsd: as QEMU's descriptors say, else on PATH or in the usual places."""
    described = [
        str(found.get("binary"))
        for folder in DESCRIPTORS
        for path in sorted(folder.glob("*.json"))
        if isinstance(found := read_json(path), dict) and found.get("type") == "fs"
    ]
    for candidate in (*described, "virtiofsd", *USUAL_PLACES):
        try:
            return find_program(candidate)
        except MissingRequirement:
            continue
    raise MissingRequirement("virtiofsd is not installed", hint=install_hint(VIRTIOFSD_PACKAGES))


def refuse_share(name: str, share: Share, kept: Iterable[Path]) -> None:
    """Refuse to share a folder with the machine ``name`` that contains any of ``kept``.

    Links are followed on both sides: whoever is an administrator in the guest writes there.
    """
    shared = share.directory.resolve()
    if not shared.is_dir():
        raise PipelineError(f"{name}: the shared folder {shared} does not exist")
    for path in (path.resolve() for path in kept):
        if path.is_relative_to(shared):
            raise PipelineError(
                f"{name}: the shared folder {shared} contains {path}",
                hint="share a folder made for it",
            )


@cache
def _sandbox() -> str:
    """``namespace`` where the kernel (or the container we are in) allows one, else ``chroot``."""
    argv = ["unshare", "--mount", "--pid", "--net", "--fork"]
    argv += [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    try:
        run([*argv, "true"], deadline=DEADLINE)
    except ProgramFailed:
        return "chroot"
    return "namespace"


@cache
def _speaks_rust(binary: Path) -> bool:
    return "--shared-dir" in run([binary, "--help"], deadline=DEADLINE, ok=(0, 1)).output


def virtiofsd_arguments(share: Share, fd: int, *, rust: bool, sandbox: str) -> list[str]:
    """The arguments of either virtiofsd; ``fd`` is a listening socket."""
    if rust:
        return [f"--shared-dir={share.directory}", f"--fd={fd}", f"--sandbox={sandbox}"]
    # The C one splits -o at commas, and has no way to write one in a path.
    if "," in str(share.directory):
        raise PipelineError(f"this virtiofsd can't share a folder with a comma: {share.directory}")
    return [f"--fd={fd}", "-o", f"source={share.directory}", "-o", f"sandbox={sandbox}"]


def _accepting(path: Path) -> tuple[socket.socket, socket.socket]:
    """A listening socket and a connection that waits to be accepted; no file is left."""
    server = socket.socket(socket.AF_UNIX)
    client = socket.socket(socket.AF_UNIX)
    try:
        server.bind(str(path))
        server.listen(1)
        client.connect(str(path))
    except OSError:
        server.close()
        client.close()
        raise
    finally:
        path.unlink(missing_ok=True)
    return server, client


@asynccontextmanager
async def _running(
    name: str, argv: Sequence[str], ours: socket.socket, theirs: socket.socket, log: Path
) -> AsyncIterator[Sidecar]:
    with ours, theirs:
        with log.open("ab") as stream:
            process = await spawn(argv, log=stream, pass_fds=(theirs.fileno(),))
        theirs.close()
        try:
            yield Sidecar(name, process, tuple(argv), log, ours)
        finally:
            ours.close()
            await asyncio.shield(stop(process))


@asynccontextmanager
async def virtiofsd(share: Share, runtime: Path, evidence: Path) -> AsyncIterator[Sidecar]:
    """Serve ``share`` over vhost-user."""
    binary = virtiofsd_binary()
    rust = _speaks_rust(binary)
    server, client = _accepting(runtime / "fs")
    words = virtiofsd_arguments(share, server.fileno(), rust=rust, sandbox=_sandbox())
    argv = [str(binary), *words]
    log = evidence / "virtiofsd.log"
    async with _running("virtiofsd", argv, client, server, log) as sidecar:
        yield sidecar


@asynccontextmanager
async def swtpm(state: Path, evidence: Path) -> AsyncIterator[Sidecar]:
    """Run a TPM 2.0 whose memory lies in the folder ``state``."""
    try:
        binary = find_program("swtpm")
    except MissingRequirement:
        raise MissingRequirement(
            "swtpm is not installed, and this machine has a TPM", hint=install_hint(SWTPM_PACKAGES)
        ) from None
    state.mkdir(parents=True, exist_ok=True)
    ours, theirs = socket.socketpair()
    argv = [str(binary), "socket", "--tpm2", "--terminate", "--tpmstate", f"dir={state}"]
    argv += ["--ctrl", f"type=unixio,clientfd={theirs.fileno()}"]
    async with _running("swtpm", argv, ours, theirs, evidence / "swtpm.log") as sidecar:
        yield sidecar
