"""The decision: what runs, what does not, and the reason that is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.definitions.model import Drivers, Image, Release, Settings
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.stages.build import Build, Made, Stage, Work
from pipeline.stages.plan import ABSENT, Decision, State, decide
from pipeline.stages.runner import run_stage


@dataclass(frozen=True)
class ToyStage(Stage):
    """A stage whose work is done by the world."""

    world: Any = None

    def make(self, work: Work) -> Made:
        return self.world.make(work)  # type: ignore[no-any-return]


class World:
    """A graph of four stages over a folder; ``values`` is what goes into each."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root, root / "output", root / "cache")
        image = Image("toy", "Toy", Release.SERVER_2025, "iso", "Edition", Drivers("d"), "w")
        self.build = Build(image, {}, Settings(), self.workspace)
        self.values: dict[str, Any] = {"paper": 1, "disk": 1, "layer": 1, "goods": 1}
        self.ran: list[str] = []
        self.published: set[str] = set()
        self.fail_in = ""
        self.stages = [
            self.stage("paper", products=("paper.txt",)),
            self.stage("disk", stands_on=("paper",)),
            self.stage("layer", stands_on=("disk",)),
            self.stage("goods", stands_on=("layer",), elsewhere=self.elsewhere),
        ]

    def elsewhere(self, _: Build, identifier: str) -> tuple[str, ...]:
        return () if identifier in self.published else ABSENT

    def stage(self, name: str, **more: Any) -> Stage:
        def inputs(build: Build, ids: Mapping[str, str]) -> dict[str, Any]:
            # What stands on a pure stage depends on its bytes: here, on whether the value is odd.
            before = {n: ids[n] for n in more.get("stands_on", ()) if n != "paper"}
            if name == "disk":
                before["paper"] = self.values["paper"] % 2
            return {"value": self.values[name], **before}

        return ToyStage(name=name, title=name, inputs=inputs, world=self, **more)

    def make(self, work: Work) -> Made:
        name = work.folder.name.split(".")[1]
        self.ran.append(name)
        if name == self.fail_in:
            (work.evidence / "com1.log").write_text("the guest's last words")
            raise PipelineError(f"{name} broke")
        file = f"{name}.txt"
        (work.folder / file).write_text(str(self.values[name] % 2))
        if name == "goods":
            self.published.add(work.id)
        return Made((file,))

    def decisions(self) -> dict[str, Decision]:
        return {d.name: d for d in decide(self.build, self.stages)}

    def states(self) -> list[State]:
        return [d.state for d in self.decisions().values()]

    def run(self) -> list[str]:
        self.ran.clear()
        for name, decision in self.decisions().items():
            if decision.state is State.RUN:
                run_stage(self.build, name, self.stages, Silent())
        return list(self.ran)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


EVERYTHING = ["paper", "disk", "layer", "goods"]


def test_the_first_run_does_everything_and_the_second_nothing(world: World) -> None:
    assert world.run() == EVERYTHING
    assert world.run() == []
    assert world.states() == [State.CURRENT] * 4


def test_a_changed_input_runs_its_stage_and_all_after_it(world: World) -> None:
    world.run()
    world.values["layer"] = 2
    assert world.decisions()["layer"].examined.reasons == ("value: 1 → 2",)
    assert world.decisions()["goods"].examined.reasons == ("layer changed",)
    assert world.run() == ["layer", "goods"]


def test_a_pure_stage_that_makes_the_same_bytes_stops_the_chain(world: World) -> None:
    world.run()
    world.values["paper"] = 3
    # The goods are current, so the paper is not even needed; ask for it by way of them.
    assert world.run() == []
    world.published.clear()
    assert world.run() == ["goods"]


def test_a_published_product_is_enough(world: World) -> None:
    world.run()
    import shutil

    shutil.rmtree(world.workspace.output / "build")
    assert world.run() == []
    assert world.states() == [State.SKIP, State.SKIP, State.SKIP, State.CURRENT]


def test_what_was_unpublished_is_published_again_alone(world: World) -> None:
    world.run()
    world.published.clear()
    assert world.decisions()["goods"].examined.reasons == ("its product is not in the catalog",)
    assert world.run() == ["goods"]


def test_a_lost_disk_is_made_again_with_all_that_stands_on_it(world: World) -> None:
    world.run()
    (world.build.folder("disk") / "disk.txt").unlink()
    assert world.run() == []  # nobody needs it
    world.values["layer"] = 2
    assert world.decisions()["disk"].examined.reasons == ("disk.txt is gone",)
    assert world.run() == ["disk", "layer", "goods"]


def test_a_disk_made_anew_invalidates_what_stood_on_the_old_one(world: World) -> None:
    world.run()
    world.build.receipt("disk")
    world.published.clear()
    receipt = world.workspace.receipt("toy", "disk")
    text = receipt.read_text()
    run = world.build.receipt("disk")
    assert run is not None
    receipt.write_text(text.replace(run.run, "another run"))
    assert world.decisions()["layer"].examined.reasons == ("disk was made anew",)
    assert world.run() == ["layer", "goods"]


def test_a_failure_keeps_its_evidence_and_nothing_else(world: World) -> None:
    world.fail_in = "disk"
    with pytest.raises(PipelineError) as caught:
        world.run()
    evidence = caught.value.evidence
    assert evidence is not None
    assert (evidence / "com1.log").read_text() == "the guest's last words"
    assert not world.build.folder("disk").exists()
    assert not list(world.workspace.build("toy").glob(".disk*"))
    world.fail_in = ""
    assert world.run() == ["disk", "layer", "goods"]


def test_a_killed_run_leaves_a_work_folder_that_the_next_one_clears(world: World) -> None:
    left = world.workspace.build("toy") / ".disk.work"
    left.mkdir(parents=True)
    (left / "half-written.qcow2").write_text("x")
    assert world.run() == EVERYTHING
    assert not left.exists()


def test_disk_space_is_asked_for_before_it_is_needed(world: World) -> None:
    world.stages[1] = replace(world.stages[1], disk_part=2.0**30)
    with pytest.raises(PipelineError, match=r"disk:toy needs .* are free"):
        world.run()
    assert world.ran == ["paper"]


def test_a_receipt_that_was_cut_short_counts_as_none(world: World) -> None:
    world.run()
    world.published.clear()
    path = world.workspace.receipt("toy", "layer")
    path.write_text(path.read_text()[:40])
    assert world.decisions()["layer"].examined.reasons == ("never built here",)
