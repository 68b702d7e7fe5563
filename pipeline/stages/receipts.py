"""Receipts: what a stage was given and what it made.

A receipt is a small JSON file, written last and by rename: where it lies, the stage's outputs are
complete. ``id`` stands for the inputs, ``run`` for this very product: a stage built on another
remembers the other's ``run``, so that a disk made anew invalidates what was stacked on the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.foundation.files import canonical_json, read_json, sha256_bytes, write_json

Inputs = Mapping[str, Any]


def stage_id(inputs: Inputs) -> str:
    """The SHA-256 over the canonical JSON of everything that goes in."""
    return sha256_bytes(canonical_json(inputs))


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a stage made; ``path`` is relative to the stage's folder."""

    path: str
    size: int
    sha256: str

    def lies_in(self, folder: Path) -> bool:
        """Whether the file is there in its full size (what was renamed in is trusted)."""
        try:
            return (folder / self.path).stat().st_size == self.size
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Receipt:
    """The record of one finished stage."""

    stage: str
    id: str
    run: str
    inputs: Inputs
    outputs: tuple[Output, ...] = ()
    parents: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    finished_at: str = ""

    def save(self, path: Path) -> None:
        """Write the receipt; only now is the stage done."""
        outputs = [{"path": o.path, "size": o.size, "sha256": o.sha256} for o in self.outputs]
        fields = {name: getattr(self, name) for name in self.__slots__}
        write_json(path, {"schema": 1} | fields | {"outputs": outputs})


def load(path: Path) -> Receipt | None:
    """The receipt at ``path``; ``None`` when there is none that this version understands."""
    data = read_json(path)
    if not isinstance(data, dict) or data.pop("schema", None) != 1:
        return None
    try:
        outputs = tuple(Output(**item) for item in data.pop("outputs"))
        return Receipt(**data, outputs=outputs)
    except (TypeError, KeyError):
        return None
