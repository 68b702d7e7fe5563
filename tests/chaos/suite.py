"""Plays the faults: two rooms side by side, each with its stages in the graph's order.

Goes in: the cases wanted. Comes out: one row a case, as soon as it is known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
        return f".{stage}.work/" in text or ".part/" in text or "file publish/" in text
    return text.startswith("runtime folder ")


def groups(wanted: Iterable[Case], *, each: bool = False) -> list[list[Case]]:
    """Cases that share a next run: those of one image that stop at one stage.

    They may, as a fault leaves the very files that it found. Cases that succeed have no next run.
    """
    made: list[list[Case]] = []
    for case in wanted:
        last = made[-1][-1] if made else None
        alone = each or last is None or case.succeeds or last.succeeds
        if last is None or alone or (case.stage, case.image) != (last.stage, last.image):
            made.append([case])
        else:
            made[-1].append(case)
    return made


class Player:
    """Plays cases in one room."""

    def __init__(self, place: Room, told: Told) -> None:
        self.room, self.told = place, told

    def play(self, group: Sequence[Case]) -> None:
        """One case after the other: prepare, break, look over; then the next run for all."""
        rows = [self.one(case) for case in group]
        self.conclude(group[-1], rows)

    def one(self, case: Case) -> Row:
        """One fault."""
        row = Row.of(case)
        self.room.image, self.room.patience = case.image, ""
        try:
            self._one(case, row)
        except Exception as error:  # one fault that cannot be played is no end of the others
            row.wrong.append(f"{type(error).__name__}: {error}")
        return row

    def _one(self, case: Case, row: Row) -> None:
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

    def conclude(self, case: Case, rows: Sequence[Row]) -> None:
        """The next run, for all rows that wait for it."""
        why = "" if case.succeeds else self.room.finish(case.stage)
        left = [] if why else self.room.left()
        work = [name for name in self.room.tree() if ".work/" in name or ".part/" in name]
        for row in rows:
            row.again = why or "succeeds"
            row.wrong += [why] if why else []
            row.wrong += [f"still there after the next run: {text}" for text in [*left, *work]]
            self.told(row)


def _play_in_a_room(folder: Path, wanted: Sequence[Sequence[Case]], told: Told) -> None:
    with room(folder) as place:
        player = Player(place, told)
        for group in wanted:
            player.play(group)


def play(wanted: Iterable[Case], folder: Path, told: Told, *, each: bool = False) -> list[Row]:
    """Play cases; ``told`` gets each row when it is known. Raises when anything is left.

    ``each``: every fault gets a next run of its own.
    """
    limit = ORDER.index(LAST_OF_FIRST_ROOM)
    rows: list[Row] = []
    lock = threading.Lock()

    def tell(row: Row) -> None:
        with lock:
            rows.append(row)
            told(row)

    chosen = []
    for case in wanted:
        if reason := case.needs():
            tell(Row(case.name, case.stage, case.what, skipped=reason))
        else:
            chosen.append(case)
    halves = [
        [case for case in chosen if (ORDER.index(case.stage) <= limit) is first]
        for first in (True, False)
    ]
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(_play_in_a_room, folder / f"room {n}", groups(half, each=each), tell)
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
