r"""Windows paths on a Linux file system: ``C:\Windows`` found whatever its case.

Goes in: folders for drive letters. Comes out: real paths; parts that do not exist keep the spelling
they were asked for with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_PATH = re.compile(r"(?:/?([A-Za-z]):)?[\\/]*(.*)", re.DOTALL)
_VARIABLE = re.compile(r"%([^%]+)%")
VARIABLES = {
    "systemdrive": "C:",
    "systemroot": r"C:\Windows",
    "windir": r"C:\Windows",
    "programdata": r"C:\ProgramData",
    "programfiles": r"C:\Program Files",
    "temp": r"C:\Windows\Temp",
}


class NoDrive(Exception):
    """The path names a drive letter that nothing has."""


def _child(folder: Path, name: str) -> Path:
    """The entry of a folder that is called ``name`` in any case."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    found = (entry.name for entry in folder.iterdir() if entry.name.lower() == name.lower())
    return folder / next(found, name)


@dataclass(slots=True)
class Drives:
    """Drive letters and the folders they stand for."""

    letters: dict[str, Path] = field(default_factory=dict)
    current: str = "C"

    def expand(self, text: str) -> str:
        """The text with ``%NAME%`` replaced where Windows has such a variable."""
        return _VARIABLE.sub(lambda m: VARIABLES.get(m[1].lower(), m[0]), text)

    def resolve(self, text: str) -> Path:
        """The real path of a Windows path; ``..`` never leaves the drive."""
        match = _PATH.fullmatch(self.expand(text.strip().strip('"')))
        assert match  # the pattern takes any text
        letter = (match[1] or self.current).upper()
        if letter not in self.letters:
            raise NoDrive(f"The system cannot find the drive specified: {letter}:")
        path, depth = self.letters[letter], 0
        for part in re.split(r"[\\/]+", match[2]):
            if part == "..":
                path, depth = (path.parent, depth - 1) if depth else (path, 0)
            elif part not in ("", "."):
                path, depth = _child(path, part.rstrip(" .") or part), depth + 1
        return path

    def exists(self, text: str) -> bool:
        """Whether the path exists; a drive that is not there has nothing."""
        try:
            return self.resolve(text).exists()
        except NoDrive:
            return False

    def add(self, folder: Path, *, first: str = "D") -> str:
        """Give a volume the first free letter from ``first`` on."""
        letter = next(chr(n) for n in range(ord(first), ord("Z")) if chr(n) not in self.letters)
        self.letters[letter] = folder
        return letter
