"""The glue to doit: decisions become tasks, errors become one clean line.

Goes in: definitions and receipts. Comes out: task dictionaries. A task's targets and file
dependencies are receipts and other small files, never a disk image.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doit.exceptions import TaskFailed
from doit.tools import config_changed

from pipeline.definitions.loader import load
from pipeline.definitions.model import Definitions, Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace, shown
from pipeline.foundation.process import die_with_parent, run_shown
from pipeline.foundation.progress import close_all, reporter
from pipeline.publishing import catalog
from pipeline.stages import artifacts, layers, shelves, tonight
from pipeline.stages.build import SAID, Build
from pipeline.stages.graph import STAGES
from pipeline.stages.plan import Decision, State, decide
from pipeline.stages.runner import obtain_stage, run_stage
from pipeline.stages.signals import stop_on_signals

Task = dict[str, Any]
Tasks = Iterator[Task]
Needs = dict[str, list[str]]
"""Dependencies of a task, as doit takes them from another one that calculates them."""
UNCAPTURED = {"capture": False}
# Machines are booted one after another; everything else runs side by side, a module at a time, as
# the tests of a module share what was run for them.
SIDE_BY_SIDE = ("--numprocesses=auto", "--dist=loadscope")
# Each suite is one or more runs of pytest; what fails fast comes first.
TESTS = {
    "test": (
        (*SIDE_BY_SIDE, "tests/unit", "tests/powershell"),
        ("tests/integration",),
    ),
    "test-unit": ((*SIDE_BY_SIDE, "tests/unit"),),
}


def _told(error: PipelineError) -> TaskFailed:
    """For doit to print; and into a file, when whoever started doit asked for that."""
    if file := os.environ.get(SAID):
        with Path(file).open("a") as said:
            said.write(f"{error}\n")
    return TaskFailed(str(error))


def _clean_line(action: str, /, **arguments: str) -> TaskFailed | Needs | None:
    """Run one action; what the user can act upon becomes a failure without a traceback.

    A top-level function with plain arguments: with ``-n`` doit sends it to other processes.
    """
    if multiprocessing.parent_process() is not None:
        die_with_parent()
    try:
        return ACTIONS[action](**arguments)
    except PipelineError as error:
        return _told(error)
    finally:
        close_all()


def _fetch(pin: str) -> None:
    graph = Graph.load()
    artifacts.obtain(graph.definitions.pins[pin], graph.workspace, reporter(f"fetch:{pin}"))


def _licence(image: str) -> None:
    graph = Graph.load()
    for pin in graph.build(image).used_pins:
        if pin.warning:
            print(f"warning: {image} uses {pin.name}: {pin.warning}", file=sys.stderr)
    if not graph.definitions.images[image].rehearsal and not graph.definitions.settings.accept_eula:
        raise PipelineError(
            f"{image} contains Windows: its licence terms have to be accepted once",
            hint="read https://www.microsoft.com/useterms, then put `accept_eula: true` into "
            "golden.yaml or set GOLDEN_ACCEPT_EULA=1; `./doitw build:rehearsal` needs no licence",
        )


def _stage(image: str, stage: str) -> None:
    build = Graph.load().build(image)
    tonight.begin(build)
    run_stage(build, stage, STAGES, reporter(f"{stage}:{image}"))


def _needs(image: str, stage: str) -> Needs:
    """What a stage depends on: nothing, when its product came from the layers that hosts share.

    Only at that moment is it known, so doit calculates it as a task of its own.
    """
    graph = Graph.load()
    progress = reporter(f"{stage}:{image}")
    there = obtain_stage(graph.build(image), stage, STAGES, progress)
    return {} if there else graph.needs(image, stage)


def _built(image: str) -> None:
    """Bring what is published now where it belongs and say where that is, whoever built it."""
    graph = Graph.load()
    build = graph.build(image)
    _told_where(build, graph.decisions[image]["publish"].examined.id)
    tonight.end(build)


def _told_where(build: Build, identifier: str) -> None:
    image, workspace = build.image.name, build.workspace
    here = catalog.find(workspace.catalog, image, identifier)
    if here is not None and catalog.present(workspace.published, here):
        _fill_stores(build, here)
        print(f"{image}: {shown(workspace.published / image / here.version / here.disk)}")
        return
    for place in build.settings.stores:
        if entry := shelves.find(place, workspace, image, identifier):
            print(f"{image}: version {entry.version} in {place}")
            return


def _fill_stores(build: Build, entry: catalog.Entry) -> None:
    """Bring the version to stores of the settings that lack it: one failed, or was added since.

    One that was withdrawn in any of them, by whomever, is offered to no other.
    """
    from pipeline.publishing.stores.push import Publisher, filled_from_here, push_all

    shelves.forget()  # publishing has just been there
    image, workspace, stores = build.image, build.workspace, build.settings.stores
    progress = reporter(f"publish:{image.name}")
    there = {p: shelves.stocked(p, workspace).find(image.name, entry.version) for p in stores}
    if withdrawn := [place for place, found in there.items() if found and found.yanked]:
        progress.event(
            f"{image.name} {entry.version} was withdrawn in {', '.join(withdrawn)}, and is offered "
            f"to no store; golden yank {image.name} {entry.version} withdraws it here, too"
        )
    elif any(there[place] is None for place in filled_from_here(build.settings)):
        push_all(image, entry, Publisher.of(workspace, build.settings), progress)


def _undecided(said: str, hint: str) -> None:
    """A stage of an image of which nobody could say whether it has to be built."""
    raise PipelineError(said, hint=hint)


def _pytest(name: str) -> None:
    """Every run of a suite, also after one that failed; then the first failure."""
    failures = []
    for words in TESTS[name]:
        try:
            run_shown([sys.executable, "-m", "pytest", *words], cwd=Workspace.default().root)
        except PipelineError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def _shown(module: str) -> None:
    run_shown([sys.executable, "-m", module], cwd=Workspace.default().root)


ACTIONS: dict[str, Callable[..., Needs | None]] = {
    "fetch": _fetch,
    "licence": _licence,
    "stage": _stage,
    "needs": _needs,
    "built": _built,
    "undecided": _undecided,
    "pytest": _pytest,
    "shown": _shown,
}


def action(name: str, /, **arguments: str) -> tuple[Any, list[str], dict[str, str]]:
    """A doit action that survives being sent to another process."""
    return (_clean_line, [name], arguments)


@dataclass(frozen=True)
class Graph:
    """All tasks, from the definitions of one checkout."""

    definitions: Definitions
    workspace: Workspace

    @classmethod
    @functools.cache
    def load(cls) -> Graph:
        """Read the definitions; problems in them end the program with a list, not a traceback."""
        workspace = Workspace.default()
        workspace.output.mkdir(parents=True, exist_ok=True)
        stop_on_signals()
        try:
            return cls(load(workspace), workspace)
        except PipelineError as error:
            print(error, file=sys.stderr)
            raise SystemExit(2) from None

    @property
    def database(self) -> str:
        """Where doit remembers; its loss costs milliseconds, as receipts decide."""
        return os.fspath(self.workspace.output / ".doit.db")

    def build(self, image: str) -> Build:
        """The build of one image."""
        return Build.of(image, self.definitions, self.workspace)

    @functools.cached_property
    def _decided(self) -> Mapping[str, Mapping[str, Decision] | PipelineError]:
        found: dict[str, Mapping[str, Decision] | PipelineError] = {}
        for image in self.definitions.images:
            try:
                found[image] = {d.name: d for d in decide(self.build(image), STAGES)}
            except PipelineError as error:
                found[image] = error
        return found

    @property
    def decisions(self) -> Mapping[str, Mapping[str, Decision]]:
        """What becomes of every stage, by image and stage; without the images of ``undecided``."""
        return {i: d for i, d in self._decided.items() if not isinstance(d, PipelineError)}

    @property
    def undecided(self) -> Mapping[str, PipelineError]:
        """Why it can't be said of an image what has to be built: a store that does not answer.

        Its stages fail when they are wanted. Nothing else does, and nothing is built anew only
        because the network hiccuped.
        """
        return {i: e for i, e in self._decided.items() if isinstance(e, PipelineError)}

    def fetch_tasks(self) -> Iterator[Task]:
        """One task per artifact."""
        for name, pin in self.definitions.pins.items():
            yield {
                "name": name,
                "actions": [action("fetch", pin=name)],
                "uptodate": [
                    artifacts.available(pin, self.workspace) is not None,
                    config_changed(artifacts.identity(pin)),
                ],
                "targets": [] if pin.made else [self._receipt_of(pin)],
                "io": UNCAPTURED,
            }

    def licence_tasks(self) -> Iterator[Task]:
        """One task per image, before anything is downloaded for it."""
        for image in self.definitions.images:
            yield {"name": image, "actions": [action("licence", image=image)]}

    def stage_tasks(self, stage: str) -> Iterator[Task]:
        """One task per image for this stage."""
        for image in self.definitions.images:
            yield {"name": image, "io": UNCAPTURED, **self._stage_task(image, stage)}

    def layer_tasks(self) -> Iterator[Task]:
        """One task per stage that would run and whose product other hosts may have made."""
        for image, decisions in self.decisions.items():
            for stage, decision in decisions.items():
                if decision.state is State.RUN and layers.place(self.build(image), stage):
                    yield {
                        "name": f"{stage}:{image}",
                        "actions": [action("needs", image=image, stage=stage)],
                        "io": UNCAPTURED,
                    }

    def needs(self, image: str, name: str) -> Needs:
        """The dependencies of a stage that runs."""
        stage = self.decisions[image][name].examined.stage
        before = [*stage.stands_on, *stage.after]
        fetches = [f"fetch:{pin}" for pin in stage.artifacts(self.build(image))]
        return {
            "file_dep": [shown(path) for path in self._files(image, before)],
            "task_dep": [f"licence:{image}", *fetches, *(f"{n}:{image}" for n in before)],
        }

    def build_tasks(self) -> Iterator[Task]:
        """``build`` for the images of the settings, ``build:NAME`` for one."""
        for image in self.definitions.images:
            yield {
                "basename": f"build:{image}",
                "actions": [action("built", image=image)],
                "task_dep": [f"publish:{image}"],
                "doc": self.definitions.images[image].title,
            }
        chosen = self.definitions.settings.build
        yield {
            "basename": "build",
            "actions": None,
            "task_dep": [f"build:{image}" for image in chosen],
            "doc": f"Build the images that the settings name: {', '.join(chosen)}",
        }

    def test_tasks(self) -> Iterator[Task]:
        """The test suites, through pytest."""
        for name in TESTS:
            yield {"basename": name, "actions": [action("pytest", name=name)], "io": UNCAPTURED}

    def shown_task(self, name: str, module: str) -> Iterator[Task]:
        """A module of the tests that shows something at length."""
        yield {"basename": name, "actions": [action("shown", module=module)], "io": UNCAPTURED}

    def _stage_task(self, image: str, name: str) -> Task:
        if error := self.undecided.get(image):
            return {"actions": [action("undecided", said=error.message, hint=error.hint)]}
        build, decision = self.build(image), self.decisions[image][name]
        stage = decision.examined.stage
        if decision.state is not State.RUN:  # receipts decide, also when doit has forgotten
            before = (*stage.stands_on, *stage.after)
            return {"actions": None, "task_dep": [f"{n}:{image}" for n in before]}
        made = {self.workspace.receipt(image, name), *stage.files(build)}
        shared = {"calc_dep": [f"layer:{name}:{image}"], "task_dep": [f"licence:{image}"]}
        return {
            "actions": [action("stage", image=image, stage=name)],
            "targets": sorted(shown(path) for path in made),
            "uptodate": [False],
            **(shared if layers.place(build, name) else self.needs(image, name)),
        }

    def _files(self, image: str, before: list[str]) -> Iterator[Path]:
        """The small files that a stage depends on: receipts, or the very bytes of a pure stage."""
        for name in before:
            decision = self.decisions[image][name]
            receipt = self.workspace.receipt(image, name)
            if decision.state is State.RUN or (
                decision.state is State.CURRENT and receipt.exists()
            ):
                yield from decision.examined.stage.files(self.build(image))

    def _receipt_of(self, pin: Pin) -> str:
        return shown(self.workspace.fetch_receipt(pin.name))
