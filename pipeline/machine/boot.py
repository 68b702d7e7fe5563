"""Starting a machine with everything that belongs to it, and ending all of it on every path.

    async with boot(spec, workspace, evidence) as machine: …

Goes in: a :class:`MachineSpec` and a folder for evidence. Comes out: a running :class:`Machine`.
The evidence folder gets ``command.txt``, ``qemu.log``, ``com1.log``, ``qmp.log``, the sidecars'
logs and screenshots. Leaving the block ends QEMU, then its sidecars, then their files. When this
process is killed, the kernel does the same (``foundation.process.spawn``), but for the files, which
the next machine removes (``runtime``).

That kernel service is bound to the *thread* that starts QEMU: it must live as long as the machine.
So the event loop must not run in a thread that ends earlier, and nothing here is started from a
helper thread. A ``multiprocessing`` child outlives its parent's SIGKILL unless it asks the kernel
otherwise (``foundation.process.die_with_parent``).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.definitions.model import Firmware
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import write_bytes
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import pasteable, spawn, stop
from pipeline.foundation.progress import Progress, Silent
from pipeline.machine.accelerator import choose
from pipeline.machine.command import command
from pipeline.machine.console import Console, parse_beacon, parse_boot
from pipeline.machine.doors import Doors
from pipeline.machine.firmware import find_firmware
from pipeline.machine.machine import Machine
from pipeline.machine.monitor import Monitor, MonitorFailed
from pipeline.machine.qemu import Host, ask_qemu
from pipeline.machine.runtime import runtime_folder
from pipeline.machine.sidecars import Sidecar, refuse_share, swtpm, virtiofsd
from pipeline.machine.spec import MachineSpec, Wiring, by_hand

CHUNK = 1 << 16
STARTED_OR_DEAD = 2.0
NO_FORWARDING = "Could not set up host forwarding rule"


def survey(spec: MachineSpec, workspace: Workspace) -> Host:
    """What the command line needs to know of this host; raises what is missing."""
    qemu = ask_qemu(workspace)
    if spec.share:
        qemu.require("vhost-user-fs-pci", "QEMU built with vhost-user")
    if spec.tpm:
        qemu.require("tpm-crb", "QEMU built with TPM support")
    uefi = spec.firmware is Firmware.UEFI
    firmware = find_firmware(spec.secure_boot) if uefi else None
    return Host(choose(workspace), qemu, firmware)


def check_share(spec: MachineSpec, workspace: Workspace) -> None:
    """Refuse a shared folder that would show the guest its own disks or what we keep."""
    if not spec.share:
        return
    ours = (workspace.root, workspace.output, workspace.cache, spec.disk, *spec.cdroms)
    ours += tuple(path for path in (spec.scsi_disk, spec.state, *spec.removable) if path)
    refuse_share(spec.name, spec.share, ours)


@asynccontextmanager
async def boot(
    spec: MachineSpec,
    workspace: Workspace,
    evidence: Path,
    progress: Progress | None = None,
    *,
    host: Host | None = None,
    reachable: bool = False,
) -> AsyncIterator[Machine]:
    """Run a machine for as long as the block lasts; ``reachable`` opens doors for a person."""
    check_share(spec, workspace)
    host = host or survey(spec, workspace)
    evidence.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        runtime = stack.enter_context(runtime_folder())
        state = spec.state or runtime
        sidecars = await _sidecars(stack, spec, state, runtime, evidence)
        variables = _variables(host, state)
        for note in filter(None, (side.note for side in sidecars.values())):
            (progress or Silent()).event(note)
        doors = Doors.within(runtime) if reachable else None
        launch = _Launch(spec, host, evidence, sidecars, variables, progress or Silent(), doors)
        yield await stack.enter_async_context(launch.run())


def _variables(host: Host, state: Path) -> Path | None:
    if not host.firmware:
        return None
    path = state / "variables.fd"
    if not path.exists():
        state.mkdir(parents=True, exist_ok=True)
        write_bytes(path, host.firmware.variables.read_bytes(), mode=0o600)
    return path


async def _sidecars(
    stack: AsyncExitStack, spec: MachineSpec, state: Path, runtime: Path, evidence: Path
) -> dict[str, Sidecar]:
    started: dict[str, Sidecar] = {}
    if spec.share:
        serving = virtiofsd(spec.share, runtime, evidence)
        started["share"] = await stack.enter_async_context(serving)
    if spec.tpm:
        started["tpm"] = await stack.enter_async_context(swtpm(state / "tpm", evidence))
    return started


class _Launch:
    """The steps of one start, in order; each leaves its part on the stack."""

    def __init__(
        self,
        spec: MachineSpec,
        host: Host,
        evidence: Path,
        sidecars: dict[str, Sidecar],
        variables: Path | None,
        progress: Progress,
        doors: Doors | None,
    ) -> None:
        self.spec = spec
        self.host = host
        self.evidence = evidence
        self.sidecars = sidecars
        self.variables = variables
        self.progress = progress
        self.doors = doors

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Machine]:
        """QEMU, its monitor and its console."""
        async with AsyncExitStack() as stack:
            monitor_socket, monitor_end = socket.socketpair()
            com1_socket, com1_end = socket.socketpair()
            ends = (monitor_end, com1_end)
            for each in (monitor_socket, com1_socket, *ends):
                stack.callback(each.close)
            process = await self._spawn(monitor_end, com1_end)
            stack.push_async_callback(lambda: asyncio.shield(stop(process)))
            for end in (*ends, *(sidecar.channel for sidecar in self.sidecars.values())):
                end.close()  # so that whoever holds the other end notices QEMU's death
            console = Console(self._on_line)
            monitor = Monitor(self.spec.name, self.evidence / "qmp.log")
            machine = Machine(
                self.spec, self.evidence, process, monitor, console, list(self.sidecars.values())
            )
            machine.doors = self.doors
            await stack.enter_async_context(_task(_read(com1_socket, console)))
            stack.push_async_callback(monitor.close)
            await self._greet(machine, monitor_socket)
            stack.push_async_callback(lambda: asyncio.shield(_finish(machine)))
            self.progress.event(
                f"machine started ({self.host.accelerator.name}), "
                f"SSH on 127.0.0.1:{machine.ssh_port}, evidence in {self.evidence}"
            )
            yield machine

    def _on_line(self, line: str) -> None:
        if beacon := parse_beacon(line):
            self.progress.event(beacon.text)
        elif boots := parse_boot(line):
            self.progress.event(boots)

    def _wiring(self, monitor: socket.socket, com1: socket.socket) -> Wiring:
        backends = {name: sidecar.backend for name, sidecar in self.sidecars.items()}
        return Wiring(
            monitor=f"socket,fd={monitor.fileno()}",
            com1=f"socket,fd={com1.fileno()}",
            log=self.evidence / "com1.log",
            variables=self.variables,
            share=backends.get("share"),
            tpm=backends.get("tpm"),
        )

    async def _spawn(
        self, monitor: socket.socket, com1: socket.socket
    ) -> asyncio.subprocess.Process:
        wiring = self._wiring(monitor, com1)
        argv = command(self.spec, self.host, wiring)
        self._record(argv, command(self.spec, self.host, by_hand(wiring)))
        argv += self.doors.words() if self.doors else []
        channels = [sidecar.channel for sidecar in self.sidecars.values()]
        fds = [end.fileno() for end in (monitor, com1, *channels)]
        with (self.evidence / "qemu.log").open("ab") as log:
            return await spawn(argv, log=log, pass_fds=fds)

    def _record(self, argv: list[str], manual: list[str]) -> None:
        parts = [f"# {side.name}\n{pasteable(side.argv)}" for side in self.sidecars.values()]
        parts.append(f"# QEMU, as it was started: fd=N are sockets of ours\n{pasteable(argv)}")
        parts.append(f"# QEMU by hand: COM1 on the terminal\n{pasteable(manual)}")
        write_bytes(self.evidence / "command.txt", ("\n\n".join(parts) + "\n").encode())

    async def _greet(self, machine: Machine, channel: socket.socket) -> None:
        try:
            await machine.monitor.connect(channel)
            await machine.find_ssh_port()
        except MonitorFailed as error:
            if not await machine.ended(STARTED_OR_DEAD):
                raise
            for sidecar in machine.sidecars:
                if sidecar.process.returncode:
                    raise PipelineError(
                        f"{self.spec.name}: {sidecar.name} ended before QEMU started",
                        evidence=sidecar.log,
                    ) from error
            raise self._did_not_start(machine) from error

    def _did_not_start(self, machine: Machine) -> PipelineError:
        name, port = self.spec.name, self.spec.ssh_port
        what = f"{name}: QEMU did not start: {machine.how_it_died()}"
        hint = f"the command is in {self.evidence / 'command.txt'}"
        if port and NO_FORWARDING in machine.last_words():
            what = f"{name}: port {port} of 127.0.0.1 is taken by another program"
            hint = "end that program, or choose another port"
        return PipelineError(what, hint=hint, evidence=self.evidence)


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _read(channel: socket.socket, console: Console) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)
    console.connect(writer.write)
    try:
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                console.feed(data)
    finally:
        console.close()
        writer.close()


async def _finish(machine: Machine) -> None:
    """The last screen, then the end, if the machine is still there."""
    if machine.alive:
        with suppress(PipelineError):
            await machine.screenshot("end")
        await machine.kill()
