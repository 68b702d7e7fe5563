"""No deadline of a machine is measured by a clock that people and NTP set."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.foundation.paths import ROOT

PIPELINE = ROOT / "pipeline"
# Where the wall clock is read, and what for.
WALL = {
    "machine/course.py": "to notice that it jumps",
    "machine/examination.py": "to see whether it can be right",
    "machine/monitor.py": "for the log",
}
LAYERS = ("foundation", "machine", "guest", "stages")


def wall_clocks(path: Path) -> Iterator[int]:
    """Lines that read the wall clock as a number."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in ("time", "time_ns", "now", "utcnow"):
            owner = node.value
            if isinstance(owner, ast.Name) and owner.id in ("time", "datetime"):
                yield node.lineno


@pytest.mark.parametrize("layer", LAYERS)
def test_the_wall_clock_measures_nothing(layer: str) -> None:
    found = {
        path.relative_to(PIPELINE).as_posix()
        for path in (PIPELINE / layer).rglob("*.py")
        if list(wall_clocks(path))
    }
    assert found <= set(WALL), "use time.monotonic, or say in WALL what the date is for"
    assert {name for name in WALL if name.startswith(layer)} <= found


def test_reading_the_wall_clock_would_be_noticed(tmp_path: Path) -> None:
    for number, text in enumerate(("time.time()", "time.time_ns()", "datetime.now()")):
        path = tmp_path / f"{number}.py"
        path.write_text(f"end = {text} + 60\n")
        assert list(wall_clocks(path)) == [1]
    (tmp_path / "good.py").write_text("end = time.monotonic() + 60\n")
    assert not list(wall_clocks(tmp_path / "good.py"))
