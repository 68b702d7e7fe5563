"""Running a coroutine that owns machines, so that every signal ends in its cleaning up."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in which SIGTERM, like Ctrl-C, cancels ``main`` and lets it clean up.

    Afterwards SIGTERM is raised as :class:`KeyboardInterrupt`, as the task graph does with it. A
    second signal does not wait for the cleaning up; then the kernel kills what is left, when this
    process ends (see ``foundation.process.spawn``).
    """
    terminated = False

    async def guarded() -> T:
        task = asyncio.current_task()

        def cancel() -> None:
            nonlocal terminated
            terminated = True
            if task:
                task.cancel()

        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            return await main
        before = signal.getsignal(signal.SIGTERM)
        loop.add_signal_handler(signal.SIGTERM, cancel)
        try:
            return await main
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, before)

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if terminated:
            raise KeyboardInterrupt from None
        raise
