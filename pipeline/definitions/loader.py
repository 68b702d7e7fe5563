"""All definitions of a workspace, read and checked against each other.

Goes in: ``images/*.yaml``, ``checksums/*.yaml``, ``golden.yaml`` when there is one, and a few
variables of the environment. Comes out: :class:`Definitions`, or one error that lists every
problem of every file with its line and column.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from pipeline.definitions.check_images import Known, check_image
from pipeline.definitions.check_pins import check_pin
from pipeline.definitions.model import Definitions, Image, Pin, Settings
from pipeline.definitions.nodes import Section, build, found
from pipeline.definitions.problems import (
    DefinitionError,
    Place,
    Problems,
    did_you_mean,
    quoted,
)
from pipeline.definitions.rules import IMAGE_NAME, PIN_NAME
from pipeline.definitions.source import compose
from pipeline.foundation.paths import Workspace

SETTINGS = "golden.yaml"


def load(workspace: Workspace, environ: Mapping[str, str] = os.environ) -> Definitions:
    """Everything that is defined below ``workspace.root``.

    Raises :class:`DefinitionError` with all problems at once.
    """
    problems = Problems()
    pins, complete = _pins(workspace, problems)
    images = _images(workspace, problems)
    settings = _settings(workspace, problems)
    known = Known(workspace.root, pins, complete, problems)
    for pin in pins.values():
        if pin is not None:
            check_pin(pin, problems)
    for image in images.values():
        if image is not None:
            check_image(image, known)
    overrides = _environment(environ, images, problems)
    rebuild = _named("GOLDEN_REBUILD", environ, images, problems)
    if settings is not None:
        _known_images(settings, images, problems)
    if problems:
        raise DefinitionError(problems)
    return replace(_defined(images, pins, settings, overrides), rebuild=rebuild)


def _defined(
    images: Mapping[str, Section | None],
    pins: Mapping[str, Section | None],
    settings: Section | None,
    overrides: Mapping[str, Any],
) -> Definitions:
    built: Settings = build(settings) if settings else Settings()
    if not (settings and settings.given("build")):  # the shipped default, in a checkout without it
        built = replace(built, build=tuple(name for name in built.build if name in images))
    typed_images: dict[str, Image] = {n: build(s) for n, s in images.items() if s is not None}
    typed_pins: dict[str, Pin] = {n: build(s) for n, s in pins.items() if s is not None}
    return Definitions(typed_images, typed_pins, replace(built, **overrides))


def _files(folder: Path, workspace: Workspace, problems: Problems) -> Iterator[tuple[str, Path]]:
    """The definition files of a folder, with the names that messages give them."""
    if not folder.is_dir():
        problems.add(Place(_shown(folder, workspace)), "", "expected a folder, found none")
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.stem):
        if path.suffix == ".yml":
            text = f"expected the ending .yaml; rename it to {path.stem}.yaml"
            problems.add(Place(_shown(path, workspace)), "", text)
        elif path.suffix == ".yaml" and not path.name.startswith("."):
            yield _shown(path, workspace), path


def _shown(path: Path, workspace: Workspace) -> str:
    return path.relative_to(workspace.root).as_posix()


def _pins(workspace: Workspace, problems: Problems) -> tuple[dict[str, Section | None], bool]:
    """Pins by name, and whether every file could be read as far as the names."""
    pins: dict[str, Section | None] = {}
    origin: dict[str, Place] = {}
    complete = True
    for shown, path in _files(workspace.checksums, workspace, problems):
        reader, node = compose(path, shown, problems)
        if not isinstance(node, yaml.MappingNode):
            complete = False
            if node is not None:
                reader.wrong(node, "", f"expected a mapping of pins, found {found(node)}")
            continue
        for name, key, value in reader.pairs(node, ""):
            place = reader.place(key)
            if not PIN_NAME.allows(name):
                problems.add(place, "", f"expected {PIN_NAME.says}, found {quoted(name)}")
            if name in origin:
                problems.add(place, name, f"a pin of this name is in {origin[name]} already")
                continue
            origin[name] = place
            pins[name] = reader.section(value, Pin, name, name, place)
    return pins, complete


def _images(workspace: Workspace, problems: Problems) -> dict[str, Section | None]:
    images: dict[str, Section | None] = {}
    for shown, path in _files(workspace.images, workspace, problems):
        if not IMAGE_NAME.allows(path.stem):
            text = f"expected the file to have {IMAGE_NAME.says}, found {quoted(path.stem)}"
            problems.add(Place(shown), "", text)
        reader, node = compose(path, shown, problems)
        images[path.stem] = (
            reader.section(node, Image, "", path.stem, Place(shown)) if node else None
        )
    return images


def _settings(workspace: Workspace, problems: Problems) -> Section | None:
    path = workspace.root / SETTINGS
    if not path.exists():
        return None
    reader, node = compose(path, SETTINGS, problems)
    return reader.section(node, Settings, "", None, Place(SETTINGS)) if node else None


def _known_images(settings: Section, images: Mapping[str, Any], problems: Problems) -> None:
    if not settings.given("build"):
        return
    for index, name in enumerate(settings.get("build") or ()):
        if name not in images:
            text = f"no such image in images/: {quoted(name)}{did_you_mean(name, images)}"
            problems.add(settings.at(f"build[{index}]"), f"build[{index}]", text)


def _environment(
    environ: Mapping[str, str], images: Mapping[str, Any], problems: Problems
) -> dict[str, Any]:
    """The settings that the environment overrides."""
    overrides: dict[str, Any] = {}
    accept = environ.get("GOLDEN_ACCEPT_EULA", "")
    if accept not in ("", "0", "1"):
        text = f'expected "1" or "0", found {quoted(accept)}'
        problems.add(Place("GOLDEN_ACCEPT_EULA"), "", text)
    elif accept:
        overrides["accept_eula"] = accept == "1"
    if names := _named("GOLDEN_IMAGES", environ, images, problems):
        overrides["build"] = names
    if layers := environ.get("GOLDEN_LAYERS"):
        overrides["layers"] = layers
    if key := environ.get("GOLDEN_SIGNING_KEY"):
        overrides["signing_key"] = key
    if stores := _words(environ.get("GOLDEN_STORES", "")):
        overrides["stores"] = () if stores == ("none",) else stores
    return overrides


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _named(
    variable: str, environ: Mapping[str, str], images: Mapping[str, Any], problems: Problems
) -> tuple[str, ...]:
    """The images that a variable of the environment names."""
    names = _words(environ.get(variable, ""))
    for name in names:
        if name not in images:
            text = f"no such image in images/: {quoted(name)}{did_you_mean(name, images)}"
            problems.add(Place(variable), "", text)
    return names
