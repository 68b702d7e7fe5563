"""doit, with one stage that does not end, or with a clock that somebody sets.

The first, so that a signal hits also what takes milliseconds.

``CHAOS_HOLD`` names where: ``<stage>`` when its work is done and nothing is committed (of publish:
when the disk is compressed), ``appear`` between a version's rename and its line in the catalog. Run
as a program, with doit's arguments. ``CHAOS_CLOCK`` names a file with the seconds by which the
clock is wrong now, as a program sees it whose host's clock was set: only the time that never jumps
stays.
"""

from __future__ import annotations

import datetime
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

HELD = "held here"


def hold() -> None:
    """Say so, then wait for a signal."""
    print(f"\n{HELD}", flush=True)
    while True:
        time.sleep(60)


def jump(offset: Path) -> None:
    """Let the clock go wrong by what ``offset`` says from moment to moment."""
    true, utc, local, form = time.time, time.gmtime, time.localtime, time.strftime

    def now() -> float:
        return true() + float(offset.read_text())

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Jumping:
            return cls.fromtimestamp(now(), tz)

    changed: Any = time
    changed.time = now
    changed.gmtime = lambda seconds=None: utc(now() if seconds is None else seconds)
    changed.localtime = lambda seconds=None: local(now() if seconds is None else seconds)
    changed.strftime = lambda text, when=None: form(text, local(now()) if when is None else when)
    datetime.datetime = Jumping  # type: ignore[misc]


def arrange(where: str) -> None:
    """Make the pipeline stop at ``where``."""
    from pipeline.publishing import catalog
    from pipeline.stages import publish as stage
    from pipeline.stages.build import Made, Stage, Work

    publish: Any = stage  # whose own name for it is to be replaced
    make, add, complete = Stage.make, catalog.add, publish.complete

    def held_make(self: Stage, work: Work) -> Made:
        made = make(self, work)
        if self.name == where:
            hold()
        return made

    def held_complete(*args: Any, **named: Any) -> None:
        if where == "publish":
            hold()
        complete(*args, **named)

    def held_add(*args: Any, **named: Any) -> None:
        if where == "appear":
            hold()
        add(*args, **named)

    Stage.make, catalog.add = held_make, held_add  # type: ignore[method-assign]
    publish.complete = held_complete


if __name__ == "__main__":
    here = str(Path(__file__).parent)
    sys.path[:] = [folder for folder in sys.path if folder != here]
    if clock := os.environ.get("CHAOS_CLOCK"):
        jump(Path(clock))
    arrange(os.environ.get("CHAOS_HOLD", ""))
    runpy.run_module("doit", run_name="__main__", alter_sys=True)
