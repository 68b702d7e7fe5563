"""The most telling faults of the chaos suite, in one room; all of them: ``./doitw chaos``.

What each must show is asserted by the suite itself: the sentence, nothing left behind, and a next
run that succeeds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import suite
from tests.chaos.case import Row

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

TELLING = (
    "ctrl-c-twice@install",
    "qemu-missing@install",
    "sigkill@install",  # leaves its sockets' folder to the next machine: one must come after it
    "qemu-killed@install",
    "no-storage-driver@install",
    "wrong-payload-hash@install",
)


def test_the_most_telling_faults(tmp_path: Path) -> None:
    every = {case.key: case for case in suite.cases()}
    rows: list[Row] = suite.play([every[key] for key in TELLING], tmp_path, print)
    assert [row.wrong for row in rows if not row.good] == []
    assert [row.key for row in rows] == list(TELLING)
