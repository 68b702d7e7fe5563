r"""The registry: values by key and name, in any case, kept as one JSON file on C:.

The file is ``C:\Windows\System32\config\registry.json``; in WinPE it lives in memory. Every change
is written at once, by rename, because the machine may be switched off at any time.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HIVES = {
    "hkey_local_machine": "HKLM",
    "hkey_current_user": "HKCU",
    "hkey_users": "HKU",
    "hkey_classes_root": "HKCR",
}
SHORT = ("HKLM", "HKCU", "HKU", "HKCR")
FILE = "Windows/System32/config/registry.json"

Value = dict[str, Any]


class BadKey(Exception):
    """Not a key of the registry."""


def canonical(key: str) -> str:
    r"""``HKLM\SOFTWARE\X`` for every way of writing it."""
    head, _, rest = key.replace("/", "\\").strip("\\").partition("\\")
    hive = HIVES.get(head.rstrip(":").lower(), head.rstrip(":").upper())
    if hive not in SHORT:
        raise BadKey(f"{key} names no hive of the registry")
    return "\\".join([hive, *(part for part in rest.split("\\") if part)])


class Registry:
    """The registry in a file; without a file, in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._memory: dict[str, dict[str, Value]] = {}

    def _read(self) -> dict[str, dict[str, Value]]:
        if self.path is None:
            return self._memory
        try:
            found: dict[str, dict[str, Value]] = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        return found

    @contextmanager
    def _changing(self) -> Iterator[dict[str, dict[str, Value]]]:
        if self.path is None:
            yield self._memory
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with Path(f"/tmp/registry-{os.getuid()}.lock").open("w") as lock:  # noqa: S108
            fcntl.flock(lock, fcntl.LOCK_EX)
            values = self._read()
            yield values
            part = self.path.with_suffix(".new")
            with part.open("w") as stream:
                json.dump(values, stream, indent=1, sort_keys=True)
                stream.flush()
                os.fsync(stream.fileno())  # Windows' hives survive a power cut, too
            part.replace(self.path)

    def get(self, key: str, name: str) -> Value | None:
        """``{"name", "type", "value"}`` of a value, or ``None``."""
        return self._read().get(canonical(key).lower(), {}).get(name.lower())

    def data(self, key: str, name: str, default: Any = None) -> Any:
        """Just the data of a value."""
        found = self.get(key, name)
        return default if found is None else found["value"]

    def set(self, key: str, name: str, value: Any, kind: str = "String") -> None:
        """Write a value; the key is made."""
        with self._changing() as values:
            entry = {"name": name, "type": kind, "value": value}
            values.setdefault(canonical(key).lower(), {})[name.lower()] = entry

    def delete(self, key: str, name: str) -> None:
        """Remove a value, if it is there."""
        with self._changing() as values:
            values.get(canonical(key).lower(), {}).pop(name.lower(), None)

    def delete_key(self, key: str) -> None:
        """Remove a key and all below it."""
        with self._changing() as values:
            start = canonical(key).lower()
            for name in [n for n in values if n == start or n.startswith(start + "\\")]:
                del values[name]

    def values(self, key: str) -> dict[str, Any]:
        """The data of all values of a key, by name."""
        found = self._read().get(canonical(key).lower(), {})
        return {entry["name"]: entry["value"] for entry in found.values()}

    def keys(self, key: str) -> list[str]:
        """The names of the keys right below ``key``, in lower case."""
        start = canonical(key).lower() + "\\"
        below = (
            name[len(start) :].split("\\")[0] for name in self._read() if name.startswith(start)
        )
        return sorted(set(below))
