"""Powering a guest off from inside, as one who is logged in."""

from __future__ import annotations

import contextlib

from pipeline.guest.login import GuestUnreachable
from pipeline.guest.ssh import Guest

POWER_OFF = "shutdown.exe /s /t 2 /f"
DEADLINE = 30.0


async def power_off(guest: Guest) -> None:
    """Ask the guest to power off; it may be quicker than its answer."""
    with contextlib.suppress(GuestUnreachable):
        await guest.run(POWER_OFF, DEADLINE)
