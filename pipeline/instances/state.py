"""What state an instance is in, from what its supervisor wrote and whether that one still lives.

A supervisor holds a lock as long as it lives, however it ends; so a state file that a killed one
left behind misleads nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, write_json
from pipeline.foundation.locks import lock_free
from pipeline.foundation.waiting import wait_until
from pipeline.instances.instance import Home, now

NEVER, STARTING, RUNNING, STOPPING = "never started", "starting", "running", "stopping"
STOPPED, FAILED, KILLED = "stopped", "failed", "stopped (killed)"
LIVING = (STARTING, RUNNING, STOPPING)
# Somebody who looks at the lock holds it for a moment.
TAKEN_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class State:
    """The state; ``pid`` is the supervisor's, ``message``, ``hint`` say why it is so."""

    state: str
    pid: int = 0
    port: int = 0
    since: str = ""
    message: str = ""
    hint: str = ""

    @property
    def alive(self) -> bool:
        """Whether a supervisor, and so perhaps a machine, lives."""
        return self.state in LIVING


def write(home: Home, state: str, *, port: int = 0, message: str = "", hint: str = "") -> None:
    """Say what state the instance is in; for the supervisor."""
    said = State(state, os.getpid(), port, now(), message, hint)
    write_json(home.state, asdict(said))


def expect(home: Home) -> None:
    """Before a supervisor is started: what an earlier one said no longer counts."""
    write_json(home.state, asdict(State(STARTING)))


def read(home: Home) -> State:
    """The state of the instance."""
    said = _said(read_json(home.state))
    if not lock_free(home.supervised):
        return said if said.alive else State(STARTING)
    # It may have ended between the two looks.
    said = _said(read_json(home.state))
    if said.alive:
        return State(KILLED, since=said.since, message="its supervisor was killed")
    return said


def _said(data: Any) -> State:
    try:
        return State(**data)
    except TypeError:
        return State(NEVER)


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; raises when another process does."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        wait_until(f"the lock {path}", lambda: _take(handle), TAKEN_PATIENCE, 0.05)
        yield
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def end_of(home: Home) -> PipelineError:
    """The error that tells why an instance does not run."""
    state = read(home)
    message = state.message or f"it is {state.state}"
    return PipelineError(f"{home.name}: {message}", hint=state.hint, evidence=home.log)
