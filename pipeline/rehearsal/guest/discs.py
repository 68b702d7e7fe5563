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

from .drivers import beside
from .winpath import Drives

PUBLIC_KEY = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ [A-Za-z0-9+/=]{16,}( .*)?")
HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,13}[A-Za-z0-9])?")
KEY_NAMES = ("ssh_authorized_keys", "ssh-authorized-keys")  # cloud-init takes both
LIMA = ("provision.dependency", "provision.system", "provision.user")


@dataclass(slots=True)
class Wishes:
    """What is to become of this machine."""

    disc: str = "none"
    instance: str = ""
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
        short = str(text or "").split(".")[0]
        if HOST_NAME.fullmatch(short):
            self.host_name = short
        elif short:
            self.errors.append(f"not a host name: {short[:30]}")


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


def _mapping(path: Path, wishes: Wishes) -> dict[str, Any]:
    try:
        value = yaml(path.read_text(errors="replace"))
    except ValueError as error:
        wishes.errors.append(f"{path.name} is malformed: {error}")
        # Whatever else is broken, the keys are what lets its owner in to repair it.
        found = (line.strip().lstrip("-").strip() for line in path.read_text().splitlines())
        return {"ssh_authorized_keys": [line for line in found if PUBLIC_KEY.fullmatch(line)]}
    if not isinstance(value, dict):
        wishes.errors.append(f"{path.name} is no mapping")
        return {}
    return value


def _cloud_config(path: Path, wishes: Wishes) -> None:
    config = _mapping(path, wishes)
    wishes.name(config.get("hostname"))
    for name in KEY_NAMES:
        wishes.add_keys(config.get(name))
    for user in config.get("users") or []:
        if isinstance(user, dict) and user.get("name"):
            wishes.users.append(str(user["name"]))
            for name in KEY_NAMES:
                wishes.add_keys(user.get(name))
    for command in config.get("runcmd") or []:
        wishes.commands.append(" ".join(command) if isinstance(command, list) else str(command))


def nocloud(meta_data: Path, user_data: Path) -> Wishes:
    """A NoCloud disc."""
    wishes = Wishes("nocloud")
    meta = _mapping(meta_data, wishes)
    wishes.instance = str(meta.get("instance-id", "")) or "nocloud"
    wishes.name(meta.get("local-hostname"))
    wishes.add_keys(meta.get("public-keys"))
    text = user_data.read_text(errors="replace").lstrip("\ufeff")
    if text.startswith("#cloud-config"):
        _cloud_config(user_data, wishes)
    elif text.startswith("#ps1"):
        wishes.scripts.append("user-data")
    elif text.strip():
        wishes.errors.append("user-data is neither #cloud-config nor #ps1")
    return wishes


def lima(keys: Path, folder: Path) -> Wishes:
    """A disc of Lima's."""
    data = keys.read_bytes()
    wishes = Wishes("lima", instance=hashlib.sha256(data).hexdigest()[:16])
    lines = data.decode("utf-8-sig", "replace").splitlines()
    wishes.add_keys([line for line in lines if line.strip() and not line.startswith("#")])
    for name in LIMA:
        if below := beside(folder, name):
            wishes.scripts += [f"{name}/{path.name}" for path in sorted(below.iterdir())]
    return wishes


def find(drives: Drives) -> Wishes:
    """What the attached discs ask for; Lima's comes first."""
    roots = [path for letter, path in sorted(drives.letters.items()) if letter not in ("C", "Z")]
    for root in roots:
        if keys := beside(root, "ssh_authorized_keys"):
            return lima(keys, root)
    for root in roots:
        meta, user = beside(root, "meta-data"), beside(root, "user-data")
        if meta and user:
            return nocloud(meta, user)
    return Wishes()
