"""Plays the faults: two rooms side by side, each with its stages in the graph's order.

Goes in: the cases wanted. Comes out: one row a case, as soon as it is known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.chaos import guest_cases, host_cases, leftovers, signal_cases
from tests.chaos.case import Case, Row
from tests.chaos.room import ORDER, Room, room

# The first room goes up to the installed system, the second one from there.
LAST_OF_FIRST_ROOM = "install"
Told = Callable[[Row], None]


def cases() -> list[Case]:
    """Every case, by stage; those that share a next run stay together."""
    every = (*signal_cases.CASES, *guest_cases.CASES, *host_cases.CASES)
    return sorted(every, key=lambda case: (ORDER.index(case.stage), case.image))


def _clears_away(text: str, stage: str) -> bool:
    """Whether it is something that a killed run may leave, as the next run clears it away."""
    if text.startswith("file "):
        return f".{stage}.work/" in text or ".part/" in text
    return text.startswith("runtime folder ") or text.endswith(".board")


def sharing(wanted: Sequence[Case]) -> list[Case]:
    """The cases with one next run for all of them that stop at the same stage, after the last."""
    last = {case.stage: case for case in wanted}
    return [replace(case, together=case is not last[case.stage]) for case in wanted]


class Player:
    """Plays cases in one room."""

    def __init__(self, place: Room, told: Told) -> None:
        self.room, self.told = place, told
        self.waiting: list[Row] = []

    def play(self, case: Case) -> None:
        """One case: prepare, break, look over; then the next run, if it is this one's turn."""
        row = Row.of(case)
        if reason := case.needs():
            row.skipped = reason
            self.told(row)
            return
        self.room.image, self.room.patience = case.image, ""
        try:
            self._play(case, row)
        except AssertionError as error:
            row.wrong.append(str(error))
        self.waiting.append(row)
        if not case.together:
            self._conclude(case)

    def _play(self, case: Case, row: Row) -> None:
        self.room.prepare(case.stage)
        before = dict(self.room.tree())
        self.room.patience = case.patience
        row.judge(case, case.play(self.room))
        self.room.patience = ""
        row.left = self.room.left()
        if not case.succeeds:
            row.left += leftovers.changes(before, dict(self.room.tree()))
        unexpected = [
            text for text in row.left if not (case.killed and _clears_away(text, case.stage))
        ]
        row.wrong += [f"left behind: {text}" for text in unexpected]

    def _conclude(self, case: Case) -> None:
        """The next run, for all rows that wait for it."""
        why = "" if case.succeeds else self.room.finish(case.stage)
        left = [] if why else self.room.left()
        work = [name for name in self.room.tree() if ".work/" in name or ".part/" in name]
        for row in self.waiting:
            row.again = why or "succeeds"
            row.wrong += [why] if why else []
            row.wrong += [f"still there after the next run: {text}" for text in [*left, *work]]
            self.told(row)
        self.waiting.clear()


def _play_in_a_room(folder: Path, wanted: Sequence[Case], told: Told) -> None:
    with room(folder) as place:
        player = Player(place, told)
        for case in wanted:
            player.play(case)


def play(wanted: Iterable[Case], folder: Path, told: Told) -> list[Row]:
    """Play cases; ``told`` gets each row when it is known. Raises when anything is left."""
    limit = ORDER.index(LAST_OF_FIRST_ROOM)
    rows: list[Row] = []
    lock = threading.Lock()

    def tell(row: Row) -> None:
        with lock:
            rows.append(row)
            told(row)

    chosen = list(wanted)
    halves = [
        [case for case in chosen if (ORDER.index(case.stage) <= limit) is first]
        for first in (True, False)
    ]
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(_play_in_a_room, folder / f"room {n}", half, tell)
            for n, half in enumerate(halves, 1)
            if half
        ]
        for job in jobs:
            job.result()
    _nothing_left(folder)
    return rows


def _nothing_left(folder: Path) -> None:
    """After the suite nothing of any room is left: asserted."""
    marks = [str(folder / "room ")]
    left = [*leftovers.processes(marks), *leftovers.sockets(marks, [folder])]
    left += [*leftovers.devices(marks), *(str(path) for path in folder.rglob("*"))]
    assert not left, left


def summary(rows: Sequence[Row]) -> str:
    """How many faults went as they should."""
    bad = [row.key for row in rows if not row.good]
    skipped = [row.key for row in rows if row.skipped]
    words = f"{len(rows)} faults, {len(bad)} not as they should be, {len(skipped)} not tried"
    return words + (f": {', '.join(bad)}" if bad else "")
