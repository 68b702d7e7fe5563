"""The one error that users see.

Anything raised as :class:`PipelineError` is a sentence for the user; everything else is a bug in
this project and keeps its traceback. Two boundaries turn it into a clean line: the action wrapper
of the task graph and the command line's ``main``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

# What to do about what the system refuses, by its number.
_NEXT: Mapping[int, str] = {
    errno.ENOSPC: "free some space, or point GOLDEN_OUTPUT and GOLDEN_CACHE at a larger disk",
    errno.EDQUOT: "free some of this user's space, or set GOLDEN_OUTPUT and GOLDEN_CACHE elsewhere",
    errno.EACCES: "see who owns it, and as whom this runs (docs/nightly.md: a build host's user)",
    errno.EPERM: "see who owns it and who may change it",
    errno.EROFS: "choose a place that can be written to (GOLDEN_OUTPUT, GOLDEN_CACHE)",
    errno.ENOENT: "check the spelling of the path, and whether its folder is there",
    errno.ENOTDIR: "check the path: something in it is a file and no folder",
    errno.EISDIR: "name a file; that is a folder",
}


class PipelineError(Exception):
    """Something went wrong that the user can understand and act upon.

    ``message`` is one sentence naming the file, artifact, image or phase; ``hint`` says what to do
    next; ``evidence`` is the folder or file that holds the details.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", evidence: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.evidence = evidence

    def __str__(self) -> str:
        lines = [self.message]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        if self.evidence:
            lines.append(f"  evidence: {self.evidence}")
        return "\n".join(lines)


class WrongUse(PipelineError):
    """What was asked for can't be meant: an unknown name, a bad option, broken definitions."""

    exit_code = 2


class MissingRequirement(PipelineError):
    """The host lacks a program, a package or a permission; exit code 3, as ``doitw`` uses."""

    exit_code = 3


def refused(error: OSError) -> PipelineError:
    """What the operating system refused, as a sentence: the file, why, and what to do."""
    given = [name for name in (error.filename, error.filename2) if name is not None]
    what = " -> ".join(
        n.decode(errors="replace") if isinstance(n, bytes) else str(n) for n in given
    )
    why = error.strerror or os.strerror(error.errno or 0)
    return PipelineError(f"{what}: {why}" if what else why, hint=_NEXT.get(error.errno or 0, ""))
