"""A layer's own document, ``layer.json``: which archive, and the receipt of what is in it.

Goes in: JSON that anybody may have written. Comes out: a :class:`Layer` whose every field is of its
kind, or :class:`LayerRefused`: what comes from a store must never stop a build.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.stages.receipts import Output, Receipt, stage_id

DOCUMENT = "layer.json"
SIGNATURE = f"{DOCUMENT}.sig"
ARCHIVE = "layer.tar.zst"
LARGEST_DOCUMENT = 1 << 20
LARGEST_FILE = 1 << 50
"""Bytes; a size beyond it is a slip or a trick, and no disk."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RESERVED = (ARCHIVE, DOCUMENT, SIGNATURE, "receipt.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RUN = re.compile(r"[0-9a-f]{32}")
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
_YEARS = range(2000, 3000)
_MAPPINGS = ("inputs", "parents", "tools", "facts", "timings")
# What the stages on top of one can't do without.
_FACTS = {"install": ("host_key",)}


class LayerRefused(PipelineError):
    """What the store has under a stage's id is not what it should be."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as the store describes it."""

    archive: Output
    receipt: Receipt

    def data(self) -> dict[str, Any]:
        """``layer.json``."""
        return {"schema": 1, "archive": asdict(self.archive), "receipt": asdict(self.receipt)}

    @classmethod
    def of(cls, data: bytes, stage: str, identifier: str) -> Layer:
        """Read ``layer.json`` for a stage of that id; raises :class:`LayerRefused`."""
        try:
            layer = _read(json.loads(data))
            _require_this(layer.receipt, stage, identifier)
        except (ValueError, RecursionError):
            raise LayerRefused(f"{DOCUMENT} is no JSON") from None
        return layer


def _require_this(receipt: Receipt, stage: str, identifier: str) -> None:
    if (receipt.stage, receipt.id) != (stage, identifier):
        raise LayerRefused(f"{DOCUMENT} is that of another layer: {receipt.id}")
    if stage_id(receipt.inputs) != identifier:
        raise LayerRefused(f"{DOCUMENT} names inputs that its id does not stand for")
    for name in _FACTS.get(stage, ()):
        if name not in receipt.facts:
            raise LayerRefused(f"{DOCUMENT} does not say the {name} of what is in it")


def _read(data: Any) -> Layer:
    match data:
        case {"schema": 1, "archive": dict(archive), "receipt": {"outputs": list(found)} as body}:
            outputs = tuple(_output(output) for output in found)
        case _:
            raise LayerRefused(f"{DOCUMENT} is none that this version understands")
    names = [output.path for output in outputs]
    if len(set(names)) < len(names) or any(name in _RESERVED for name in names):
        raise LayerRefused(f"{DOCUMENT} names files that no stage makes")
    return Layer(_output(archive), _receipt(body, outputs))


def _output(data: Any) -> Output:
    match data:
        case {"path": str(path), "size": int(size), "sha256": str(digest)}:
            sound = type(size) is int and 0 <= size <= LARGEST_FILE
            if sound and _NAME.fullmatch(path) and _SHA256.fullmatch(digest):
                return Output(path, size, digest)
    raise LayerRefused(f"{DOCUMENT} names files that no stage makes")


def _receipt(body: Mapping[str, Any], outputs: tuple[Output, ...]) -> Receipt:
    """The receipt, whose every field is of its kind: stages and reports rely on that."""
    try:
        receipt = Receipt(**{**body, "outputs": outputs})
    except TypeError:
        raise LayerRefused(f"{DOCUMENT} has fields that no receipt has") from None
    texts = (receipt.stage, receipt.id, receipt.run, receipt.finished_at)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(getattr(receipt, name), dict) for name in _MAPPINGS)
        and _RUN.fullmatch(receipt.run)
        and _is_moment(receipt.finished_at)
        and all(map(_is_line, [*receipt.parents.values(), *receipt.tools.values()]))
        and all(map(_is_line, receipt.facts.values()))
        and all(map(_is_seconds, receipt.timings.values()))
        and "total" in receipt.timings
    ):
        raise LayerRefused(f"{DOCUMENT} has a receipt that no stage wrote")
    return receipt


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < LARGEST_FILE


def _is_moment(text: str) -> bool:
    try:
        return datetime.datetime.strptime(text, _MOMENT).year in _YEARS  # noqa: DTZ007
    except ValueError:
        return False
