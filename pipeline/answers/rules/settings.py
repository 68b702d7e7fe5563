"""Which settings exist, and in which pass each is valid; from ``settings.json``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipeline.answers.document import Component, Document, Element, elements, local, text
from pipeline.answers.findings import Severity
from pipeline.answers.rules.rule import Problem, rule


@cache
def known() -> dict[str, dict[str, frozenset[str]]]:
    """Component in lower case, setting path, passes."""
    data = json.loads(Path(__file__).with_name("settings.json").read_bytes())
    passes = data["passes"]
    return {
        component.lower(): {
            path: frozenset(passes[code] for code in codes) for path, codes in settings.items()
        }
        for component, settings in data["settings"].items()
    }


@cache
def names() -> dict[str, str]:
    """Every component's name, by its name in lower case: Windows compares them without case."""
    data = json.loads(Path(__file__).with_name("settings.json").read_bytes())
    return {component.lower(): component for component in data["settings"]}


def settings_of(component: str) -> dict[str, frozenset[str]]:
    """The settings of a component with their passes; none for an unknown component."""
    return known().get(component.lower(), {})


@cache
def containers(component: str) -> frozenset[str]:
    """The settings of a component that are groups of others."""
    return frozenset(path.rpartition("/")[0] for path in settings_of(component) if "/" in path)


def _listed(passes: frozenset[str]) -> str:
    return ", ".join(sorted(passes))


@rule("component-unknown", "Windows ignores a component it does not have")
def component_unknown(document: Document) -> Iterator[Problem]:
    """A component that is nowhere documented, most often a misspelling."""
    for component in document.components:
        if settings_of(component.name):
            continue
        near = difflib.get_close_matches(component.name.lower(), names(), n=1, cutoff=0.8)
        fix = f"did you mean {names()[near[0]]}?" if near else ""
        yield Problem(
            component.element, f"{component.name} is no known component", fix, Severity.WARNING
        )


@rule("component-pass", "each setting is read in certain passes only; elsewhere it is ignored")
def component_pass(document: Document) -> Iterator[Problem]:
    """A component in a pass in which none of its settings is read."""
    for component in document.components:
        passes = _passes(component)
        if passes and component.pass_name not in passes:
            yield Problem(
                component.element,
                f"{component.name} has no settings in the pass {component.pass_name}",
                f"move it to: {_listed(passes)}",
            )


def _passes(component: Component) -> frozenset[str]:
    """The passes that a component has settings in."""
    settings = settings_of(component.name)
    return frozenset().union(*settings.values())


@rule("setting-pass", "each setting is read in certain passes only; elsewhere it is ignored")
def setting_pass(document: Document) -> Iterator[Problem]:
    """A setting in a pass in which it is not read, though others of its component are."""
    for component, path, element in _settings(document):
        passes = settings_of(component.name).get(path)
        if not passes or component.pass_name in passes:
            continue
        if component.pass_name in _passes(component) and not _parent_wrong(component, path):
            yield Problem(
                element,
                f"{local(element)} is not read in the pass {component.pass_name}",
                f"move it to: {_listed(passes)}",
            )


def _parent_wrong(component: Component, path: str) -> bool:
    """Whether the group that a setting is in was already said to be in the wrong pass."""
    parent = path.rpartition("/")[0]
    passes = settings_of(component.name).get(parent)
    return bool(passes) and component.pass_name not in (passes or ())


@rule("setting-unknown", "Windows ignores, or refuses, a setting that it does not know")
def setting_unknown(document: Document) -> Iterator[Problem]:
    """A setting that is not documented for its component; the topmost one only."""
    for component, path, element in _settings(document):
        settings = settings_of(component.name)
        parent = path.rpartition("/")[0]
        if path not in settings and (not parent or parent in settings):
            message = f"{local(element)} is no known setting here"
            yield Problem(element, message, _suggestion(component.name, path), Severity.WARNING)


def _suggestion(component: str, path: str) -> str:
    settings = settings_of(component)
    parent, _, name = path.rpartition("/")
    elsewhere = sorted(
        known_path for known_path in settings if known_path.rpartition("/")[2] == name
    )
    if elsewhere:
        return f"it belongs at {elsewhere[0]}"
    beside = [
        known_path.rpartition("/")[2]
        for known_path in settings
        if known_path.rpartition("/")[0] == parent
    ]
    near = difflib.get_close_matches(name, beside, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


@rule(
    "setting-group",
    "a group holds settings, not a value",
    "put the value into the setting that it belongs to",
)
def setting_group(document: Document) -> Iterator[Problem]:
    """Text where settings belong."""
    for component, path, element in _settings(document):
        if elements(element) and text(element):
            yield Problem(element, f"{local(element)} has text among its settings")
        elif path in containers(component.name) and text(element):
            yield Problem(element, f"{local(element)} is a group of settings, not a value")


@rule("setting-empty", "most settings do not support an empty element")
def setting_empty(document: Document) -> Iterator[Problem]:
    """A known value that is empty. Empty passwords and keys have rules of their own."""
    for component, path, element in _settings(document):
        leaf = path in settings_of(component.name) and path not in containers(component.name)
        if leaf and not elements(element) and not text(element) and local(element) not in OWN_RULE:
            yield Problem(element, f"{local(element)} is empty", "leave it out", Severity.WARNING)


OWN_RULE = frozenset({"Value", "Key", "Path", "CommandLine", "Name", "Domain", "Username"})


def _settings(document: Document) -> Iterator[tuple[Component, str, Element]]:
    """The settings of the components that are known."""
    for component, path, element in document.settings:
        if settings_of(component.name):
            yield component, path, element
