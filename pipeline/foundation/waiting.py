"""Waiting for a condition: with a deadline, and an error that says what was last seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.foundation.errors import PipelineError

T = TypeVar("T")


class Timeout(PipelineError):
    """A wait ended without its condition."""


def _too_long(what: str, deadline: float, seen: object) -> Timeout:
    return Timeout(f"{what}: not within {deadline:g} s; last seen: {seen!r}")


def wait_until(what: str, check: Callable[[], T], deadline: float, every: float = 0.1) -> T:
    """Call ``check`` every ``every`` seconds until it returns something true; return that.

    Raises :class:`Timeout` after ``deadline`` seconds.
    """
    end = time.monotonic() + deadline
    while True:
        if seen := check():
            return seen
        if time.monotonic() >= end:
            raise _too_long(what, deadline, seen)
        time.sleep(every)


async def wait_until_async(
    what: str, check: Callable[[], Awaitable[T]], deadline: float, every: float = 0.2
) -> T:
    """:func:`wait_until` for a coroutine function; a check that hangs is cut at the deadline."""
    seen: object = None
    try:
        async with asyncio.timeout(deadline):
            while True:
                if seen := await check():
                    return seen
                await asyncio.sleep(every)
    except TimeoutError:
        raise _too_long(what, deadline, seen) from None
