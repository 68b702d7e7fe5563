"""A stage that runs: what it is told of before, and what it leaves when it fails."""

from __future__ import annotations

import errno
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, write_json
from pipeline.foundation.progress import Silent
from pipeline.foundation.waiting import wait_until
from pipeline.stages.build import Made, Work
from pipeline.stages.runner import run_stage
from tests.unit.stages.test_plan import World


class Told(Silent):
    """Remembers the phases and their expected lengths."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, float | None]] = []

    def phase(self, name: str, expected: float | None = None) -> None:
        self.phases.append((name, expected))


def run(world: World, act: Callable[[Work], None], told: Silent | None = None) -> None:
    """Run the stage ``disk``, whose work is ``act``."""
    make = world.make

    def acting(work: Work) -> Made:
        if work.folder.name == ".disk.work":
            act(work)
        return make(work)

    world.make = acting  # type: ignore[method-assign]
    try:
        for name in ("paper", "disk"):
            run_stage(world.build, name, world.stages, told or Silent())
    finally:
        world.make = make  # type: ignore[method-assign]


def failures(world: World) -> list[Path]:
    return sorted(world.workspace.failures("toy").glob("*"))


def test_phases_know_how_long_they_took_before_although_the_stage_has_changed(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    told = Told()

    def act(work: Work) -> None:
        work.progress.phase("windowsPE")
        work.progress.phase("ssh")

    run(world, act, told)
    assert [expected for _, expected in told.phases] == [None] * 4
    receipt = world.workspace.receipt("toy", "disk")
    before = read_json(receipt)
    before["timings"] = {"windowsPE": 61.0, "total": 100.0}
    write_json(receipt, before)
    world.values["disk"] = 2
    told.phases.clear()
    run(world, act, told)
    assert told.phases == [("disk", 100.0), ("windowsPE", 61.0), ("ssh", None)]


def test_a_failure_leaves_one_folder_that_is_named_with_its_most_telling_line(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)

    def act(work: Work) -> None:
        (work.evidence / "setuperr.log").write_text("Error: No images are available\n")
        raise PipelineError("toy: not done within 1:00", hint="see the screen")

    with pytest.raises(PipelineError) as raised:
        run(world, act)
    (folder,) = failures(world)
    assert raised.value.evidence == folder
    assert raised.value.message == "toy: not done within 1:00"
    assert str(raised.value).splitlines() == [
        "toy: not done within 1:00",
        "  hint: see the screen",
        "  said: setuperr.log: Error: No images are available",
        f"  evidence: {folder}",
    ]
    note = read_json(folder / "failure.json")
    assert (note["image"], note["stage"]) == ("toy", "disk")
    assert not world.build.folder("disk").exists()
    assert not list(world.workspace.build("toy").glob(".disk*"))


def test_a_line_that_was_said_already_is_not_said_again(tmp_path: Path) -> None:
    world = World(tmp_path)

    def act(work: Work) -> None:
        (work.evidence / "com1.log").write_text("GOLDEN step bootstrap 1/1 x failed\n")
        raise PipelineError("toy: the first logon failed: GOLDEN step bootstrap 1/1 x failed")

    with pytest.raises(PipelineError) as raised:
        run(world, act)
    assert str(raised.value).count("GOLDEN step") == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_wherever_it_shows(tmp_path: Path, code: int) -> None:
    world = World(tmp_path)

    def act(work: Work) -> None:
        (work.evidence / "qemu.log").write_text("x")
        raise OSError(code, "No space left on device", str(work.evidence / "qmp.log"))

    with pytest.raises(PipelineError, match="disk:toy: the host's disk is full") as raised:
        run(world, act)
    assert "free space" in raised.value.hint
    assert raised.value.evidence == failures(world)[0]


def test_a_full_disk_when_the_evidence_is_moved_hides_no_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def act(work: Work) -> None:
        (work.evidence / "qemu.log").write_text("x")
        monkeypatch.setattr(shutil, "move", full)
        raise PipelineError("toy: a step failed")

    with pytest.raises(PipelineError, match="a step failed"):
        run(world, act)
    assert not list(world.workspace.build("toy").glob(".disk*"))


def test_a_second_build_of_an_image_waits_and_says_for_whom(tmp_path: Path) -> None:
    world = World(tmp_path)
    said: list[str] = []
    told = Silent()
    told.event = said.append  # type: ignore[assignment, method-assign]
    threads: list[threading.Thread] = []

    def second() -> None:
        run_stage(world.build, "paper", world.stages, told)

    def act(work: Work) -> None:
        world.values["paper"] = 5  # so that there would be something to do
        threads.append(threading.Thread(target=second))
        threads[0].start()
        wait_until("the second's word", lambda: said, 10)
        assert world.ran == ["paper"]

    run(world, act)
    threads[0].join(10)
    assert said == [said[0]]
    assert re.match(r"waiting: toy is being built by process \d+", said[0])
    assert world.ran == ["paper", "disk", "paper"]


def test_another_error_of_the_system_is_a_bug_and_stays_one(tmp_path: Path) -> None:
    world = World(tmp_path)

    def act(work: Work) -> None:
        raise IsADirectoryError(errno.EISDIR, "Is a directory", "x")

    with pytest.raises(IsADirectoryError):
        run(world, act)


def test_after_a_failure_the_next_run_succeeds(tmp_path: Path) -> None:
    world = World(tmp_path)

    def act(work: Work) -> None:
        raise PipelineError("toy: a step failed")

    with pytest.raises(PipelineError):
        run(world, act)
    run(world, lambda _: None)
    assert world.workspace.receipt("toy", "disk").exists()


def test_two_failures_in_one_second_are_two_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    monkeypatch.setattr("pipeline.stages.runner.time.strftime", lambda *_: "20260101-101112")

    def act(work: Work) -> None:
        (work.evidence / "qemu.log").write_text("x")
        raise PipelineError("toy: a step failed")

    for _ in range(2):
        with pytest.raises(PipelineError):
            run(world, act)
    names = [path.name for path in failures(world)]
    assert names == ["disk-20260101-101112", "disk-20260101-101112-2"]
    assert all((path / "failure.json").exists() for path in failures(world))
