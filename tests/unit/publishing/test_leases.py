"""A lease among hosts that can only write, read and withdraw claims."""

from __future__ import annotations

import threading
import time

from hypothesis import given, settings
from hypothesis import strategies as st

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
def test_never_two_at_once(hosts: int, pace: float) -> None:
    board, inside, most = Board(pace), [0], [0]

    def work() -> None:
        with lease(board, "catalog", lambda _: None, every=0.01):
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


def test_different_names_do_not_wait() -> None:
    board = Board()
    with lease(board, "one", print), lease(board, "two", print):
        assert len(board.claims) == 2


def test_a_dead_holders_claim_ends_and_a_living_ones_is_renewed() -> None:
    board, waited = Board(), list[str]()
    with lease(board, "x", print, life=0.2):
        (tag,) = board.claims
        first = board.claims[tag].until
        deadline = time.monotonic() + 10
        while board.claims[tag].until == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert board.claims[tag].until > first
        prefix = tag.partition(".")[0]
    board.write(Claim(f"{prefix}.dead", "a host that died", time.time() - SKEW + 0.1))
    with lease(board, "x", waited.append, every=0.05):
        assert waited == ["a host that died"]


def test_the_waiting_are_told_who_once() -> None:
    board, told = Board(), list[str]()
    holder = lease(board, "x", print)
    holder.__enter__()
    release = threading.Timer(0.1, holder.__exit__, (None, None, None))
    release.start()
    with lease(board, "x", told.append, every=0.01):
        pass
    assert len(told) == 1
    assert "process" in told[0]
