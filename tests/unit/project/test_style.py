"""Linters, types and the numbers the project keeps to."""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path

import pytest

from pipeline.foundation.paths import ROOT
from pipeline.foundation.process import run

SOURCES = sorted((ROOT / "pipeline").rglob("*.py"))
TREES = ["pipeline", "tests", "benchmarks", "dodo.py"]


def tool(*words: str) -> None:
    run([sys.executable, "-m", *words], deadline=300, cwd=ROOT)


def test_ruff_is_silent() -> None:
    tool("ruff", "check", "--quiet", *TREES)


def test_ruff_formatting() -> None:
    tool("ruff", "format", "--check", "--quiet", *TREES)


def test_mypy_strict_is_silent() -> None:
    tool("mypy", "--no-error-summary")


def functions() -> list[tuple[str, int]]:
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(ROOT)}:{node.name}"
                found.append((name, (node.end_lineno or node.lineno) - node.lineno + 1))
    return found


def test_functions_are_short() -> None:
    lengths = sorted(length for _, length in functions())
    assert statistics.median(lengths) <= 10
    assert lengths[int(len(lengths) * 0.9)] <= 30
    assert not [name for name, length in functions() if length > 60]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_fit_on_a_few_screens(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


def test_the_task_graph_reads_as_a_table() -> None:
    assert len((ROOT / "dodo.py").read_text().splitlines()) <= 120
