"""A parsed answer file, as the rules look at it.

In: a well-formed tree. Out: its components, and small questions about elements: their settings,
text and place. lxml keeps every element's line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lxml import etree

UNATTEND = "urn:schemas-microsoft-com:unattend"
WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"
Element = etree._Element


def local(element: Element) -> str:
    """An element's name without its namespace."""
    return etree.QName(element).localname


def elements(parent: Element, name: str | None = None) -> list[Element]:
    """The child elements (without comments), or those called ``name``."""
    found = [child for child in parent if isinstance(child.tag, str)]
    return [child for child in found if name in (None, local(child))]


def at(parent: Element, path: str) -> list[Element]:
    """Every element at ``path`` (``InstallTo/DiskID``) below ``parent``."""
    found = [parent]
    for name in path.split("/"):
        found = [child for element in found for child in elements(element, name)]
    return found


def first(parent: Element, path: str) -> Element | None:
    """The first element at ``path`` below ``parent``."""
    return next(iter(at(parent, path)), None)


def text(element: Element | None) -> str:
    """An element's text without surrounding space; empty for no element."""
    return ("" if element is None else element.text or "").strip()


def value(parent: Element, path: str) -> str:
    """The text of the first element at ``path``."""
    return text(first(parent, path))


def number(parent: Element, path: str) -> int | None:
    """The text of the first element at ``path`` as a whole number, where it is one."""
    found = value(parent, path)
    return int(found) if found.isascii() and found.isdigit() else None


def true(parent: Element, path: str) -> bool:
    """Whether the first element at ``path`` says yes."""
    return value(parent, path).lower() in ("true", "1")


def line(element: Element) -> int:
    """The line that an element begins on."""
    found: Any = element.sourceline
    return int(found or 1)


@dataclass(frozen=True, slots=True)
class Component:
    """One component of one pass."""

    pass_name: str
    name: str
    architecture: str
    element: Element

    def settings(self) -> Iterator[tuple[str, Element]]:
        """Every element below, with its path from the component."""

        def below(parent: Element, path: str) -> Iterator[tuple[str, Element]]:
            for child in elements(parent):
                here = f"{path}/{local(child)}" if path else local(child)
                yield here, child
                yield from below(child, here)

        yield from below(self.element, "")


class Document:
    """An answer file's tree."""

    def __init__(self, root: Element) -> None:
        self.root = root

    @cached_property
    def components(self) -> list[Component]:
        """Every component, in the order of the file."""
        return [
            Component(
                settings.get("pass", ""),
                component.get("name", ""),
                component.get("processorArchitecture", ""),
                component,
            )
            for settings in elements(self.root, "settings")
            for component in elements(settings, "component")
        ]

    @cached_property
    def settings(self) -> list[tuple[Component, str, Element]]:
        """Every element inside a component, with its path from there."""
        return [
            (component, path, element)
            for component in self.components
            for path, element in component.settings()
        ]

    def every(self, component: str, path: str) -> Iterator[Element]:
        """Every element at ``path`` of every component called ``component``, in whatever pass."""
        for found in self.components:
            if found.name == component:
                yield from at(found.element, path)

    def place(self, element: Element) -> str:
        """Where an element is: ``windowsPE/Microsoft-Windows-Setup/UserData/AcceptEula``."""
        names = [_step(item) for item in (element, *element.iterancestors())]
        return "/".join(reversed(names[:-1]))


def _step(element: Element) -> str:
    name = local(element)
    if name == "settings":
        return element.get("pass") or name
    if name == "component":
        return element.get("name") or name
    parent = element.getparent()
    same = elements(parent, name) if parent is not None else []
    return f"{name}[{same.index(element) + 1}]" if len(same) > 1 else name
