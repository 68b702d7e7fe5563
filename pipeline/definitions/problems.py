"""What is wrong in the definitions: collected as values, raised once, sorted by place.

Goes in: places, paths of keys and sentences. Comes out: one :class:`DefinitionError` whose lines an
editor or a terminal can jump to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.foundation.errors import WrongUse

SHOWN = 60


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file; line 0 means the file as a whole (or a variable of the environment)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong; ``path`` names the key (``machine.disk``), or is empty."""

    place: Place
    path: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.place), self.path, self.text) if part)


class DefinitionError(WrongUse):
    """All problems of all definitions, one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        count, files = len(self.problems), len({problem.place.file for problem in self.problems})
        summary = f"{_counted(count, 'problem')} in {_counted(files, 'file')}; nothing was run"
        super().__init__("\n".join(str(problem) for problem in self.problems), hint=summary)


class Problems(list[Problem]):
    """The problems found so far."""

    def add(self, place: Place, path: str, text: str) -> None:
        """Note one more."""
        self.append(Problem(place, path, text))


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def quoted(text: str) -> str:
    """The text in quotes, on one line and not too long."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    return f'"{flat}"' if len(flat) <= SHOWN else f'"{flat[:SHOWN]}…"'


def listed(names: Iterable[str]) -> str:
    """The names in quotes, separated by commas."""
    return ", ".join(quoted(name) for name in names) or "none"


def near_miss(found: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` when one of the known names is close, else nothing."""
    from difflib import get_close_matches  # only needed when something is wrong

    lower = {name.lower(): name for name in known}
    near = get_close_matches(found.lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean {quoted(lower[near[0]])}?" if near else ""


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` for a near miss, else the names that there are."""
    names = list(known)
    return near_miss(found, names) or f"; known: {listed(names)}"
