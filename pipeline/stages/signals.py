"""Signals to the task graph: they end a run in order, whoever sends them.

Goes in: nothing. Comes out: handlers, set for this process and, through it, for its children.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from types import TracebackType


def stop_on_signals() -> None:
    """SIGTERM and a closed terminal end a run as Ctrl-C does: in order, with results kept.

    A script that starts us with ``&`` has SIGINT ignored, and then nothing could end us in order;
    ``nohup`` has SIGHUP ignored, and means it.
    """

    def stop(_: int, __: object) -> None:
        for child in multiprocessing.active_children():
            if child.pid:
                os.kill(child.pid, signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        print("interrupted; the same command goes on where this one was", file=sys.stderr)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    sys.excepthook = end
