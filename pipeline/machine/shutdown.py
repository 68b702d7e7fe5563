"""Stopping a machine: from the guest's own command down to SIGKILL, and always to the end.

Goes in: rungs, soft ones first. Comes out: the name of the rung after which the process was gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pipeline.foundation.errors import PipelineError

Act = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to stop a machine, and how long it gets."""

    name: str
    act: Act
    patience: float


@dataclass(frozen=True, slots=True)
class Ending:
    """How a machine ended.

    ``reason`` is QEMU's word (``guest-shutdown``, ``host-qmp-quit``, ``host-signal`` …) or ``died``
    when it said none; ``code`` is the process's exit code; ``rung`` the one that ended it, if any.
    """

    reason: str
    code: int
    rung: str = ""

    @property
    def clean(self) -> bool:
        """The guest shut itself down, so its filesystems are in order."""
        return self.reason == "guest-shutdown" and self.code == 0


async def descend(rungs: Sequence[Rung], ended: Callable[[float], Awaitable[bool]]) -> str:
    """Try each rung until ``ended(patience)`` says that the process is gone; name that rung.

    A rung that fails (the monitor is gone, SSH does not answer) is followed by the next at once.
    """
    if await ended(0):
        return ""
    for rung in rungs:
        try:
            await rung.act()
        except PipelineError:
            if await ended(0):
                return rung.name
            continue
        if await ended(rung.patience):
            return rung.name
    raise PipelineError("the machine's process did not end even after SIGKILL")
