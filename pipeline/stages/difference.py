"""What differs between the inputs a stage was built from and those it would get now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class Change:
    """One input that changed: where it lies in the inputs, what it was, what it is."""

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}: {self.old} → {self.new}"


def _brief(value: Any) -> str:
    text = str(value)
    if len(text) == 64 and all(digit in "0123456789abcdef" for digit in text):
        return text[:12]
    return text if len(text) <= 60 else f"{text[:57]}…"


def _items(value: Any) -> Iterator[tuple[str, Any]] | None:
    if isinstance(value, Mapping):
        return ((f".{key}", item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return ((f"[{_label(index, item)}]", item) for index, item in enumerate(value))
    return None


def _label(index: int, item: Any) -> str:
    """A step is known by its id, so that inserting one does not make all later ones differ."""
    return str(item["id"]) if isinstance(item, Mapping) and "id" in item else str(index)


def changes(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """Every leaf that differs, in the order of the new inputs, then what vanished."""
    before, after = _items(old), _items(new)
    if before is None or after is None:
        if old != new:
            yield Change(path.lstrip("."), _brief(old), _brief(new))
        return
    left, right = dict(before), dict(after)
    for key in [*right, *(key for key in left if key not in right)]:
        if left.get(key, ABSENT) != right.get(key, ABSENT):
            yield from changes(left.get(key, ABSENT), right.get(key, ABSENT), path + key)
