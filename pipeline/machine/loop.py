"""Running a coroutine that owns machines, so that every signal ends in its cleaning up."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

ENDING = (signal.SIGTERM, signal.SIGHUP)


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in which SIGTERM and SIGHUP, like Ctrl-C, cancel ``main``, which cleans up.

    Afterwards they are raised as :class:`KeyboardInterrupt`, as the task graph does with SIGTERM. A
    second Ctrl-C cuts the cleaning up short: what is left gets SIGTERM and SIGKILL, and what even
    that missed is killed by the kernel when this process ends (``foundation.process.spawn``).
    """
    ended = False

    async def guarded() -> T:
        task = asyncio.current_task()

        def cancel() -> None:
            nonlocal ended
            ended = True
            if task:
                task.cancel()

        with _handled(cancel):
            return await main

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if ended:
            raise KeyboardInterrupt from None
        raise


@contextmanager
def _handled(cancel: Callable[[], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's matter
        return
    loop = asyncio.get_running_loop()
    before = {sign: signal.getsignal(sign) for sign in ENDING}
    # Under nohup SIGHUP is ignored, and stays so.
    handled = [sign for sign in ENDING if before[sign] is not signal.SIG_IGN]
    for sign in handled:
        loop.add_signal_handler(sign, cancel)
    try:
        yield
    finally:
        for sign in handled:
            loop.remove_signal_handler(sign)
            signal.signal(sign, before[sign] or signal.SIG_DFL)
