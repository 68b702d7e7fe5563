"""What a supervisor tells while it starts an instance, and how whoever waits hears it.

Each line of ``log/progress.jsonl`` is one call of the :class:`Progress` interface; :class:`Relay`
makes the same calls on the waiting side. The words also go to stdout: the supervisor's log.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from pipeline.foundation.progress import Progress
from pipeline.instances import instance as records

UPDATE_EVERY = 1.0


def path_of(log: Path) -> Path:
    """The journal in a log folder."""
    return log / "progress.jsonl"


class Journal:
    """Progress into a journal; :meth:`quiet` ends the details, which nobody waits for any more."""

    def __init__(self, log: Path) -> None:
        self._path = path_of(log)
        self._next = 0.0
        self._quiet = False

    def quiet(self) -> None:
        """From now on only phases and events are told."""
        self._quiet = True

    def _say(self, what: str, text: str, expected: float | None = None) -> None:
        line = json.dumps({"what": what, "text": text, "expected": expected})
        with self._path.open("a") as stream:
            stream.write(line + "\n")

    def _print(self, text: str) -> None:
        print(f"{records.now()} {text}", flush=True)

    def phase(self, name: str, expected: float | None = None) -> None:
        """See :class:`Progress`."""
        self._print(f"phase {name}")
        self._say("phase", name, expected)

    def update(self, detail: str) -> None:
        """See :class:`Progress`."""
        if not self._quiet and time.monotonic() >= self._next:
            self._next = time.monotonic() + UPDATE_EVERY
            self._say("update", detail)

    def event(self, text: str) -> None:
        """See :class:`Progress`."""
        self._print(text)
        self._say("event", text)

    def done(self, text: str = "") -> None:
        """See :class:`Progress`."""
        self._print(text)


class Relay:
    """Tells a journal's lines to another progress, each one once."""

    def __init__(self, log: Path, progress: Progress) -> None:
        self._path = path_of(log)
        self._progress = progress
        self._at = 0

    def skip(self) -> None:
        """Tell nothing of what there is already."""
        if self._path.exists():
            self._at = self._path.stat().st_size

    def poll(self) -> None:
        """Tell what is new; a line that is not complete yet waits."""
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._at)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._at += len(line)
                self._tell(json.loads(line))

    def _tell(self, said: dict[str, str]) -> None:
        if said["what"] == "phase":
            expected = said["expected"]
            self._progress.phase(said["text"], float(expected) if expected else None)
        elif said["what"] == "event":
            self._progress.event(said["text"])
        else:
            self._progress.update(said["text"])
