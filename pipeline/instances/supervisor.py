"""The process that holds a running instance: QEMU, virtiofsd and swtpm live and end with it.

    python -m pipeline.instances.supervisor NAME

It outlives whoever launched it. Goes in: the instance's folder. Comes out: ``state.json`` and
``log/``. SIGTERM (or SIGINT) shuts the guest down, then harder until the machine has ended; a
second one cuts it off. When this process is killed, the kernel kills what it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import sys
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.waiting import Timeout
from pipeline.guest.login import Tell, nobody
from pipeline.guest.power import power_off
from pipeline.guest.ssh import connect
from pipeline.instances import access, hardware, state
from pipeline.instances import instance as records
from pipeline.instances.instance import Home, Instance
from pipeline.instances.journal import Journal
from pipeline.instances.keyboard import serving
from pipeline.machine.accelerator import choose
from pipeline.machine.boot import boot
from pipeline.machine.console import FIRST_BOOT_READY
from pipeline.machine.course import Limits, Phase
from pipeline.machine.faults import Fault, MachineFault
from pipeline.machine.machine import Machine
from pipeline.machine.shutdown import Ending
from pipeline.machine.watch import watch

FIRST_BOOT = r"^GOLDEN firstboot (started|disc)"
UNDONE = "firstboot failed"
LOGIN_SECONDS = 120.0
SHUTDOWN_LOGIN_SECONDS = 15.0
# After these the guest may still write its data to the disk, so it gets the chance.
GUEST_LIVES = (Fault.PHASE_TOO_LONG, Fault.NO_PROGRESS, Fault.SIDECAR_DIED)
# QEMU's word of its end, and what the watch makes of it, come a moment after the end.
SETTLING = 5.0
ENDED_BY_GUEST = "the guest powered off"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a guest may take, in seconds; ``idle`` is without any news."""

    boot: float
    idle: float
    shutdown: float

    @classmethod
    def of(cls, instance: Instance, workspace: Workspace) -> Patience:
        """A stand-in is quick; Windows takes minutes with KVM and hours under emulation."""
        if instance.rehearsal:
            return cls(600, 150, 60)
        factor = 1.0 if choose(workspace).name == "kvm" else 8.0
        return cls(2400 * factor, 1800, 300 * factor)


class Orders:
    """What signals say: to stop, and to stop at once."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.now = asyncio.Event()

    def listen(self) -> None:
        """Take SIGTERM and SIGINT; a closed terminal is no order."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self._order)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _order(self) -> None:
        (self.now if self.stop.is_set() else self.stop).set()


async def unless(order: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work unless the order comes first; whether it was done."""
    task, waiting = asyncio.create_task(work), asyncio.create_task(order.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return task.done()
    finally:
        for each in (task, waiting):
            each.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)


class Supervisor:
    """One run of an instance."""

    def __init__(self, home: Home, instance: Instance, journal: Journal) -> None:
        self.home = home
        self.instance = instance
        self.journal = journal
        self.patience = Patience.of(instance, home.workspace)
        self.orders = Orders()

    async def run(self) -> str:
        """From start to end; gives how it ended, in words. Raises what went wrong."""
        self.orders.listen()
        port = hardware.choose_port(self.instance)
        spec = hardware.machine_spec(self.home, self.instance, port)
        async with (
            boot(spec, self.home.workspace, self.home.log, self.journal) as machine,
            serving(self.home, machine.console),
        ):
            try:
                return await self._live(machine)
            except PipelineError as error:
                await self._give_up(machine, error)
                raise

    async def _live(self, machine: Machine) -> str:
        self._say(state.STARTING, machine)
        if await unless(self.orders.stop, self._start(machine)):
            self._say(state.RUNNING, machine)
            self.journal.quiet()
            if await unless(self.orders.stop, self._watch(machine)):
                return ENDED_BY_GUEST
        self._say(state.STOPPING, machine)
        ending = await self._stop(machine)
        if ending.clean:
            return "the guest shut down"
        return f"the guest did not shut down and was cut off ({ending.rung or ending.reason})"

    def _say(self, what: str, machine: Machine) -> None:
        state.write(self.home, what, port=machine.ssh_port)

    # Starting

    async def _start(self, machine: Machine) -> None:
        """Wait until the guest is ready and lets us in; the first time its host key is pinned."""
        self._remember_port(machine.ssh_port)
        host_key = access.pinned(self.home)
        boots = Phase("boot", self.patience.boot, ssh=bool(host_key))
        first = Phase("first boot", self.patience.boot, FIRST_BOOT)
        log_in = Phase("log in", LOGIN_SECONDS * 2, ssh=True)
        course = [boots, log_in] if host_key else [boots, first, log_in]
        limits = Limits(idle=self.patience.idle)
        async with watch(machine, course, self.journal, limits) as watcher:
            if host_key is None:  # it may answer, and still restart for its new name
                await self._first_boot(machine)
                watcher.enter("log in")
            seconds = LOGIN_SECONDS if host_key is None else self.patience.boot
            async with self._guest(machine, host_key, seconds, watcher.no_login) as guest:
                if host_key is None:
                    access.pin(self.home, guest.host_key)

    async def _first_boot(self, machine: Machine) -> None:
        """Wait until first boot is done, and tell what of its disc it could not do."""
        try:
            await machine.console.wait_for(FIRST_BOOT_READY, self.patience.boot * 2)
        except Timeout:
            if machine.console.closed:  # QEMU is gone: the watch says how
                await asyncio.sleep(SETTLING)
            raise
        for beacon in machine.console.beacons:
            if beacon.text.startswith(UNDONE):
                self.journal.event(f"first boot did not do all that its disc asks: {beacon.text}")

    def _remember_port(self, port: int) -> None:
        if port != self.instance.port:
            if self.instance.port:
                self.journal.event(f"port {self.instance.port} is taken, so it is {port} now")
            self.instance = replace(self.instance, port=port)
            records.save(self.home, self.instance)
        access.write_config(self.home, self.instance, port)

    def _guest(
        self, machine: Machine, host_key: str | None, seconds: float, tell: Tell = nobody
    ) -> Any:
        door = (machine.ssh_port, self.instance.user, self.home.key, host_key)
        return connect(*door, seconds, tell=tell)

    # Running

    async def _watch(self, machine: Machine) -> None:
        """Until the guest powers itself off; restarts and silence are its own business."""
        phases = [Phase("running", math.inf)]
        patient = Limits(
            resets=sys.maxsize, idle=math.inf, quiet=math.inf, look=3600, screen=math.inf
        )
        async with watch(machine, phases, self.journal, patient) as watcher:
            watcher.expect_power_off()
            await machine.process.wait()
            await asyncio.sleep(SETTLING)
            if not machine.ending().clean:
                raise watcher.fault(Fault.QEMU_DIED, f"QEMU ended: {machine.how_it_died()}")

    # Stopping

    async def _stop(self, machine: Machine) -> Ending:
        """The guest's own way, its power button, then harder; at once when ordered again."""
        if await unless(self.orders.now, self._shut_down(machine, self.patience.shutdown)):
            return machine.ending()
        self.journal.event("cut off, as ordered")
        return await machine.kill()

    async def _shut_down(self, machine: Machine, seconds: float) -> None:
        host_key = access.pinned(self.home)

        async def ask() -> None:
            async with self._guest(machine, host_key, SHUTDOWN_LOGIN_SECONDS) as guest:
                await power_off(guest)

        self.journal.event("shutting the guest down")
        await machine.shutdown(ask if host_key else None, seconds)

    async def _give_up(self, machine: Machine, error: PipelineError) -> None:
        """End a machine that went wrong: gently where its guest still lives."""
        self.journal.event(error.message)
        gentle = not isinstance(error, MachineFault) or error.fault in GUEST_LIVES
        if machine.alive and gentle:
            with contextlib.suppress(PipelineError):
                await machine.shutdown(None, self.patience.shutdown)


def supervise(home: Home) -> int:
    """Run the instance to its end and say how that came."""
    with state.holding(home.supervised):
        state.write(home, state.STARTING)
        journal = Journal(home.log)
        try:
            ended = asyncio.run(Supervisor(home, records.load(home), journal).run())
        except PipelineError as error:
            state.write(home, state.FAILED, message=error.message, hint=error.hint)
            return 1
        except BaseException as error:
            traceback.print_exc()
            state.write(home, state.FAILED, message=f"the supervisor ended by {error!r}")
            raise
        state.write(home, state.STOPPED, message=ended)
        journal.done(ended)
    return 0


def main() -> int:
    """Run the instance named on the command line."""
    return supervise(Home(Workspace.default(), sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
