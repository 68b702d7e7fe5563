"""Programs that tests need: where one is missing the test is skipped, in CI it fails."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pytest

from pipeline.foundation.errors import MissingRequirement
from pipeline.foundation.process import find_program

P = ParamSpec("P")
T = TypeVar("T")


def require(*programs: str) -> None:
    """Skip the running test unless all ``programs`` are installed; fail it where ``CI`` is true."""
    missing = [program for program in programs if not _installed(program)]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def needs(*programs: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """:func:`require` as a decorator of a test or a fixture."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            require(*programs)
            return function(*args, **kwargs)

        return wrapper

    return decorate


def _installed(program: str) -> bool:
    try:
        find_program(program)
    except MissingRequirement:
        return False
    return True
