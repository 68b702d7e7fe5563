"""Starting an instance and waiting until it answers; stopping it; removing it.

In: what was asked for. Out: a running instance, made first if there was none; or the error that its
supervisor told. Killing whoever waits here changes nothing for the instance.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from pipeline.foundation.errors import PipelineError, WrongUse
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.process import start_detached
from pipeline.foundation.progress import Progress
from pipeline.foundation.waiting import wait_until
from pipeline.instances import instance as records
from pipeline.instances import state, store
from pipeline.instances.instance import Home, Instance
from pipeline.instances.journal import Relay
from pipeline.instances.options import Options, check_name
from pipeline.instances.state import State
from pipeline.publishing import local
from pipeline.publishing.expiry import ending

SUPERVISOR = "pipeline.instances.supervisor"
LOOK = 0.1
# A supervisor starts, or ends after its machine has, within moments; a guest may take long.
MOMENTS = 60.0
STOPPED_WITHIN = 4 * 3600.0


def home_of(workspace: Workspace, name: str | None, wanted: str | None) -> Home:
    """The home of the instance: called as asked, else as its image."""
    if name is None and wanted is None:
        raise WrongUse("name an image, or with --name an instance that exists")
    if name is None:
        # Not looked for yet: the instance may be there although its image is not.
        words = str(wanted)
        name = local.find(words, workspace).image if "/" in words else words.partition("@")[0]
    return Home(workspace, check_name(name))


def launch(home: Home, wanted: str | None, asked: Options, progress: Progress) -> None:
    """Start the instance and wait until it answers; made first if there is none."""
    busy = f"{home.name}: waiting for {{}}"
    with store.claimed(home, lambda who: progress.event(busy.format(who))):
        if state.read(home).state == state.STOPPING:
            progress.event(f"{home.name} is stopping; it is started again afterwards")
            _gone(home, STOPPED_WITHIN)
        _prepare(home, wanted, asked, progress)
        running = state.read(home).state == state.RUNNING
        if not state.read(home).alive:
            start(home)
    if running:
        progress.event(f"{home.name} is running already")
    else:
        follow(home, progress)


def _prepare(home: Home, wanted: str | None, asked: Options, progress: Progress) -> None:
    """Make the instance, or change what is asked to be another way than it is stored."""
    if not home.record.exists():
        if wanted is None:
            records.load(home)  # says that there is none
        base = local.find(str(wanted), home.workspace)
        _warn(base, progress)
        progress.event(f"making {home.name} on {base.name} ({base.disk})")
        store.create(home, base, asked)
        return
    before = records.load(home)
    with suppress(PipelineError):  # told below, in other words
        _warn(local.Published.of(before.disk.parent), progress)
    _check_same_image(home, before, wanted, progress)
    after, words = store.change(home, before, asked)
    alive = state.read(home).alive
    if words and alive:
        raise PipelineError(
            f"{home.name} is running, and this would change: {', '.join(words)}",
            hint=f"stop it first: golden stop {home.name}",
        )
    if not alive:
        store.check(home, after)
        store.grow(home, asked)
    if after != before:
        records.save(home, after)
    for word in words:
        progress.event(f"changed: {word}")


def _warn(base: local.Published, progress: Progress) -> None:
    if warning := ending(base.version, base.expires_at):
        progress.event(warning)


def _check_same_image(
    home: Home, instance: Instance, wanted: str | None, progress: Progress
) -> None:
    """An instance stays on the version it was made on, whatever is published since."""
    if wanted is None:
        return
    mine = f"{instance.image}@{instance.version}"
    if wanted in (mine, instance.image):
        newest = [version.name for version in local.versions(instance.image, home.workspace)][-1:]
        if newest and newest != [mine]:
            progress.event(f"{home.name} stays on {mine}; {newest[0]} is here for new instances")
        return
    other = local.find(wanted, home.workspace)
    if (other.name, other.sha256) != (mine, instance.sha256):
        raise PipelineError(
            f"the instance {home.name} stands on {mine}, not on {other.name}",
            hint="give the new one another --name",
        )


def start(home: Home) -> None:
    """Start the supervisor; the caller holds the instance's lock."""
    store.rotate_logs(home)
    state.expect(home)
    space = home.workspace
    env = {
        "GOLDEN_OUTPUT": str(space.output),
        "GOLDEN_CACHE": str(space.cache),
        "PYTHONPATH": str(ROOT),
    }
    argv = [sys.executable, "-m", SUPERVISOR, home.name]
    process = start_detached(argv, log=home.supervisor_log, env=env)
    what = f"{home.name}: its supervisor has begun"
    wait_until(what, lambda: process.ended() or state.read(home).pid == process.pid, MOMENTS, LOOK)


def follow(home: Home, progress: Progress) -> None:
    """Tell what happens until the instance runs; raises when it does not come to that."""
    relay = Relay(home.log, progress)
    while (said := state.read(home)).state != state.RUNNING:
        relay.poll()
        if not said.alive:
            raise state.end_of(home)
        time.sleep(LOOK)
    relay.poll()


def stop(home: Home, *, now: bool, progress: Progress) -> State:
    """Shut the guest down, or with ``now`` cut it off, and wait for the end; gives the state."""
    if not home.folder.exists():
        records.load(home)  # says that there is none
    if not state.read(home).alive:
        return state.read(home)
    relay = Relay(home.log, progress)
    relay.skip()
    wait_until(f"{home.name}: its supervisor", lambda: state.read(home).pid, MOMENTS, LOOK)
    for _ in range(2 if now else 1):
        _order(home)
    end = time.monotonic() + STOPPED_WITHIN
    while state.read(home).alive and time.monotonic() < end:
        relay.poll()
        time.sleep(LOOK)
    return state.read(home)


def _order(home: Home) -> None:
    """Tell a supervisor that lives to end; two orders that arrive together would count as one."""
    said = state.read(home)
    if not said.alive or said.pid <= 0:  # it may be ending: 0 would be our own process group
        return
    with suppress(ProcessLookupError):
        os.kill(said.pid, signal.SIGTERM)
    with suppress(PipelineError):
        wait_until("the order is heard", lambda: state.read(home).state != said.state, 5, LOOK)


def _gone(home: Home, deadline: float) -> None:
    wait_until(f"{home.name} ends", lambda: not state.read(home).alive, deadline, LOOK)


def remove(home: Home, progress: Progress) -> None:
    """Remove an instance; one that runs is cut off first."""
    with store.claimed(home, lambda who: progress.event(f"waiting for {who}")):
        stop(home, now=True, progress=progress)
        store.remove(home)
