"""Single values: the text of a YAML scalar in, a value of the field's type out.

The field decides the type, never YAML's guess at it: ``version: 1.10`` stays ``1.10``, ``no`` stays
``no``, a digest of digits alone stays a digest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from pipeline.definitions.shapes import Shape
from pipeline.foundation.units import Sha256, Size

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _text(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("text without control characters")
    return text


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("a whole number")
    return int(text)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


_READERS: dict[Any, Callable[[str], Any]] = {
    str: _text,
    int: _number,
    bool: _truth,
    Size: Size.parse,
    Sha256: Sha256.parse,
}
QUOTABLE = (str, Size, Sha256)


def choices(shape: Shape) -> list[str]:
    """The words that the value is one of; empty when it is not a choice."""
    if isinstance(shape.base, type) and issubclass(shape.base, StrEnum):
        return [member.value for member in shape.base]
    return [word for rule in shape.rules for word in getattr(rule, "values", ())]


def expectation(shape: Shape) -> str:
    """What a value of this shape must be, to follow the word "expected"."""
    if shape.rules:
        return shape.rules[-1].says
    if words := choices(shape):
        return "one of " + ", ".join(f'"{word}"' for word in words)
    words_for = {tuple: "a list", dict: "a mapping", str: "text", int: "a whole number"}
    words_for |= {bool: "true or false", Size: 'a size such as "64G"'}
    words_for |= {Sha256: "a SHA-256 digest: 64 hexadecimal digits"}
    return words_for.get(shape.base, "a mapping")


def read(text: str, shape: Shape, quoted: bool) -> Any:
    """The value that ``text`` stands for; raises :class:`ValueError` with what was expected."""
    if words := choices(shape):
        if text not in words:
            raise ValueError(expectation(shape))
        return shape.base(text)
    if quoted and shape.base not in QUOTABLE:
        raise ValueError(f"{expectation(shape)} without quotes")
    value = _READERS[shape.base](text)
    for rule in shape.rules:
        if not rule.allows(value):
            raise ValueError(rule.says)
    return value
