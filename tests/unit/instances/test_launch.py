"""Launching and stopping, with supervisors that hold no machine."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import write_json
from pipeline.foundation.units import Size
from pipeline.foundation.waiting import wait_until
from pipeline.instances import instance as records
from pipeline.instances import launch, state, store
from pipeline.instances.instance import Home
from pipeline.instances.options import Options
from pipeline.publishing.local import Published
from tests.tools import require
from tests.unit.instances.samples import publish, publish_real, workspace
from tests.unit.instances.test_journal import Heard

NOTHING = Options()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """An instance ``one`` of ``sample``, which was never started."""
    require("qemu-img")
    monkeypatch.setattr(launch, "SUPERVISOR", "tests.unit.instances.stand_in")
    monkeypatch.setenv("STAND_IN", "run")
    made = Home(workspace(tmp_path), "one")
    store.create(made, Published.of(publish_real(made.workspace.published)), NOTHING)
    yield made
    if made.folder.exists():
        launch.stop(made, now=True, progress=Heard())


def started(home: Home, wanted: str | None = "sample", asked: Options = NOTHING) -> list[str]:
    """Launch it; what was said in words."""
    heard = Heard()
    launch.launch(home, wanted, asked, heard)
    return [said[1] for said in heard.said]


def test_it_runs_and_outlives_us_in_a_session_of_its_own(home: Home) -> None:
    assert started(home) == ["boot"]
    said = state.read(home)
    assert (said.state, said.port) == (state.RUNNING, 2222)
    assert os.getsid(said.pid) == said.pid != os.getsid(0)
    descriptors = [str(path.readlink()) for path in Path(f"/proc/{said.pid}/fd").iterdir()]
    assert not [name for name in descriptors if name.startswith("/dev/pts")]


def test_again_it_is_the_same_one(home: Home) -> None:
    started(home)
    pid = state.read(home).pid
    assert started(home, None) == ["one is running already"]
    assert state.read(home).pid == pid


def test_two_launches_at_once_start_one_supervisor(home: Home) -> None:
    heard = [Heard(), Heard(), Heard()]
    threads = [
        threading.Thread(target=launch.launch, args=(home, "sample", NOTHING, each))
        for each in heard
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log = home.supervisor_log.read_text()
    assert log.count("phase boot") == 1
    assert state.read(home).state == state.RUNNING


def test_what_the_supervisor_says_is_the_error(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "fail")
    with pytest.raises(PipelineError) as raised:
        started(home)
    error = raised.value
    assert (error.message, error.hint) == ("one: the guest's system panicked", "look")
    assert error.evidence == home.log


def test_one_that_dies_without_a_word_is_noticed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "die")
    with pytest.raises(PipelineError, match="one: its supervisor was killed"):
        started(home)
    monkeypatch.setenv("STAND_IN", "run")
    started(home)


def test_after_kill_9_the_next_launch_just_works(home: Home) -> None:
    started(home)
    os.kill(state.read(home).pid, signal.SIGKILL)
    wait_until("it is gone", lambda: not state.read(home).alive, 20, 0.01)
    assert state.read(home).state == "stopped (killed)"
    started(home)
    assert state.read(home).state == state.RUNNING


def test_stop_waits_for_the_end(home: Home) -> None:
    started(home)
    said = launch.stop(home, now=False, progress=Heard())
    assert (said.state, said.message) == (state.STOPPED, "shut down")
    assert launch.stop(home, now=False, progress=Heard()) == said


def test_now_gives_the_second_order(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "stubborn")
    started(home)
    assert launch.stop(home, now=True, progress=Heard()).message == "cut off"


def test_what_changes_is_said_and_kept_and_not_while_it_runs(home: Home) -> None:
    assert started(home, asked=Options(cpus=3)) == ["changed: cpus 2 -> 3", "boot"]
    assert records.load(home).cpus == 3
    assert started(home, asked=Options(cpus=3)) == ["one is running already"]
    with pytest.raises(PipelineError, match=r"is running, and this would change: memory 1G -> 2G"):
        started(home, asked=Options(memory=Size(2 << 30)))
    assert records.load(home).memory == 1 << 30


def test_it_stays_on_its_version_and_says_that_there_is_another(home: Home) -> None:
    publish(home.workspace.published, version="1.0-20261125.1", built_at="2026-11-25T12:00:00Z")
    assert "sample@1.0-20261125.1 is here for new instances" in started(home)[0]
    with pytest.raises(PipelineError, match=r"stands on sample@1\.0-20261124\.1, not on"):
        started(home, "sample@1.0-20261125.1")
    publish(home.workspace.published, "other")
    with pytest.raises(PipelineError, match="give the new one another --name"):
        started(home, "other")


def test_the_same_image_by_its_path_is_the_same(home: Home) -> None:
    started(home, str(records.load(home).disk))


def test_an_image_that_is_gone_is_named_and_the_disk_is_kept(home: Home) -> None:
    before = home.disk.read_bytes()
    records.save(home, replace(records.load(home), disk=Path("/gone/disk.qcow2")))
    with pytest.raises(PipelineError, match=r"whose disk /gone/disk\.qcow2 is gone"):
        started(home)
    assert home.disk.read_bytes() == before


def test_a_name_alone_starts_what_exists_and_nothing_else(home: Home) -> None:
    with pytest.raises(PipelineError, match="there is no instance 'two'"):
        started(Home(home.workspace, "two"), None)
    with pytest.raises(PipelineError, match="name an image"):
        launch.home_of(home.workspace, None, None)
    assert launch.home_of(home.workspace, None, "sample@1.0").name == "sample"
    by_path = str(records.load(home).disk)
    assert launch.home_of(home.workspace, None, by_path).name == "sample"
    assert launch.home_of(home.workspace, "two", None).name == "two"


def test_rm_also_removes_a_broken_one_and_what_a_killed_rm_left(home: Home) -> None:
    (home.workspace.instances / ".one.gone").mkdir()
    home.record.write_text("{}")
    launch.remove(home, Heard())
    assert list(home.workspace.instances.iterdir()) == []


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_rm_ends_a_running_one_and_leaves_nothing(home: Home) -> None:
    started(home)
    pid = state.read(home).pid
    launch.remove(home, Heard())
    assert list(home.workspace.instances.iterdir()) == []
    # Its last lock is free a moment before the process itself is gone.
    wait_until("the supervisor is gone", lambda: not alive(pid), 20, 0.05)


def test_an_evaluation_that_has_ended_is_told_at_every_start(home: Home) -> None:
    manifest = records.load(home).disk.parent / "manifest.json"
    data = json.loads(manifest.read_text())
    write_json(manifest, data | {"expires_at": "2026-01-01T00:00:00Z"})
    said = started(home)[0]
    assert said == "warning: the evaluation in 1.0-20261124.1 ended on 2026-01-01T00:00:00Z"


def test_an_order_to_one_that_is_just_ending_reaches_nobody_else(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its last word and its end a supervisor has no pid, and pid 0 is our own group."""
    sent: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", lambda pid, _: sent.append(pid))
        patch.setattr(state, "read", lambda _: state.State(state.STARTING))
        launch._order(home)
    assert sent == []
