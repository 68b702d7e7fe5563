"""Answers that cost a second are remembered as long as what they depend on stays the same.

Goes in: a file, a key of everything the answer depends on, and how to find it. Comes out: the
answer, from the file when its key is equal.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import MissingRequirement
from pipeline.foundation.files import read_json, write_json
from pipeline.foundation.process import find_program

BINARY = "qemu-system-x86_64"
PACKAGES = {
    "apt": "apt-get install qemu-system-x86 qemu-utils",
    "dnf": "dnf install qemu-system-x86-core qemu-img",
    "zypper": "zypper install qemu-x86 qemu-img",
    "pacman": "pacman -S qemu-system-x86 qemu-img",
}


def install_hint(packages: dict[str, str]) -> str:
    """``install it with: apt-get install … | dnf install … | …``."""
    return "install it with: " + " | ".join(packages.values())


def remembered(path: Path, key: dict[str, Any], find: Callable[[], dict[str, Any]]) -> Any:
    """The JSON answer kept in ``path`` for ``key``; found anew and kept when the key differs."""
    kept = read_json(path)
    if isinstance(kept, dict) and kept.get("key") == key and "answer" in kept:
        return kept["answer"]
    answer = find()
    write_json(path, {"key": key, "answer": answer})
    return answer


def qemu_binary() -> Path:
    """QEMU for x86-64, or :class:`MissingRequirement` naming the packages."""
    try:
        return find_program(BINARY)
    except MissingRequirement:
        raise MissingRequirement(
            f"{BINARY} is not installed", hint=install_hint(PACKAGES)
        ) from None


def identity(binary: Path) -> dict[str, Any]:
    """What tells one installed version of a program from another."""
    status = binary.stat()
    return {"path": str(binary), "mtime": status.st_mtime_ns, "size": status.st_size}
