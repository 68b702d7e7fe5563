"""The guest scripts' syntax trees, without any PowerShell: functions, commands, parameters, texts.

Goes in: the text of a script. Comes out: what the house rules look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tree_sitter_pwsh
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).parents[3]
GUEST = ROOT / "templates" / "guest"
SCRIPTS = sorted(GUEST.glob("*.ps1"))

_parser = Parser(Language(tree_sitter_pwsh.language()))


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it is called: its name, the parameters given by name, a splatted variable."""

    name: str
    parameters: tuple[str, ...]
    splat: str | None
    line: int
    function: str


def parse(text: str) -> Node:
    """The tree of a script."""
    return _parser.parse(text.encode()).root_node


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    for child in node.children:
        yield from walk(child)


def text_of(node: Node) -> str:
    """The source of a node."""
    return (node.text or b"").decode()


def functions(root: Node) -> dict[str, Node]:
    """The script's own functions, by name."""
    found = {}
    for node in walk(root):
        if node.type == "function_statement":
            name = next(child for child in node.children if child.type == "function_name")
            found[text_of(name)] = node
    return found


def parameters_of(function: Node) -> set[str]:
    """The parameters a function of the script declares."""
    lists = [n for n in walk(function) if n.type == "parameter_list"]
    first = lists[0].children if lists else []
    return {
        text_of(child)[1:]
        for parameter in first
        for child in parameter.children
        if parameter.type == "script_parameter" and child.type == "variable"
    }


def commands(root: Node) -> list[Command]:
    """Every call of a command by its name."""
    found = []
    for node in walk(root):
        if node.type != "command":
            continue
        names = [child for child in node.children if child.type == "command_name"]
        if names:
            found.append(_command(node, text_of(names[0])))
    return found


def _command(node: Node, name: str) -> Command:
    elements = [e for c in node.children if c.type == "command_elements" for e in c.children]
    given = tuple(
        text_of(e)[1:].partition(":")[0] for e in elements if e.type == "command_parameter"
    )
    splats = [text_of(e)[1:] for e in elements if re.fullmatch(r"@\w+", text_of(e))]
    return Command(name, given, splats[0] if splats else None, node.start_point[0] + 1, owner(node))


def owner(node: Node) -> str:
    """The function a node stands in."""
    above = node.parent
    while above is not None and above.type != "function_statement":
        above = above.parent
    if above is None:
        return ""
    return text_of(next(child for child in above.children if child.type == "function_name"))


def texts(root: Node) -> Iterator[tuple[int, str]]:
    """Every text literal with its line."""
    for node in walk(root):
        if node.type == "string_literal":
            yield node.start_point[0] + 1, text_of(node)
