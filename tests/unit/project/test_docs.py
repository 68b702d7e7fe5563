"""What the documents say about the repository is so: links, paths, tests, tasks and commands."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS, main
from pipeline.definitions.loader import load
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.stages.graph import STAGES
from pipeline.stages.tasks import TESTS

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = {path.name for path in ROOT.iterdir()} - {"output"}  # what is produced is not there yet
# An inline text that is a path: words, dots and slashes, with <placeholders> and globs.
PATH = re.compile(r"[\w.<>*{}|$-]+(?:/[\w.<>*{}|$-]*)+")
SOURCE = re.compile(r"[\w-]+\.(?:py|ps1|j2)")
TEST = re.compile(r"((?:tests|benchmarks)/[\w./-]+\.py)::(\w+)")
HARMLESS = {("golden", "plan"), ("golden", "render"), ("golden", "lint"), ("golden", "rehearsal")}
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def blocks(text: str, language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def inline(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", without_blocks(text))


def console(text: str) -> Iterator[list[str]]:
    """The commands of console blocks, as words without their comments."""
    for block in blocks(text, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                yield shlex.split(line[2:], comments=True)


@cache
def task_names() -> frozenset[str]:
    """Every task that ``doit`` has, by the definitions that ship."""
    made = load(Workspace.default(), {})
    stages = [stage.name for stage in STAGES]
    dodo = ast.parse((ROOT / "dodo.py").read_text())
    named = {n.name for n in dodo.body if isinstance(n, ast.FunctionDef)}
    groups = {name.removeprefix("task_") for name in named if name.startswith("task_")}
    assert set(stages) < groups
    return frozenset(
        {*groups, *TESTS, "list"}
        | {f"{group}:{image}" for group in (*stages, "build", "licence") for image in made.images}
        | {f"fetch:{pin}" for pin in made.pins}
    )


@cache
def options(command: str) -> str:
    """What ``golden COMMAND --help`` prints."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        main([command, "--help"])
    return out.getvalue()


def problems_of(words: list[str]) -> Iterator[str]:
    """What is wrong with a command of ours; other programs' commands are none of our business."""
    match words:
        case ["./doitw" | "doit", *tasks]:
            for name in tasks:
                if not name.startswith("-") and name not in task_names() and name.upper() != name:
                    yield f"there is no task {name}"
        case ["golden", *rest] if rest and not rest[0].startswith("-"):
            if rest[0] not in COMMANDS:
                yield f"there is no command golden {rest[0]}"
                return
            named = re.findall(r"--[a-z][a-z-]*", " ".join(rest[1:]))
            yield from (f"golden {rest[0]} has no {x}" for x in named if x not in options(rest[0]))


SAYING_DOIT = re.compile(r"(?<![\w./-])doit (?:build|fetch|list|test|[a-z]+:)")


def test_whoever_is_told_to_run_a_task_is_told_of_the_wrapper() -> None:
    """``doit`` itself is on nobody's PATH; ``./doitw`` is in every checkout."""
    told = {path: path.read_text() for path in [*DOCUMENTS, *(ROOT / "schemas").glob("*.json")]}
    for path in (ROOT / "pipeline").rglob("*.py"):
        constants = (
            n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)
        )
        told[path] = "\n".join(n.value for n in constants if isinstance(n.value, str))
    assert [path for path, text in told.items() if SAYING_DOIT.search(text)] == []


@every_document
def test_relative_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file) if file else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, target


@every_document
def test_paths_of_the_repository_exist(path: Path) -> None:
    for text in inline(path.read_text()):
        name = TEST.sub(r"\1", text).removeprefix("./")
        if PATH.fullmatch(name) and name.split("/")[0] in TOP:
            pattern = re.sub(r"<[^>]*>", "*", name).rstrip("/")
            assert list(ROOT.glob(pattern)), text
        elif SOURCE.fullmatch(name):
            found = [p for p in ROOT.rglob(name) if p.relative_to(ROOT).parts[0] != ".venv"]
            assert found, text


@cache
def functions_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@every_document
def test_tests_that_are_named_exist(path: Path) -> None:
    for file, name in TEST.findall(path.read_text()):
        assert name in functions_in(file), f"{file}::{name}"


@every_document
def test_commands_of_ours_exist(path: Path) -> None:
    text = path.read_text()
    commands = [*console(text), *(words.split() for words in inline(text))]
    assert [problem for words in commands for problem in problems_of(words)] == []


def test_a_wrong_command_would_be_noticed() -> None:
    assert list(problems_of(["./doitw", "biuld:rehearsal"]))
    assert list(problems_of(["golden", "paln", "x"]))
    assert list(problems_of(["golden", "plan", "--colour"]))
    assert not list(problems_of(["golden", "plan", "--json", "rehearsal"]))
    assert not list(problems_of(["./doitw", "-n", "build:windows-11"]))


def harmless() -> list[tuple[str, ...]]:
    """Commands in the documents that read, or write only where they are told."""
    found = {
        tuple(words)
        for path in DOCUMENTS
        for words in console(path.read_text())
        if tuple(words[:2]) in HARMLESS
    }
    return sorted(found | {("golden", "rehearsal", "faults"), ("golden", "--help")})


@pytest.mark.parametrize("words", harmless(), ids=" ".join)
def test_harmless_commands_do_what_they_say(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if words[1:3] == ("rehearsal", "iso"):
        pytest.skip("makes a medium")
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GOLDEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    if "--help" in words:
        with pytest.raises(SystemExit, match=r"^0$"):
            main(words[1:])
        return
    assert main(words[1:]) == 0, capsys.readouterr().err


def test_what_hints_tell_to_run_exists() -> None:
    groups = {name.split(":")[0] for name in task_names()}
    checked = 0
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.keyword) and node.arg == "hint"):
                continue
            text = ast.unparse(node.value)
            commands = re.findall(r"\bgolden ([a-z]+)\b", text)
            tasks = re.findall(r"\bdoit ([a-z]+)", text)
            assert set(commands) <= set(COMMANDS), f"{path.name}: {text}"
            assert set(tasks) <= groups, f"{path.name}: {text}"
            checked += len(commands) + len(tasks)
    assert checked >= 3


@every_document
def test_nothing_of_the_authors_machines_is_told(path: Path) -> None:
    places = r"(?<![\w.])/(?:home|root|work|mnt|Users|tmp)/|\blocalhost:\d|file://"
    assert re.findall(places, path.read_text()) == []


@every_document
def test_every_document_is_reachable_from_the_readme(path: Path) -> None:
    linked = set()
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+\.md)\)", document.read_text()):
            linked.add((document.parent / target).resolve())
    assert path.name == "README.md" or path in linked
