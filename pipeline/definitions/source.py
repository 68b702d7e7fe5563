"""One YAML file: its bytes in, its node tree out, with syntax errors as problems.

Nodes, not values: YAML's own guesses at types never reach us, and every node knows its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline.definitions.nodes import Reader
from pipeline.definitions.problems import Place, Problems

# libyaml reads ten times faster than the pure Python parser; both know the same places.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LARGEST = 1 << 20
DEEPEST = 100


def compose(path: Path, shown: str, problems: Problems) -> tuple[Reader, yaml.Node | None]:
    """A reader for the file ``shown``, and its root node unless that could not be read."""
    reader = Reader(shown, 1, problems)
    try:
        if path.stat().st_size > LARGEST:
            problems.add(Place(shown), "", "expected a definition, found more than 1 MiB")
            return reader, None
        data = path.read_bytes()
    except OSError as error:
        problems.add(Place(shown), "", f"cannot be read: {error.strerror}")
        return reader, None
    reader.last_line = max(1, len(data.splitlines()))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add(_place(shown, data, error.start), "", "expected UTF-8, found other bytes")
        return reader, None
    return reader, _root(text, reader, problems)


def _root(text: str, reader: Reader, problems: Problems) -> yaml.Node | None:
    try:
        if _too_deep(text):
            problems.add(Place(reader.file, 1, 1), "", "expected a definition, found deep nesting")
            return None
        node = yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        problems.add(_marked(error, reader), "", f"not YAML: {_sentence(error, text)}")
        return None
    except yaml.reader.ReaderError as error:
        place = _place(reader.file, text.encode(), len(text[: error.position].encode()))
        problems.add(place, "", "not YAML: found a character that YAML does not allow")
        return None
    if node is None:
        problems.add(Place(reader.file, 1, 1), "", "expected a mapping, found nothing")
    return node


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


def _place(shown: str, data: bytes, offset: int) -> Place:
    before = data[:offset].decode("utf-8", "replace")
    return Place(shown, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _marked(error: yaml.MarkedYAMLError, reader: Reader) -> Place:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Place(reader.file, 1, 1)
    return Place(reader.file, min(mark.line + 1, reader.last_line), mark.column + 1)


def _sentence(error: yaml.MarkedYAMLError, text: str) -> str:
    words = " ".join(part for part in (error.problem, error.context) if part)
    mark = error.problem_mark
    lines = text.splitlines()
    if mark and mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
        words += " (indent with spaces, not tabs)"
    return words
