"""Definitions as plain data: what is hashed when a stage asks whether anything changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any


def identity(value: Any) -> Any:
    """``value`` in JSON's own types, defaults included; the same for equal values, always.

    Dataclasses become mappings, enums their values, sizes numbers, tuples lists.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: identity(getattr(value, item.name)) for item in dataclasses.fields(value)
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): identity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    raise TypeError(f"no plain form for {type(value).__name__}: {value!r}")
