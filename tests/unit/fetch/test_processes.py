"""Several processes and one artifact; and a process that is killed in the middle."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.definitions.model import Pin
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.waiting import wait_until
from pipeline.inputs.fetch import Policy, fetch, verified
from tests.servers import Handler, Server, Site, good, stall
from tests.unit.fetch.conftest import MSI, MakePin, Recorder

CONTEXT = multiprocessing.get_context("spawn")


@pytest.fixture
def started() -> Iterator[list[multiprocessing.process.BaseProcess]]:
    """Processes that do not outlive their test."""
    processes: list[multiprocessing.process.BaseProcess] = []
    yield processes
    for process in processes:
        process.kill()
        process.join()


class Told(Silent):
    """A progress that raises a flag when its job waits for another process."""

    def __init__(self) -> None:
        self.flag = CONTEXT.Event()

    def event(self, text: str) -> None:
        if "fetches" in text:
            self.flag.set()


def part(workspace: Workspace, pin: Pin) -> Path:
    return workspace.partial / f"{pin.sha256}.part"


def test_two_processes_download_once(
    server: Server,
    site: Site,
    workspace: Workspace,
    make_pin: MakePin,
    started: list[multiprocessing.process.BaseProcess],
) -> None:
    told = Told()

    def once_the_other_one_waits(handler: Handler) -> None:
        told.flag.wait(30)
        good(handler)

    site.always = once_the_other_one_waits
    pin = make_pin(server.url())
    for number in range(2):
        other = Workspace(workspace.root, workspace.root / f"output {number}", workspace.cache)
        process = CONTEXT.Process(target=fetch, args=(pin, other, told))
        process.start()
        started.append(process)
    for one in started:
        one.join(30)
    assert told.flag.is_set()
    assert [process.exitcode for process in started] == [0, 0]
    assert len(site.seen) == 1
    for number in range(2):
        assert (workspace.root / f"output {number}" / "fetch" / "winfsp.json").exists()


def test_killed_in_the_middle_then_resumed(
    server: Server,
    site: Site,
    workspace: Workspace,
    make_pin: MakePin,
    quick: Policy,
    started: list[multiprocessing.process.BaseProcess],
) -> None:
    site.script = [stall(100)]
    pin = make_pin(server.url())
    process = CONTEXT.Process(target=fetch, args=(pin, workspace, Silent()))
    process.start()
    started.append(process)
    wait_until(
        "100 bytes on disk",
        lambda: part(workspace, pin).exists() and part(workspace, pin).stat().st_size == 100,
        deadline=30,
        every=0.01,
    )
    process.kill()
    process.join()
    assert verified(pin, workspace) is None
    assert not workspace.artifacts.exists()
    assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI
    assert site.ranges == [None, "bytes=100-"]
    assert site.seen[1].headers["If-Range"] == '"one"'
    assert site.seen[1].sent == len(MSI) - 100


def test_whoever_waits_is_told_for_whom(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin
) -> None:
    pin = make_pin(server.url())

    class Releasing(Recorder):
        """Lets the other one finish as soon as it is told of it."""

        def event(self, text: str) -> None:
            super().event(text)
            holder.__exit__(None, None, None)

    holder = lock(workspace.partial / f"{pin.sha256}.lock")
    holder.__enter__()
    progress = Releasing()
    fetch(pin, workspace, progress)
    assert progress.events[0].startswith("process ")
    assert progress.events[0].endswith("fetches winfsp")
