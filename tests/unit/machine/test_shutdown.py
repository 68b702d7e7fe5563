"""The ladder: which rung ends a machine, with a process that only listens to some of them."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.machine.monitor import MonitorFailed
from pipeline.machine.shutdown import Ending, Rung, descend

NAMES = ("guest", "power-button", "quit", "SIGTERM", "SIGKILL")


class Fake:
    """A machine that ends when ``listens_to`` is tried, and whose monitor may be gone."""

    def __init__(self, listens_to: str, broken: tuple[str, ...] = ()) -> None:
        self.listens_to = listens_to
        self.broken = broken
        self.tried: list[str] = []
        self.waited: list[float] = []

    def rungs(self) -> list[Rung]:
        return [Rung(name, self._act(name), float(place)) for place, name in enumerate(NAMES, 1)]

    def _act(self, name: str):  # type: ignore[no-untyped-def]
        async def act() -> None:
            self.tried.append(name)
            if name in self.broken:
                raise MonitorFailed(f"{name} is broken")

        return act

    async def ended(self, patience: float) -> bool:
        self.waited.append(patience)
        return self.listens_to in self.tried


@pytest.mark.parametrize("name", NAMES)
def test_the_rung_that_ended_it_is_named_and_no_harder_one_is_tried(name: str) -> None:
    machine = Fake(name)
    assert asyncio.run(descend(machine.rungs(), machine.ended)) == name
    assert machine.tried == list(NAMES[: NAMES.index(name) + 1])


def test_each_rung_gets_its_own_patience() -> None:
    machine = Fake("quit")
    asyncio.run(descend(machine.rungs(), machine.ended))
    assert machine.waited == [0, 1, 2, 3]


def test_a_broken_rung_is_not_waited_for() -> None:
    machine = Fake("SIGTERM", broken=("guest", "power-button", "quit"))
    assert asyncio.run(descend(machine.rungs(), machine.ended)) == "SIGTERM"
    assert machine.waited == [0, 0, 0, 0, 4]


def test_what_has_ended_already_is_not_touched() -> None:
    machine = Fake("SIGKILL")
    machine.tried.append("SIGKILL")
    assert asyncio.run(descend(machine.rungs(), machine.ended)) == ""
    assert machine.tried == ["SIGKILL"]


def test_a_process_that_survives_everything_is_an_error() -> None:
    with pytest.raises(PipelineError, match="SIGKILL"):
        asyncio.run(descend(Fake("").rungs(), Fake("").ended))


@pytest.mark.parametrize(
    ("ending", "clean"),
    [
        (Ending("guest-shutdown", 0), True),
        (Ending("guest-shutdown", 0, "power-button"), True),
        (Ending("guest-shutdown", 1), False),
        (Ending("host-qmp-quit", 0, "quit"), False),
        (Ending("died", -9), False),
    ],
)
def test_only_a_guest_that_shut_itself_down_is_clean(ending: Ending, clean: bool) -> None:
    assert ending.clean is clean
