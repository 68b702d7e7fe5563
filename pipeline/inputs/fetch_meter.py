"""How a long read goes on: ``1.2 GiB of 7.59 GiB (16 %), 45.1 MiB/s, 2:24 left``.

Goes in: how many bytes there are by now. Comes out: the detail line for the progress, a few times a
second, with the rate of the last ten seconds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from pipeline.foundation.progress import Progress
from pipeline.foundation.units import human_bytes, human_seconds

WINDOW = 10.0
PERIOD = 0.1


class Meter:
    """Bytes done, of a total that may be unknown."""

    def __init__(
        self,
        progress: Progress,
        done: int,
        total: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress, self._total, self._clock = progress, total, clock
        self._seen: deque[tuple[float, int]] = deque([(clock(), done)])
        self._said = float("-inf")

    def at(self, done: int) -> None:
        """So many bytes are done by now."""
        now = self._clock()
        if now - self._said < PERIOD:
            return
        self._said = now
        self._seen.append((now, done))
        while now - self._seen[1][0] > WINDOW:
            self._seen.popleft()
        self._progress.update(self._line(now, done))

    def _line(self, now: float, done: int) -> str:
        begin, before = self._seen[0]
        rate = (done - before) / (now - begin) if now > begin else 0.0
        if not self._total:
            return f"{human_bytes(done)}, {human_bytes(rate)}/s"
        share = f"{human_bytes(done)} of {human_bytes(self._total)} ({done * 100 // self._total} %)"
        left = f", {human_seconds((self._total - done) / rate)} left" if rate else ""
        return f"{share}, {human_bytes(rate)}/s{left}"
