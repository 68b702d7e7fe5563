"""The tests' own rule about missing programs: a skip with one clear line, in CI a failure."""

from __future__ import annotations

import pytest

from tests.tools import needs, require


def test_a_program_that_is_there_is_no_reason_to_skip() -> None:
    require("sh")


def test_a_missing_program_skips_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^not installed: no-such-program$"):
        require("sh", "no-such-program")


def test_in_ci_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    @needs("no-such-program")
    def test() -> None:
        raise AssertionError("ran")

    with pytest.raises(pytest.fail.Exception, match="not installed: no-such-program"):
        test()


def test_the_decorator_keeps_the_arguments_that_fixtures_need() -> None:
    @needs("sh")
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert add(1) == 3
    assert add.__name__ == "add"
