"""One YAML file: its bytes in, its node tree out, with syntax errors as problems.

Nodes, not values: YAML's own guesses at types never reach us, and every node knows its place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.definitions.nodes import Reader
from pipeline.definitions.problems import Place, Problems

# libyaml reads ten times faster than the pure Python parser; both know the same places.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What YAML calls printable; anything else is found here, as parsers differ in how they say where.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LARGEST = 1 << 20
DEEPEST = 100


def compose(path: Path, shown: str, problems: Problems) -> tuple[Reader, yaml.Node | None]:
    """A reader for the file ``shown``, and its root node unless that could not be read."""
    reader = Reader(shown, problems)
    try:
        if path.stat().st_size > LARGEST:
            problems.add(Place(shown), "", "expected a definition, found more than 1 MiB")
            return reader, None
        data = path.read_bytes()
    except OSError as error:
        problems.add(Place(shown), "", f"cannot be read: {error.strerror}")
        return reader, None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        problems.add(_place(shown, before, len(before)), "", "expected UTF-8, found other bytes")
        return reader, None
    lines = re.split("\r\n|\r|\n", text.removesuffix("\n"))
    reader.end = Place(shown, len(lines), len(lines[-1]) + 1)
    return reader, _root(text, reader, problems)


def _root(text: str, reader: Reader, problems: Problems) -> yaml.Node | None:
    if bad := _FORBIDDEN.search(text):
        place = _place(reader.file, text, bad.start())
        problems.add(place, "", "not YAML: found a character that YAML does not allow")
        return None
    try:
        if _too_deep(text):
            problems.add(Place(reader.file, 1, 1), "", "expected a definition, found deep nesting")
            return None
        node: yaml.Node | None = yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        problems.add(_marked(error, reader), "", f"not YAML: {_sentence(error, text)}")
        return None
    except yaml.YAMLError as error:
        problems.add(Place(reader.file, 1, 1), "", f"not YAML: {error}")
        return None
    return node if node is not None else _empty()


def _empty() -> yaml.Node:
    """A file without a value counts as a mapping without keys."""
    start = yaml.Mark("", 0, 0, 0, None, 0)
    return yaml.MappingNode("tag:yaml.org,2002:map", [], start, start)


def _too_deep(text: str) -> bool:
    """Whether the file nests so deeply that libyaml's composer would overflow the stack."""
    if len(text) < 20 * DEEPEST or max(text.count(char) for char in "[{-?") < DEEPEST:
        return False
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                return True
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return False


def _place(shown: str, text: str, offset: int) -> Place:
    before = text[:offset]
    return Place(shown, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _marked(error: yaml.MarkedYAMLError, reader: Reader) -> Place:
    mark = error.problem_mark or error.context_mark
    return reader.mark(mark) if mark else Place(reader.file, 1, 1)


def _sentence(error: yaml.MarkedYAMLError, text: str) -> str:
    words = " ".join(part for part in (error.problem, error.context) if part)
    mark = error.problem_mark
    lines = text.splitlines()
    if mark and mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
        words += " (indent with spaces, not tabs)"
    return words
