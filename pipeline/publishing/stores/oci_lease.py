"""A lease among hosts that share nothing but a registry, which knows no locks.

Each contender has a tag of its own, its *claim*: who, and until when. One writes the claim, then
reads all: whoever sees no other living claim holds the lease; whoever sees one withdraws, waits and
tries again. As everybody writes before reading, two can never both see nothing. A holder renews
its claim; when it dies, its claim does, too. Clocks may differ by ``SKEW``.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_bytes
from pipeline.publishing.stores.base import Waiting

LIFE = 120.0
SKEW = 30.0


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody's claim: its tag, who, and until when."""

    tag: str
    holder: str
    until: float

    @property
    def alive(self) -> bool:
        """Whether its holder may still be at work."""
        return self.until + SKEW > time.time()


class Board(Protocol):
    """Where claims are written."""

    def write(self, claim: Claim) -> None:
        """Put a claim up, or renew it."""

    def read(self, prefix: str) -> list[Claim]:
        """Every claim whose tag starts so."""

    def withdraw(self, tag: str) -> None:
        """Take a claim down."""


@contextlib.contextmanager
def lease(
    board: Board, name: str, waiting: Waiting, *, every: float = 2.0, life: float = LIFE
) -> Iterator[None]:
    """Hold ``name`` alone while the block runs."""
    prefix = f"{sha256_bytes(name.encode())[:24]}."
    tag = f"{prefix}{uuid.uuid4().hex[:16]}"
    _obtain(board, prefix, tag, waiting, every, life)
    ended = threading.Event()
    beat = threading.Thread(target=_renew, args=(board, tag, life, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        with contextlib.suppress(PipelineError):  # it ends by itself, only later
            board.withdraw(tag)


def _obtain(
    board: Board, prefix: str, tag: str, waiting: Waiting, every: float, life: float
) -> None:
    told = False
    while True:
        others = _others(board, prefix, tag)
        if not others:
            board.write(_mine(tag, life))
            others = _others(board, prefix, tag)
            if not others:
                return
            board.withdraw(tag)
        if not told:
            waiting(others[0].holder)
            told = True
        # Unequal pauses, so that two that withdrew for each other do not meet again.
        time.sleep(every * random.uniform(0.2, 1.0))  # noqa: S311


def _others(board: Board, prefix: str, tag: str) -> list[Claim]:
    return [claim for claim in board.read(prefix) if claim.alive and claim.tag != tag]


def _mine(tag: str, life: float) -> Claim:
    return Claim(tag, f"{platform.node()}, process {os.getpid()}", time.time() + life)


def _renew(board: Board, tag: str, life: float, ended: threading.Event) -> None:
    while not ended.wait(life / 4):
        with contextlib.suppress(PipelineError):  # three more attempts before it would end
            board.write(_mine(tag, life))
