"""What makes Setup stop and ask: the image, the licence, the key, the language."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.answers.document import Document, at, first, number, text, true, value
from pipeline.answers.findings import Severity
from pipeline.answers.rules.rule import Problem, rule

SETUP = "Microsoft-Windows-Setup"
LANGUAGE = "Microsoft-Windows-International-Core-WinPE"


@rule(
    "image-choice",
    "without MetaData Setup asks for the edition, unless the medium has only one",
    "write a Key such as /IMAGE/NAME and its Value",
)
def image_choice(document: Document) -> Iterator[Problem]:
    """An image to install that is not named, or an index that is none."""
    for image in document.every(SETUP, "ImageInstall/OSImage"):
        choices = at(image, "InstallFrom/MetaData")
        if not choices:
            fix = "name it: /IMAGE/NAME"
            yield Problem(image, "no edition is chosen", fix, Severity.WARNING)
        for choice in choices:
            for name in ("Key", "Value"):
                if first(choice, name) is None:
                    yield Problem(choice, f"MetaData has no {name}")
            index = value(choice, "Key") == "/IMAGE/INDEX"
            if index and first(choice, "Value") is not None and not number(choice, "Value"):
                yield Problem(choice, f'"{value(choice, "Value")}" is no index', "1, 2, 3 …")


@rule("image-target", "OSImage takes InstallTo or InstallToAvailablePartition=true, one of the two")
def image_target(document: Document) -> Iterator[Problem]:
    """Images with both ways to say where, or with neither."""
    for image in document.every(SETUP, "ImageInstall/OSImage"):
        named, available = at(image, "InstallTo"), true(image, "InstallToAvailablePartition")
        if named and available:
            message = "InstallTo and InstallToAvailablePartition=true exclude each other"
            yield Problem(named[0], message, "keep one")
        elif not named and not available:
            fix = "add InstallTo"
            yield Problem(image, "it is not said where Windows goes", fix, Severity.WARNING)


@rule("eula", "Setup shows the licence until AcceptEula is true")
def eula(document: Document) -> Iterator[Problem]:
    """A file that installs an image and does not accept the licence."""
    accepted = list(document.every(SETUP, "UserData/AcceptEula"))
    for image in document.every(SETUP, "ImageInstall/OSImage"):
        if not accepted:
            message = "UserData/AcceptEula is missing: Setup stops at the licence"
            yield Problem(image, message, "AcceptEula true")
    for element in accepted:
        if text(element).lower() in ("false", "0"):
            yield Problem(element, "Setup stops at the licence", "AcceptEula true")


@rule(
    "language-page",
    "24H2 and Server 2025 show a language page without this component",
    "<SetupUILanguage><UILanguage>en-US</UILanguage></SetupUILanguage>",
)
def language_page(document: Document) -> Iterator[Problem]:
    """A file that installs an image and says no language for Setup."""
    named = [component for component in document.components if component.name == LANGUAGE]
    for image in document.every(SETUP, "ImageInstall/OSImage"):
        if not named:
            fix = "add it, with SetupUILanguage/UILanguage"
            yield Problem(image, f"{LANGUAGE} is missing", fix, Severity.WARNING)
    for component in named:
        if first(component.element, "SetupUILanguage/UILanguage") is None:
            message = "SetupUILanguage/UILanguage is missing: Setup asks for its language"
            yield Problem(component.element, message)


@rule("token", "Microsoft's own components have the public key token 31bf3856ad364e35")
def token(document: Document) -> Iterator[Problem]:
    """A Windows component that says it is signed by someone else."""
    for component in document.components:
        found = component.element.get("publicKeyToken", "")
        windows = component.name.startswith(("Microsoft-", "Networking-", "Security-"))
        if windows and found and found.lower() != "31bf3856ad364e35":
            yield Problem(
                component.element,
                f'publicKeyToken="{found}" is not that of Windows: the component is ignored',
                'publicKeyToken="31bf3856ad364e35"',
            )


@rule("component-twice", "a component is given once per pass and architecture")
def component_twice(document: Document) -> Iterator[Problem]:
    """A component that occurs twice in a pass for the same architecture."""
    seen: set[tuple[str, str, str]] = set()
    for component in document.components:
        key = (component.pass_name, component.name, component.architecture)
        if key in seen:
            message = f"{component.name} is given twice in {component.pass_name}"
            yield Problem(component.element, message, "put the settings into one")
        seen.add(key)


@rule(
    "driver-path",
    "a driver path is absolute: a drive's or a share's",
    "write a Path with a drive or a share, such as D:\\drivers",
)
def driver_path(document: Document) -> Iterator[Problem]:
    """Driver paths that are missing, or relative to a folder nobody knows."""
    for name in ("WinPE", "NonWinPE"):
        component = f"Microsoft-Windows-PnpCustomizations{name}"
        for item in document.every(component, "DriverPaths/PathAndCredentials"):
            path = value(item, "Path")
            if first(item, "Path") is None:
                yield Problem(item, "PathAndCredentials has no Path")
            elif path and not (path[1:3] == ":\\" or path.startswith(("\\\\", "%"))):
                yield Problem(item, f'"{path}" is not absolute', r"such as D:\drivers")
