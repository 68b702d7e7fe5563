"""A lease among hosts that share nothing but a registry, which knows no locks.

Each contender has a tag of its own, its *claim*: who, and until when. One writes the claim, then
reads all: whoever sees no other living claim holds the lease; whoever sees one withdraws, waits and
tries again. As everybody writes before reading, two can never both see nothing. A holder renews
its claim; when it dies, its claim does, too. Clocks may differ by ``SKEW``.

A host keeps its tag for a lease and uses it again, one process at a time: a registry that lets
nobody delete would otherwise gather one for every lease that ever was, all of which are read.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import re
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_bytes, write_bytes
from pipeline.foundation.locks import lock
from pipeline.publishing.stores.base import Waiting

LIFE = 120.0
SKEW = 30.0
SLOW = 3
"""How often a registry may take so long to answer that the claim is half over."""
_OWN = re.compile(r"[0-9a-f]{16}")


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
    board: Board,
    name: str,
    waiting: Waiting,
    local: Path,
    *,
    every: float = 2.0,
    life: float = LIFE,
) -> Iterator[None]:
    """Hold ``name`` alone while the block runs; ``local`` is where this host keeps its tags."""
    prefix = f"{sha256_bytes(name.encode())[:24]}."
    with lock(local / f"{prefix}lock", waiting):
        tag = f"{prefix}{_own(local / f'{prefix}tag')}"
        _obtain(board, prefix, tag, waiting, every, life)
        with _renewed(board, tag, life):
            yield


def _own(path: Path) -> str:
    """What tells this host's tag from others', also from a copy of its disk by another name."""
    kept = path.read_text() if path.exists() else ""
    if not _OWN.fullmatch(kept):
        kept = uuid.uuid4().hex[:16]
        write_bytes(path, kept.encode())
    return sha256_bytes(f"{kept} {platform.node()}".encode())[:16]


@contextlib.contextmanager
def _renewed(board: Board, tag: str, life: float) -> Iterator[None]:
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
    told, slow = False, 0
    while True:
        others = _others(board.read(prefix), tag)
        if not others:
            mine = _mine(tag, life)
            board.write(mine)
            found = board.read(prefix)
            others = _others(found, tag)
            late = mine.until - time.time() < life / 2
            if not others and not late and _stands(mine, found):
                return
            board.withdraw(tag)
            slow += late
        if slow > SLOW:
            raise PipelineError(
                "the registry takes so long to answer that no lease can be held in it",
                hint="look at the registry; tags of its repository `leases` can all be deleted",
            )
        if others and not told:
            waiting(others[0].holder)
            told = True
        # Unequal pauses, so that two that withdrew for each other do not meet again.
        time.sleep(every * random.uniform(0.2, 1.0))  # noqa: S311


def _others(found: Sequence[Claim], tag: str) -> list[Claim]:
    return [claim for claim in found if claim.alive and claim.tag != tag]


def _stands(mine: Claim, found: Sequence[Claim]) -> bool:
    """Whether the claim is there as it was written: nobody else uses the tag."""
    same = [claim for claim in found if (claim.tag, claim.holder) == (mine.tag, mine.holder)]
    return any(abs(claim.until - mine.until) < 1 for claim in same)


def _mine(tag: str, life: float) -> Claim:
    return Claim(tag, f"{platform.node()}, process {os.getpid()}", time.time() + life)


def _renew(board: Board, tag: str, life: float, ended: threading.Event) -> None:
    while not ended.wait(life / 4):
        with contextlib.suppress(PipelineError):  # three more attempts before it would end
            board.write(_mine(tag, life))
