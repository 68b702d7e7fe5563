"""What the first logon says on COM1, and when it ends an install at once."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.stages.install import refuse_failed_bootstrap


def _end(line: str) -> str | None:
    """What the install ends with when this line comes, or nothing when it goes on."""

    async def wait_for(pattern: str, _: float) -> re.Match[str]:
        if found := re.search(pattern, line):
            return found
        raise TimeoutError

    console = SimpleNamespace(wait_for=wait_for)
    machine: Any = SimpleNamespace(console=console, spec=SimpleNamespace(name="win"))
    try:
        asyncio.run(refuse_failed_bootstrap(machine))
    except PipelineError as error:
        return error.message
    except TimeoutError:
        return None
    return "no end"


@pytest.mark.parametrize(
    "line",
    [
        "GOLDEN step bootstrap 1/12 openssh failed",
        "GOLDEN plan bootstrap failed",
        "GOLDEN plan bootstrap failed: not understood",
        "GOLDEN plan bootstrap reboot",  # nobody logs on a second time
    ],
)
def test_these_end_it(line: str) -> None:
    assert _end(line) == f"win: the first logon failed: {line}"


@pytest.mark.parametrize(
    "line",
    [
        "GOLDEN pass oobeSystem",
        "GOLDEN step bootstrap 1/12 openssh changed",
        "GOLDEN step bootstrap 3/12 reboot-late ok",
        "GOLDEN plan bootstrap done",
        "GOLDEN plan provision reboot",
    ],
)
def test_these_do_not(line: str) -> None:
    assert _end(line) is None
