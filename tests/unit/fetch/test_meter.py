"""The line that tells how far a long read is."""

from __future__ import annotations

import pytest

from pipeline.inputs.fetch_meter import Meter
from tests.unit.fetch.conftest import Recorder

MIB = 1 << 20


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_share_rate_and_time_left(clock: Clock, progress: Recorder) -> None:
    meter = Meter(progress, 0, 100 * MIB, clock)
    clock.now += 5
    meter.at(25 * MIB)
    assert progress.updates == ["25.0 MiB of 100.0 MiB (25 %), 5.0 MiB/s, 0:15 left"]


def test_what_an_earlier_run_brought_is_not_in_the_rate(clock: Clock, progress: Recorder) -> None:
    meter = Meter(progress, 90 * MIB, 100 * MIB, clock)
    clock.now += 5
    meter.at(95 * MIB)
    assert progress.updates == ["95.0 MiB of 100.0 MiB (95 %), 1.0 MiB/s, 5.0 s left"]


def test_the_rate_is_that_of_the_last_seconds(clock: Clock, progress: Recorder) -> None:
    meter, done = Meter(progress, 0, None, clock), 0
    for rate in (50, 1):
        for _ in range(30):
            clock.now += 1
            done += rate * MIB
            meter.at(done)
    assert progress.updates[-1] == f"{1530 / 1024:.2f} GiB, 1.0 MiB/s"


def test_not_more_often_than_people_can_read(clock: Clock, progress: Recorder) -> None:
    meter = Meter(progress, 0, 100, clock)
    for done in range(100):
        clock.now += 0.01
        meter.at(done)
    assert 5 <= len(progress.updates) <= 11


def test_no_time_is_promised_without_a_rate(clock: Clock, progress: Recorder) -> None:
    meter = Meter(progress, 0, 100, clock)
    meter.at(0)
    assert progress.updates == ["0 B of 100 B (0 %), 0 B/s"]
