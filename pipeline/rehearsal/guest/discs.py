"""What a consumer's disc asks for: Lima's, or a NoCloud disc with ``#cloud-config``.

Goes in: the mounted discs. Comes out: :class:`Wishes`. The stand-in reads the small part of YAML
that the contract names, and says what it could not read.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from . import linux
from .drivers import beside
from .winpath import Drives

PUBLIC_KEY = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ [A-Za-z0-9+/=]{16,}( .*)?")
KEY_NAMES = ("ssh_authorized_keys", "ssh-authorized-keys")  # cloud-init takes both
LIMA = ("provision.dependency", "provision.system", "provision.user")


@dataclass(slots=True)
class Wishes:
    """What is to become of this machine."""

    disc: str = "none"
    instance: str = "none"
    host_name: str = ""
    keys: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add_keys(self, found: object) -> None:
        """Take the well-formed keys of a list or mapping; say of the others that they are none."""
        if isinstance(found, dict):  # KubeVirt numbers them
            found = list(found.values())
        for key in found if isinstance(found, list) else []:
            text = str(key).strip()
            if PUBLIC_KEY.fullmatch(text):
                self.keys.append(text)
            else:
                self.errors.append(f"not a public key: {text[:30]}")

    def name(self, text: object) -> None:
        """Take a host name, if it is one."""
        if not text:
            return
        short = re.sub(r"[^A-Za-z0-9-]", "-", str(text).split(".")[0]).strip("-")[:15].rstrip("-")
        if short and not short.isdigit():
            self.host_name = short
        else:
            self.errors.append(f"not a host name: {str(text)[:30]}")


def _scalar(text: str) -> str:
    if quoted := re.fullmatch(r"""(["'])(.*)\1\s*(?:#.*)?""", text.strip()):
        return quoted[2]
    return re.sub(r"(^|\s+)#.*$", "", text.strip())


def _lines(text: str) -> list[tuple[int, str]]:
    found = []
    for line in text.splitlines():
        bare = line.strip()
        if bare and not bare.startswith("#") and bare != "---":
            found.append((len(line) - len(line.lstrip()), bare))
    return found


def _block(lines: list[tuple[int, str]], indent: int) -> Any:
    """The list or mapping that begins at the first line; consumes its lines."""
    if lines[0][1].startswith("- ") or lines[0][1] == "-":
        return _items(lines, indent)
    found: dict[str, Any] = {}
    while lines and lines[0][0] == indent and not lines[0][1].startswith("- "):
        _, text = lines.pop(0)
        key, colon, rest = text.partition(":")
        if not colon:
            raise ValueError(f"line {text[:40]!r}")
        if rest.strip():
            found[key.strip()] = _flow(rest)
        elif lines and (lines[0][0] > indent or lines[0][1].startswith("- ")):
            found[key.strip()] = _block(lines, lines[0][0])
        else:
            found[key.strip()] = ""
    return found


def _flow(text: str) -> Any:
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(part) for part in text[1:-1].split(",") if part.strip()]
    return _scalar(text)


def _items(lines: list[tuple[int, str]], indent: int) -> list[Any]:
    found: list[Any] = []
    while lines and lines[0][0] == indent and lines[0][1].startswith("-"):
        _, text = lines.pop(0)
        rest = text[1:].strip()
        if re.match(r"[\w-]+:(\s|$)", rest):
            lines.insert(0, (indent + 2, rest))
            found.append(_block(lines, indent + 2))
        else:
            found.append(_flow(rest))
    return found


def yaml(text: str) -> Any:
    """The small part of YAML that the discs use: mappings, lists, plain and quoted text."""
    lines = _lines(text)
    if not lines:
        return {}
    value = _block(lines, lines[0][0])
    if lines:
        raise ValueError(f"line {lines[0][1][:40]!r}")
    return value


def _text(path: Path | None, name: str, wishes: Wishes) -> str:
    """What a file of a disc holds; one that is not there is told and holds nothing."""
    if path is None:
        wishes.errors.append(f"the disc has no {name}")
        return ""
    return path.read_text(errors="replace").lstrip("\ufeff")


def _mapping(text: str, name: str, wishes: Wishes) -> dict[str, Any]:
    try:
        value = yaml(text)
    except ValueError as error:
        wishes.errors.append(f"{name} is malformed: {error}")
        _rescue(text, wishes)
        return {}
    if not isinstance(value, dict):
        wishes.errors.append(f"{name} is no mapping")
        return {}
    return value


def _rescue(text: str, wishes: Wishes) -> None:
    """Whatever else is broken, the keys are what lets its owner in to repair it."""
    found = (line.strip().lstrip("-").strip() for line in text.splitlines())
    wishes.add_keys([line for line in found if PUBLIC_KEY.fullmatch(line)])


def _cloud_config(text: str, wishes: Wishes) -> None:
    config = _mapping(text, "user-data", wishes)
    wishes.name(config.get("hostname"))
    for name in KEY_NAMES:
        wishes.add_keys(config.get(name))
    for user in config.get("users") or []:
        if isinstance(user, str) and user != "default":
            wishes.users.append(user)
        elif isinstance(user, dict) and user.get("name"):
            wishes.users.append(str(user["name"]))
            for name in KEY_NAMES:
                wishes.add_keys(user.get(name))
    for command in config.get("runcmd") or []:
        wishes.commands.append(" ".join(command) if isinstance(command, list) else str(command))


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]


def nocloud(root: Path) -> Wishes:
    """A NoCloud disc."""
    wishes = Wishes("nocloud")
    meta_data = _text(beside(root, "meta-data"), "meta-data", wishes)
    text = _text(beside(root, "user-data"), "user-data", wishes)
    meta = _mapping(meta_data, "meta-data", wishes)
    wishes.instance = str(meta.get("instance-id", ""))
    if not wishes.instance:
        wishes.errors.append("meta-data has no instance-id")
        wishes.instance = f"nocloud-{_digest(meta_data.encode(), text.encode())}"
    wishes.name(meta.get("local-hostname"))
    wishes.add_keys(meta.get("public-keys"))
    if text.startswith("#cloud-config"):
        _cloud_config(text, wishes)
    elif text.startswith("#ps1"):
        wishes.scripts.append("user-data")
    elif text.strip():
        wishes.errors.append("user-data is neither #cloud-config nor #ps1")
        _rescue(text, wishes)
    return wishes


def _account(root: Path) -> list[str]:
    """The account that Lima logs in as, which its answer file names; none without one."""
    path = beside(root, "autounattend.xml")
    if path is None:
        return []
    root_element = ET.fromstring(path.read_bytes())  # noqa: S314 - a rehearsal's own disc
    found = root_element.findtext(".//{*}LocalAccount/{*}Name")
    return [found.strip()] if found else []


def lima(root: Path) -> Wishes:
    """A disc of Lima's; another key or script makes it another instance."""
    wishes = Wishes("lima")
    keys = _text(beside(root, "ssh_authorized_keys"), "ssh_authorized_keys", wishes)
    wishes.add_keys([line for line in keys.splitlines() if line.strip() and line[0] != "#"])
    try:
        wishes.users = _account(root)
    except ET.ParseError as error:
        wishes.errors.append(f"autounattend.xml: {error}")
    scripts = [
        (f"{name}/{path.name}", path.read_bytes())
        for name in LIMA
        if (below := beside(root, name))
        for path in sorted(below.iterdir())
    ]
    wishes.scripts = [name for name, _ in scripts]
    wishes.instance = f"lima-{_digest(keys.encode(), *(text for _, text in scripts))}"
    return wishes


def find(drives: Drives) -> Wishes:
    """What the first disc asks for that is a consumer's, by its label or Lima's file of keys."""
    roots = [path for letter, path in sorted(drives.letters.items()) if letter not in ("C", "Z")]
    for root in roots:
        label = linux.label(root.name).lower()  # a disc is mounted by its device's name
        if label == "cidata":
            return nocloud(root)
        if label == "autounattend" or beside(root, "ssh_authorized_keys"):
            return lima(root)
    return Wishes()
