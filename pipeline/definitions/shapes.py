"""What a field of the model may hold, worked out from its annotation.

Goes in: a dataclass of ``model``. Comes out: for each field a :class:`Shape`, which the loader and
the schema read alike, so that neither can know a type that the other does not.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from dataclasses import dataclass
from typing import Any

from pipeline.definitions.rules import Rule

ABSENT = dataclasses.MISSING


@dataclass(frozen=True, slots=True)
class Shape:
    """A field's type: ``base`` is a scalar type, a dataclass, ``tuple`` or ``dict`` of ``item``."""

    base: Any
    rules: tuple[Rule, ...] = ()
    item: Shape | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a mapping: its shape, and its default (``ABSENT`` when it is required)."""

    name: str
    shape: Shape
    default: Any

    @property
    def required(self) -> bool:
        """Whether the key must be given."""
        return self.default is ABSENT


def shape_of(annotation: Any) -> Shape:
    """The shape that an annotation describes."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        rules = tuple(rule for rule in arguments[1:] if isinstance(rule, Rule))
        return dataclasses.replace(shape_of(arguments[0]), rules=rules)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return dataclasses.replace(shape_of(inner), optional=True)
    if origin in (tuple, dict):
        return Shape(origin, item=shape_of(arguments[0 if origin is tuple else 1]))
    return Shape(annotation)


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


@functools.cache
def fields_of(model: type) -> dict[str, Field]:
    """The fields of a dataclass by name, in their order."""
    hints = typing.get_type_hints(model, include_extras=True)
    return {
        item.name: Field(item.name, shape_of(hints[item.name]), _default(item))
        for item in dataclasses.fields(model)
    }
