"""YAML nodes to typed values, by the fields of the model.

Goes in: nodes and the dataclass they describe. Comes out: a :class:`Section`, which holds the good
values and remembers where each of them stands, so that later checks can point at it. What is
wrong goes to the list of problems; reading goes on, so that one run finds everything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from pipeline.definitions import scalars
from pipeline.definitions.problems import Place, Problems, did_you_mean, near_miss, quoted
from pipeline.definitions.shapes import Field, Shape, fields_of

BAD: Final = object()
_NULL = "tag:yaml.org,2002:null"
# What YAML guesses for plain values; any other tag was written by hand.
_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "seq", "map")
}


@dataclass(slots=True)
class Section:
    """A mapping of a file: good values by key (defaults included), and where they stand."""

    model: type
    place: Place
    path: str
    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """The value of a key; ``None`` when there is none or it is bad (and was reported)."""
        return self.values.get(key)

    def given(self, key: str) -> bool:
        """Whether the file has the key, good or bad."""
        return key in self.keys

    def empty(self, key: str) -> bool:
        """Whether the file gives a list without items."""
        return isinstance(self.get(key), tuple) and f"{key}[0]" not in self.places

    def at(self, key: str) -> Place:
        """Where the value stands (``urls[1]`` for one of a list); the section when it is absent."""
        return self.places.get(key, self.place)

    def named(self, key: str) -> str:
        """The full path of a key."""
        return f"{self.path}.{key}" if self.path else key


def build(section: Section) -> Any:
    """The frozen data of a section in which nothing is bad."""
    return section.model(**{key: _built(value) for key, value in section.values.items()})


def _built(value: Any) -> Any:
    if isinstance(value, Section):
        return build(value)
    return tuple(map(_built, value)) if isinstance(value, tuple) else value


def found(node: yaml.Node) -> str:
    """A node as an error shows it."""
    if isinstance(node, yaml.ScalarNode):
        return "nothing" if is_null(node) else quoted(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def is_null(node: yaml.Node) -> bool:
    """Whether the node is YAML's null: an empty value, ``~`` or ``null``."""
    return node.tag == _NULL


class Reader:
    """Reads the nodes of one file."""

    def __init__(self, file: str, problems: Problems) -> None:
        self.file = file
        self.problems = problems
        self.end = Place(file, 1, 1)

    def mark(self, mark: yaml.Mark) -> Place:
        """A place of YAML's as editors count; what is behind the last line is at its end."""
        place = Place(self.file, mark.line + 1, mark.column + 1)
        return place if place.line <= self.end.line else self.end

    def place(self, node: yaml.Node) -> Place:
        """Where a node begins."""
        return self.mark(node.start_mark)

    def wrong(self, node: yaml.Node, path: str, text: str) -> object:
        """Report a node; returns ``BAD``."""
        self.problems.add(self.place(node), path, text)
        return BAD

    def pairs(self, node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Key, key's node and value's node of a mapping; keys that are no text or come twice are
        reported and left out."""
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.wrong(key, path, f"expected a key, found {found(key)}")
                continue
            name = f"{path}.{key.value}" if path else key.value
            if key.value in seen:
                self.wrong(key, name, f"duplicate key; first given in line {seen[key.value]}")
                continue
            seen[key.value] = self.place(key).line
            yield key.value, key, value

    def section(
        self, node: yaml.Node | None, model: Any, path: str, name: str | None, place: Place
    ) -> Section | None:
        """A mapping as the fields of ``model``; ``node`` is ``None`` where all is left out.

        ``name`` is given for what has its name from elsewhere (a file's name, a mapping's key).
        """
        place = self.place(node) if node else place
        section = Section(model, place, path)
        fields = dict(fields_of(model))
        if name is not None:
            del fields["name"]
            section.values["name"] = name
        if node is not None:
            if not isinstance(node, yaml.MappingNode):
                self.wrong(node, path, f"expected a mapping, found {found(node)}")
                return None
            self._given(node, section, fields)
        for item in fields.values():
            if not section.given(item.name):
                self._absent(section, item)
        return section

    def _given(self, node: yaml.Node, section: Section, fields: dict[str, Field]) -> None:
        for key, key_node, value_node in self.pairs(node, section.path):
            if key not in fields:
                self.wrong(key_node, section.named(key), self._unknown(key, section, fields))
                continue
            section.keys[key] = self.place(key_node)
            section.places[key] = self.place(value_node)
            value = self.value(value_node, fields[key].shape, section.named(key))
            if value is not BAD:
                section.values[key] = value
            if isinstance(value_node, yaml.SequenceNode):
                for index, item in enumerate(value_node.value):
                    section.places[f"{key}[{index}]"] = self.place(item)

    @staticmethod
    def _unknown(key: str, section: Section, fields: dict[str, Field]) -> str:
        if key == "<<":
            return "merge keys are not understood; write the keys out"
        if key == "name" and "name" in section.values:
            return f"leave it out, the name is {quoted(section.values['name'])} already"
        return f"unknown key{did_you_mean(key, fields)}"

    def _absent(self, section: Section, item: Field) -> None:
        path = section.named(item.name)
        if dataclasses.is_dataclass(item.shape.base) and not item.required:
            if not item.shape.optional:
                empty = self.section(None, item.shape.base, path, None, section.place)
                section.values[item.name] = empty
                return
            section.values[item.name] = None
        elif item.required:
            expected = scalars.expectation(item.shape)
            self.problems.add(section.place, path, f"missing; expected {expected}")
        else:
            section.values[item.name] = item.default

    def value(self, node: yaml.Node, shape: Shape, path: str) -> Any:
        """The value of a node, or ``BAD``."""
        if node.tag not in _TAGS:
            return self.wrong(node, path, f"tags are not understood, found {quoted(node.tag)}")
        if is_null(node) and shape.optional:
            return None
        model = shape.base
        if dataclasses.is_dataclass(model):
            section = self.section(node, model, path, None, self.place(node))
            return BAD if section is None else section
        if shape.base is tuple:
            return self._list(node, shape, path)
        if shape.base is dict:
            return self._table(node, shape, path)
        return self._scalar(node, shape, path)

    def _list(self, node: yaml.Node, shape: Shape, path: str) -> Any:
        if not isinstance(node, yaml.SequenceNode) or shape.item is None:
            return self.wrong(node, path, f"expected a list, found {found(node)}")
        read = [self.value(x, shape.item, f"{path}[{i}]") for i, x in enumerate(node.value)]
        good = tuple(value for value in read if value is not BAD)
        if len(good) < len(read) and not dataclasses.is_dataclass(shape.item.base):
            return BAD  # a list of words that lacks one must not be judged as a whole
        return good

    def _table(self, node: yaml.Node, shape: Shape, path: str) -> Any:
        if not isinstance(node, yaml.MappingNode) or shape.item is None:
            return self.wrong(node, path, f"expected a mapping, found {found(node)}")
        read = {
            key: self.value(value, shape.item, f"{path}.{key}")
            for key, _, value in self.pairs(node, path)
        }
        return {key: value for key, value in read.items() if value is not BAD}

    def _scalar(self, node: yaml.Node, shape: Shape, path: str) -> Any:
        expected = scalars.expectation(shape)
        if not isinstance(node, yaml.ScalarNode) or is_null(node):
            return self.wrong(node, path, f"expected {expected}, found {found(node)}")
        try:
            return scalars.read(node.value, shape, quoted=bool(node.style))
        except ValueError as error:
            near = near_miss(node.value, scalars.choices(shape))
            return self.wrong(node, path, f"expected {error}, found {found(node)}{near}")
