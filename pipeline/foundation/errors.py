"""The one error that users see.

Anything raised as :class:`PipelineError` is a sentence for the user; everything else is a bug in
this project and keeps its traceback. Two boundaries turn it into a clean line: the action wrapper
of the task graph and the command line's ``main``.
"""

from __future__ import annotations

from pathlib import Path


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


class MissingRequirement(PipelineError):
    """The host lacks a program, a package or a permission; exit code 3, as ``doitw`` uses."""

    exit_code = 3
