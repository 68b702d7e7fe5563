"""Whatever a store does: nothing is written outside the cache, and the exit code tells which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.foundation.paths import ROOT
from pipeline.publishing.refusals import EXIT_CODES
from tests import hostile
from tests.hostile import CASES, VERSION, World

EVERYTHING = sorted(
    f"toy/{VERSION}/{name}"
    for name in ("SHA256SUMS", "SHA256SUMS.sig", "disk.qcow2", "manifest.json", "report.html")
)


@pytest.mark.parametrize(
    ("case", "code"), CASES.items(), ids=lambda value: getattr(value, "__name__", str(value))
)
def test_a_hostile_store(case: Callable[[World], None], code: int, tmp_path: Path) -> None:
    row = hostile.run(case, tmp_path / "world")
    assert row.code == code, row.sentence
    assert row.outside == 0
    assert row.pulled == (EVERYTHING if code == 0 else [])
    assert bool(row.sentence) == (code != 0)


def test_the_codes_tell_the_failures_apart() -> None:
    assert set(CASES.values()) <= set(EXIT_CODES)
    assert {20, 21, 22, 23, 25, 26, 27, 28, 29, 30} <= set(CASES.values())


def test_the_document_tells_every_code_and_every_case() -> None:
    """That its sentences are today's: ``python -m tests.hostile_table --check``."""
    rows = [
        tuple(cell.strip() for cell in line.split("|")[1:-1])
        for line in (ROOT / "docs" / "pulling.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    codes = {(row[0], row[1]) for row in rows if len(row) == 2 and row[0].isdecimal()}
    assert codes == {(str(code), text) for code, text in EXIT_CODES.items()}
    told = {(row[0], row[1], row[3]) for row in rows if len(row) == 4 and row[1].isdecimal()}
    assert told == {(case.__doc__, str(code), "0") for case, code in CASES.items()}


def test_a_write_outside_would_be_noticed(tmp_path: Path) -> None:
    def leak(world: World) -> None:
        """writes beside the cache while it is pulled from"""
        honest = world.shop.root / "index.json"

        def reply(handler: hostile.Handler) -> None:
            (world.base / "home" / "leak").write_bytes(b"12345")
            handler.answer(honest.read_bytes())

        world.shop.replies["/index.json"] = reply

    assert hostile.run(leak, tmp_path / "world").outside == 5
