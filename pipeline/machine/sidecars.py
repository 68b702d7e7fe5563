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
from pipeline.foundation.process import ending, find_program, run, spawn, stop
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
    note: str = ""  # what the user should know of it

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


SANDBOX = "GOLDEN_VIRTIOFSD_SANDBOX"
SANDBOXES = ("namespace", "chroot")  # the better one first
_works: dict[tuple[Path, str], str] = {}  # why a sandbox does not work here; empty when it does


async def choose_sandbox(binary: Path, *, rust: bool, runtime: Path) -> str:
    """``namespace`` where virtiofsd itself manages to make one, else ``chroot``.

    It is tried and not guessed: whether it may depends on the user, the container and security
    modules, some of which tell programs apart by their path. ``none`` only when it is asked for.
    """
    asked = os.environ.get(SANDBOX)
    if asked:
        if asked not in (*SANDBOXES, "none"):
            raise PipelineError(f"{SANDBOX}={asked}: expected namespace, chroot or none")
        return asked
    reasons = []
    for kind in SANDBOXES:
        if (binary, kind) not in _works:
            _works[binary, kind] = await _try_sandbox(binary, kind, rust=rust, runtime=runtime)
        if not _works[binary, kind]:
            return kind
        reasons.append(f"{kind}: {_works[binary, kind]}")
    raise PipelineError(
        f"virtiofsd can't lock itself in on this host ({'; '.join(reasons)})",
        hint="allow it user namespaces (on Ubuntu 24.04 an AppArmor profile with `userns`), or "
        f"set {SANDBOX}=none: then the guest's files are served with all your rights",
    )


async def _try_sandbox(binary: Path, kind: str, *, rust: bool, runtime: Path) -> str:
    """Why this sandbox does not work: a virtiofsd whose client has gone should end well."""
    folder, log = runtime / "probe", runtime / "probe.log"
    folder.mkdir(exist_ok=True)
    server, client = _accepting(runtime / "fs")
    client.close()
    words = virtiofsd_arguments(Share(folder), server.fileno(), rust=rust, sandbox=kind)
    with server, log.open("wb") as stream:
        process = await spawn([binary, *words], log=stream, pass_fds=(server.fileno(),))
    try:
        code = await asyncio.wait_for(process.wait(), DEADLINE)
    except TimeoutError:
        return ""  # it waits for another client, so it has got past its sandbox
    finally:
        await asyncio.shield(stop(process))
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return (said[-1] if said else ending(code)) if code else ""


@cache
def speaks_rust(binary: Path) -> bool:
    """Whether this is the Rust virtiofsd, whose options are others than those of the C one."""
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
    name: str,
    argv: Sequence[str],
    ours: socket.socket,
    theirs: socket.socket,
    log: Path,
    cwd: Path | None = None,
) -> AsyncIterator[Sidecar]:
    with ours, theirs:
        with log.open("ab") as stream:
            process = await spawn(argv, log=stream, pass_fds=(theirs.fileno(),), cwd=cwd)
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
    rust = speaks_rust(binary)
    sandbox = await choose_sandbox(binary, rust=rust, runtime=runtime)
    server, client = _accepting(runtime / "fs")
    words = virtiofsd_arguments(share, server.fileno(), rust=rust, sandbox=sandbox)
    argv = [str(binary), *words]
    log = evidence / "virtiofsd.log"
    async with _running("virtiofsd", argv, client, server, log) as sidecar:
        if sandbox == "none":
            sidecar.note = f"virtiofsd has no sandbox, as {SANDBOX}=none asks for"
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
    # swtpm splits its options at commas and has no way to write one in a path: it runs in there.
    argv = [str(binary), "socket", "--tpm2", "--terminate", "--tpmstate", "dir=."]
    argv += ["--ctrl", f"type=unixio,clientfd={theirs.fileno()}"]
    log = evidence / "swtpm.log"
    async with _running("swtpm", argv, ours, theirs, log, cwd=state) as sidecar:
        yield sidecar
