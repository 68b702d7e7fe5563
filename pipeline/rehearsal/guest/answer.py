"""An answer file, read and judged as Setup does.

Goes in: the file's bytes. Comes out: settings by pass and component as plain dictionaries and
lists, or :class:`Refused` with the sentence Setup would show. The rules are this program's own
reading of Microsoft's reference; the pipeline's checks are another reading, and the two must agree
on a good file.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from xml.etree import ElementTree as ET

from .rules import PASSES, TABLE

NAMESPACE = "{urn:schemas-microsoft-com:unattend}"
WCM = "{http://schemas.microsoft.com/WMIConfig/2002/State}"
TOKEN = "31bf3856ad364e35"  # noqa: S105 - the public key token of every component of Windows
LENGTHS = {"path": 259, "line": 1024, "text": 4096}
KEY = re.compile(r"([A-Z0-9]{5}-){4}[A-Z0-9]{5}", re.IGNORECASE)
FORBIDDEN = re.compile(r"""[\s{|}~\[\\\]^':;<=>?@!"#$%`()+/.,*&_]""")

Settings = dict[str, Any]


class Refused(Exception):
    """Setup stops at this answer file."""


def _local(element: ET.Element) -> str:
    if not element.tag.startswith(NAMESPACE):
        raise Refused(f"the element {element.tag} is not of the unattend name space")
    return element.tag.removeprefix(NAMESPACE)


SHAPES = {
    "bool": (re.compile("true|false|0|1"), "true or false"),
    "number": (re.compile("[0-9]+"), "a number"),
    "order": (re.compile("0*[1-9][0-9]*"), "a number from 1 on"),
    "letter": (re.compile("[A-Za-z]"), "a drive letter"),
    "key": (KEY, "a product key that Setup can validate"),
}


def _text(kind: Any, name: str, text: str) -> str:
    if isinstance(kind, tuple):
        if text not in kind:
            raise Refused(f"{name}: {text!r} is none of {', '.join(kind)}")
    elif kind == "computer":
        _computer_name(text)
    elif kind in SHAPES:
        shape, what = SHAPES[kind]
        if not shape.fullmatch(text):
            raise Refused(f"{name}: {text!r} is not {what}")
    elif len(text) > LENGTHS[kind]:
        raise Refused(f"{name}: {len(text)} characters are more than {LENGTHS[kind]}")
    return text


def _computer_name(text: str) -> None:
    if text == "*":
        return
    if not text or len(text.encode()) > 15 or text.isdigit() or FORBIDDEN.search(text):
        raise Refused(f"ComputerName: {text!r} is not a name of 1 to 15 allowed characters")


def _ordered(name: str, items: list[Settings]) -> list[Settings]:
    """List items by their Order, which must be given once each."""
    if not items or all("Order" not in item for item in items):
        return items
    if any("Order" not in item for item in items):
        raise Refused(f"{name}: an item has no Order")
    numbers = [int(item["Order"]) for item in items]
    if len(set(numbers)) != len(numbers):
        raise Refused(f"{name}: an Order is used twice")
    if sorted(numbers) != list(range(1, len(numbers) + 1)):
        raise Refused(f"{name}: Order {sorted(numbers)} does not count from 1 without a gap")
    return sorted(items, key=lambda item: int(item["Order"]))


def _children(element: ET.Element, table: dict[str, Any], where: str) -> Settings:
    found: Settings = {}
    for child in element:
        name = _local(child)
        here = f"{where}/{name}"
        if name + "*" in table:
            if child.get(WCM + "action") != "add":
                raise Refused(f'{here}: a list item without wcm:action="add"')
            found.setdefault(name, []).append(_children(child, table[name + "*"], here))
        elif name not in table:
            raise Refused(f"{here}: the setting does not exist in this pass")
        elif name in found:
            raise Refused(f"{here}: given twice")
        elif isinstance(table[name], dict):
            found[name] = _children(child, table[name], here)
        elif len(child):
            raise Refused(f"{here}: holds elements where it should hold text")
        else:
            found[name] = _text(table[name], here, (child.text or "").strip())
    return {k: _ordered(f"{where}/{k}", v) if isinstance(v, list) else v for k, v in found.items()}


def _component(
    element: ET.Element, known: dict[str, Any], name: str, architecture: str
) -> Settings:
    wanted = {"publicKeyToken": TOKEN, "language": "neutral", "versionScope": "nonSxS"}
    for attribute, value in wanted.items():
        if element.get(attribute) != value:
            raise Refused(f"{name}: the component's {attribute} is not {value}")
    if element.get("processorArchitecture") not in ("amd64", "x86", "arm64", "wow64"):
        raise Refused(f"{name}: the component has no processorArchitecture")
    if element.get("processorArchitecture") != architecture:
        return {}  # a component for another processor is passed over, silently, as Windows does
    return _children(element, known, name)


def _pass(element: ET.Element, name: str, architecture: str) -> dict[str, Settings]:
    found: dict[str, Settings] = {}
    for child in element:
        if _local(child) != "component":
            raise Refused(f"{name}: <{_local(child)}> where a component should be")
        component = child.get("name") or ""
        known = TABLE.get(name, {}).get(component)
        if known is None:
            raise Refused(f"{name}: the component {component} does not exist in this pass")
        settings = _component(child, known, f"{name}/{component}", architecture)
        if component in found and settings:
            raise Refused(f"{name}: the component {component} is there twice")
        found.setdefault(component, {}).update(settings)
    return found


def read(data: bytes, architecture: str = "amd64") -> dict[str, dict[str, Settings]]:
    """The settings by pass and component; every pass is judged, whichever is to be applied."""
    try:
        root = ET.fromstring(data)  # noqa: S314 - from a disc of the build's own
    except ET.ParseError as error:
        raise Refused(f"not well-formed XML: {error}") from None
    if _local(root) != "unattend":
        raise Refused(f"the file's element is <{_local(root)}>, not <unattend>")
    passes: dict[str, dict[str, Settings]] = {}
    for child in root:
        name = child.get("pass") or ""
        if _local(child) != "settings" or name not in PASSES:
            raise Refused(f"<{_local(child)} pass={name!r}> is not a pass")
        if name in passes:
            raise Refused(f"the pass {name} is there twice")
        passes[name] = _pass(child, name, architecture)
    return passes


def setting(settings: Settings | None, *path: str, default: Any = None) -> Any:
    """A setting by its path, or ``default``."""
    value: Any = settings
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return default
        value = value[name]
    return value


def true(settings: Settings | None, *path: str) -> bool:
    """Whether a setting says true."""
    return setting(settings, *path) in ("true", "1")


def password(settings: Settings, element: str) -> str:
    """The password that an element holds, plain or in Windows' encoding."""
    value = str(settings.get("Value", ""))
    if true(settings, "PlainText") or "PlainText" not in settings:
        return value
    try:
        decoded = base64.b64decode(value, validate=True).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError):
        raise Refused(f"{element}: the encoded value cannot be decoded") from None
    if not decoded.endswith(element):
        raise Refused(f"{element}: the encoded value does not end with the element's own name")
    return decoded.removesuffix(element)
