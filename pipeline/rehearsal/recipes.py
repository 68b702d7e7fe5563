"""The identity of what the rehearsal makes, and where it lies once made.

Goes in: a part's name and version. Comes out: a digest over the sources that make it, cheap enough
for every stage's id, and the path of the finished file.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pipeline.foundation import files
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace

HERE = Path(__file__).parent
COMMON = ("medium.py", "packages.py")
SOURCES = {
    "windows": (*("cpio.py", "elf.py", "initramfs.py", "loader.py", "windows_disc.py", "guest"),),
    "drivers": ("driver_disc.py",),
    "winfsp": ("installers.py",),
    "openssh": ("installers.py",),
}
FILES = {
    "windows": "windows.iso",
    "drivers": "virtio-win.iso",
    "winfsp": "winfsp.msi",
    "openssh": "openssh.msi",
}


def _sources(part: str) -> list[Path]:
    if part not in SOURCES:
        known = ", ".join(SOURCES)
        raise PipelineError(f'the rehearsal makes no "{part}"', hint=f"it makes: {known}")
    named = [HERE / name for name in (*COMMON, *SOURCES[part])]
    return [p for path in named for p in (sorted(path.glob("*.py")) if path.is_dir() else [path])]


@cache
def _digests(part: str) -> tuple[tuple[str, str], ...]:
    """Name and digest of every source of a part; they do not change under a running process."""
    return tuple((str(p.relative_to(HERE)), files.sha256_file(p)) for p in _sources(part))


def recipe(part: str, version: str, faults: frozenset[str] = frozenset()) -> str:
    """The SHA-256 over the sources of a part, its version and the faults baked in."""
    value = [part, version, sorted(faults), _digests(part)]
    return files.sha256_bytes(files.canonical_json(value))


def place(
    part: str, version: str, workspace: Workspace, faults: frozenset[str] = frozenset()
) -> Path:
    """Where the finished file of a part lies."""
    folder = f"{part}-{recipe(part, version, faults)[:16]}"
    return workspace.rehearsal / folder / FILES[part]


def making(part: str, workspace: Workspace) -> Path:
    """The lock that ``medium.make`` holds; where the parts lie, as several outputs share them."""
    return workspace.rehearsal / "locks" / f"{part}.lock"


def made(part: str, version: str, workspace: Workspace) -> Path | None:
    """The finished file, when it has been made from these very sources."""
    path = place(part, version, workspace)
    return path if path.with_name("receipt.json").exists() and path.exists() else None
