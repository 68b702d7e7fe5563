"""A lease among hosts that can only write, read and withdraw claims."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.foundation.errors import PipelineError
from pipeline.publishing.stores.oci_lease import SKEW, Claim, lease


class Board:
    """Claims in memory; ``pace`` lets threads meet in the worst places."""

    def __init__(self, pace: float = 0.0) -> None:
        self.claims: dict[str, Claim] = {}
        self.pace = pace
        self.lock = threading.Lock()

    def write(self, claim: Claim) -> None:
        time.sleep(self.pace)
        with self.lock:
            self.claims[claim.tag] = claim

    def read(self, prefix: str) -> list[Claim]:
        with self.lock:
            found = [claim for tag, claim in self.claims.items() if tag.startswith(prefix)]
        time.sleep(self.pace)
        return found

    def withdraw(self, tag: str) -> None:
        with self.lock:
            self.claims.pop(tag, None)


@settings(max_examples=5, deadline=None)
@given(st.integers(2, 5), st.sampled_from([0.0, 0.001, 0.003]))
def test_never_two_at_once(
    tmp_path_factory: pytest.TempPathFactory, hosts: int, pace: float
) -> None:
    board, inside, most = Board(pace), [0], [0]

    def work() -> None:
        local = tmp_path_factory.mktemp("host")
        with lease(board, "catalog", lambda _: None, local, every=0.01):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.002)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(hosts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1]
    assert not board.claims


def test_different_names_do_not_wait(tmp_path: Path) -> None:
    board = Board()
    with lease(board, "one", print, tmp_path), lease(board, "two", print, tmp_path):
        assert len(board.claims) == 2


def test_a_dead_holders_claim_ends_and_a_living_ones_is_renewed(tmp_path: Path) -> None:
    board, waited = Board(), list[str]()
    with lease(board, "x", print, tmp_path, life=0.2):
        (tag,) = board.claims
        first = board.claims[tag].until
        deadline = time.monotonic() + 10
        while board.claims[tag].until == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert board.claims[tag].until > first
        prefix = tag.partition(".")[0]
    board.write(Claim(f"{prefix}.dead", "a host that died", time.time() - SKEW + 0.1))
    with lease(board, "x", waited.append, tmp_path, every=0.05):
        assert waited == ["a host that died"]


def test_the_waiting_are_told_who_once(tmp_path: Path) -> None:
    board, told = Board(), list[str]()
    holder = lease(board, "x", print, tmp_path / "one")
    holder.__enter__()
    release = threading.Timer(0.1, holder.__exit__, (None, None, None))
    release.start()
    with lease(board, "x", told.append, tmp_path / "two", every=0.01):
        pass
    assert len(told) == 1
    assert "process" in told[0]


class Keeping(Board):
    """A registry that lets nobody delete: a claim that is withdrawn has only ended."""

    def withdraw(self, tag: str) -> None:
        self.write(Claim(tag, "nobody", 0.0))


def test_where_nothing_can_be_deleted_a_host_keeps_to_one_tag(tmp_path: Path) -> None:
    board = Keeping()
    for _ in range(20):
        with lease(board, "x", print, tmp_path / "one"):
            pass
    assert len(board.claims) == 1
    with lease(board, "x", print, tmp_path / "two"):
        pass
    assert len(board.claims) == 2, "another host has another"


def test_two_processes_of_a_host_take_turns_with_its_tag(tmp_path: Path) -> None:
    board, told, inside = Board(), list[str](), list[str]()
    holder = lease(board, "x", print, tmp_path)
    holder.__enter__()

    def second() -> None:
        with lease(board, "x", told.append, tmp_path, every=0.01):
            inside.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    while not told:
        assert thread.is_alive()
    assert inside == []
    holder.__exit__(None, None, None)
    thread.join(10)
    assert inside == ["second"]
    assert len(told) == 1


def test_a_claim_that_is_half_over_when_all_are_read_holds_nothing(tmp_path: Path) -> None:
    """Whoever reads later would take it for dead while its holder is at work."""
    board = Board(pace=0.06)
    with (
        pytest.raises(PipelineError, match="so long to answer"),
        lease(board, "x", print, tmp_path, every=0.01, life=0.1),
    ):
        pass
    assert not board.claims


def test_a_tag_that_somebody_else_uses_too_holds_nothing(tmp_path: Path) -> None:
    class Shared(Board):
        spoilt = 2

        def write(self, claim: Claim) -> None:
            self.spoilt -= 1
            copy = Claim(claim.tag, "a clone", claim.until) if self.spoilt >= 0 else claim
            super().write(copy)

    board = Shared()
    with lease(board, "x", print, tmp_path, every=0.01):
        assert board.spoilt < 0
        assert [claim.holder for claim in board.claims.values()] != ["a clone"]
