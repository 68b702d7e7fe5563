"""The table of tasks: what doit gets from the shipped definitions; nothing is run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.definitions.loader import load
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.stages import shelves, tasks
from pipeline.stages.graph import STAGES
from pipeline.stages.tasks import Graph


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    workspace = Workspace(ROOT, tmp_path / "output", tmp_path / "cache")
    return Graph(load(workspace, {}), workspace)


def by_name(made: tasks.Tasks) -> dict[str, tasks.Task]:
    return {task.get("name") or task["basename"]: task for task in made}


def test_every_image_has_every_stage(graph: Graph) -> None:
    for stage in STAGES:
        assert set(by_name(graph.stage_tasks(stage.name))) == set(graph.definitions.images)


def test_the_licence_is_asked_for_before_anything_is_fetched(graph: Graph) -> None:
    media = by_name(graph.stage_tasks("media"))["windows-server-2025"]
    assert media["task_dep"][:2] == ["licence:windows-server-2025", "fetch:windows-server-2025"]


def test_targets_and_file_dependencies_are_small_files(graph: Graph) -> None:
    for stage in STAGES:
        task = by_name(graph.stage_tasks(stage.name))["rehearsal"]
        for path in (*task["targets"], *task["file_dep"]):
            assert path.endswith((".json", ".xml")), path


def test_build_means_the_images_of_the_settings(graph: Graph) -> None:
    built = by_name(graph.build_tasks())
    assert built["build"]["task_dep"] == ["build:windows-server-2025"]
    assert built["build:rehearsal"]["task_dep"] == ["publish:rehearsal"]


def test_an_action_turns_an_error_into_one_clean_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: str) -> None:
        raise PipelineError(f"{image} broke", hint="do this")

    monkeypatch.setitem(tasks.ACTIONS, "licence", fail)
    function, arguments, named = tasks.action("licence", image="toy")
    result = function(*arguments, **named)
    assert str(result.get_msg()).splitlines()[:2] == ["toy broke", "  hint: do this"]


def test_a_pin_with_known_holes_is_named_before_anything_is_fetched(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = replace(graph.definitions.images["windows-11"], winfsp="winfsp-2.1")
    definitions = replace(graph.definitions, images={"windows-11": image})
    monkeypatch.setattr(Graph, "load", lambda: Graph(definitions, graph.workspace))
    with pytest.raises(PipelineError, match="licence terms"):
        tasks.ACTIONS["licence"]("windows-11")
    assert "CVE-2026-3006" in capsys.readouterr().err


def test_a_rebuild_that_is_asked_for_begins_with_a_stage_and_ends_with_the_build(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = Graph(replace(graph.definitions, rebuild=("rehearsal",)), graph.workspace)
    asked = graph.workspace.asked("rehearsal")
    seen: list[bool] = []
    monkeypatch.setattr(Graph, "load", lambda: asking)
    monkeypatch.setattr(tasks, "run_stage", lambda *_: seen.append(asked.exists()))
    tasks.ACTIONS["stage"](image="rehearsal", stage="media")
    assert seen == [True]
    assert set(by_name(asking.stage_tasks("media"))["rehearsal"]) >= {"actions"}
    assert asked.exists()
    tasks.ACTIONS["built"](image="rehearsal")
    assert not asked.exists()


def test_a_store_that_does_not_answer_fails_what_asks_it_and_nothing_else(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def silent(place: str, _: Workspace) -> None:
        asked.append(place)
        raise PipelineError("connection refused")

    monkeypatch.setattr(shelves, "_remote", silent)
    settings = replace(graph.definitions.settings, stores=("https://store.example/x",))
    dead = Graph(replace(graph.definitions, settings=settings), graph.workspace)
    monkeypatch.setattr(Graph, "load", lambda: dead)
    for stage in STAGES:
        assert set(by_name(dead.stage_tasks(stage.name))) == set(dead.definitions.images)
    assert list(dead.layer_tasks()) == []
    assert by_name(dead.build_tasks())["build:rehearsal"]["task_dep"] == ["publish:rehearsal"]
    assert len(asked) == 1, "not once an image"
    (function, arguments, named) = by_name(dead.stage_tasks("publish"))["rehearsal"]["actions"][0]
    said = str(function(*arguments, **named).get_msg())
    assert "store.example/x does not say what is published there: connection refused" in said
    assert "GOLDEN_STORES=none" in said
    shelves.forget()
    with pytest.raises(PipelineError, match="does not say"):
        shelves.known(dead.build("rehearsal"))
    assert len(asked) == 2


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.ACTIONS, "licence", lambda image: {}[image])
    function, arguments, named = tasks.action("licence", image="toy")
    with pytest.raises(KeyError):
        function(*arguments, **named)


def test_broken_definitions_end_in_a_list_and_exit_code_2(tmp_path: Path) -> None:
    for name in ("images", "checksums"):
        (tmp_path / name).mkdir()
    (tmp_path / "images" / "toy.yaml").write_text("titel: Toy\n")
    code = (
        "from pathlib import Path; from pipeline.foundation import paths; "
        f"paths.ROOT = Path({str(tmp_path)!r}); "
        "from pipeline.stages.tasks import Graph; Graph.load()"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert "images/toy.yaml:1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_suite_runs_to_its_end_and_fails_when_a_part_did(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def run_shown(words: list[str], **_: object) -> None:
        ran.append(words[3:])
        if "tests/unit" in words:
            raise PipelineError("unit tests failed")

    monkeypatch.setattr(tasks, "run_shown", run_shown)
    with pytest.raises(PipelineError, match="unit tests failed"):
        tasks.ACTIONS["pytest"](name="test")
    assert [words[-1] for words in ran] == ["tests/powershell", "tests/integration"]
    # Machines that are booted side by side would starve one another.
    assert [any("--numprocesses" in word for word in words) for words in ran] == [True, False]
