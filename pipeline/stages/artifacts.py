"""Artifacts as stages see them: an identity for the ids, and a verified file.

Most are fetched and known by their SHA-256; those of the rehearsal are made here and known by their
recipe, so that an id can be computed on a host that has neither.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.definitions.model import Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress


def identity(pin: Pin) -> str:
    """What stands for the artifact in a stage's inputs."""
    if pin.made:
        from pipeline.rehearsal.recipes import recipe

        return f"recipe:{recipe(pin.made, pin.version)}"
    return f"sha256:{pin.sha256}"


def available(pin: Pin, workspace: Workspace) -> Path | None:
    """The verified file when it is here already; nothing is read or hashed again."""
    if pin.made:
        from pipeline.rehearsal.recipes import made

        return made(pin.made, pin.version, workspace)
    from pipeline.inputs.fetch import verified

    return verified(pin, workspace)


def obtain(pin: Pin, workspace: Workspace, progress: Progress) -> Path:
    """Fetch or make the artifact; returns the verified file."""
    if pin.made:
        from pipeline.rehearsal.medium import make

        return make(pin.made, pin.version, workspace, progress)
    from pipeline.inputs.fetch import fetch

    return fetch(pin, workspace, progress)


def require(pin: Pin, workspace: Workspace) -> Path:
    """The verified file; raises when it has not been fetched."""
    found = available(pin, workspace)
    if found is None:
        raise PipelineError(f"{pin.name} is not here", hint=f"run: ./doitw fetch:{pin.name}")
    return found
