"""A session whose connection breaks: whoever knows why the guest went down is heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.guest.login import GuestUnreachable
from pipeline.stages import session as module


class Machine:
    """A machine that goes down, or does not, when its end is waited for."""

    ssh_port = 1

    def __init__(self, *, goes_down: bool) -> None:
        self.goes_down, self.gone = goes_down, asyncio.Event()

    async def ended(self, _: float) -> bool:
        if self.goes_down:
            self.gone.set()
        return self.goes_down


async def broken(monkeypatch: pytest.MonkeyPatch, *, goes_down: bool) -> None:
    """A session in which a command loses its connection."""
    machine, told = Machine(goes_down=goes_down), list[str]()

    async def notices() -> None:
        await machine.gone.wait()
        raise PipelineError("the guest powered off before its work was done")

    @asynccontextmanager
    async def watched(*_: Any, **__: Any) -> AsyncIterator[Any]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(notices())
            try:
                yield machine, cast(Any, SimpleNamespace(no_login=told.append))
            finally:
                task.cancel()

    @asynccontextmanager
    async def connect(*_: Any, tell: Any) -> AsyncIterator[Any]:
        tell("SSH never answered")
        yield None

    monkeypatch.setattr(module, "watched", watched)
    monkeypatch.setattr(module, "connect", connect)
    access = module.Access("golden", cast(Any, None), None)
    async with module.session(cast(Any, None), cast(Any, None), access, ()):
        assert told == ["SSH never answered"]  # the watch hears what stands in the way
        raise GuestUnreachable("the connection broke during: a command")


@pytest.mark.parametrize(
    ("goes_down", "told"), [(True, "powered off before"), (False, "the connection broke")]
)
def test_a_guest_that_goes_down_is_told_as_that(
    goes_down: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(broken(monkeypatch, goes_down=goes_down))
    assert [told in str(error) for error in caught.value.exceptions] == [True]
