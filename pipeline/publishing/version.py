"""Turns a sealed disk into a version folder that appears by one rename."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.foundation.files import sha256_file, write_bytes, write_json
from pipeline.machine import image as qemu_img
from pipeline.publishing.manifest import DISK, Disk

SUMS = "SHA256SUMS"

# Measured on Windows system files (benchmarks/convert.py): zstd in 2 MiB clusters is the fastest to
# write and within 1 % of the smallest; -W and 16 coroutines keep all cores busy.
CONVERT_OPTIONS = ("-c", "-W", "-m", "16", "-o", "compression_type=zstd,cluster_size=2M")


def compress(sealed: Path, folder: Path) -> Disk:
    """Flatten and compress ``sealed`` (an overlay) into ``folder``; checks the result."""
    target = folder / DISK
    qemu_img.convert(sealed, target, CONVERT_OPTIONS)
    qemu_img.check(target)
    virtual_size = qemu_img.info(target).virtual_size
    return Disk(target.stat().st_size, virtual_size, sha256_file(target))


def complete(folder: Path, manifest: Mapping[str, Any], more: Mapping[str, bytes]) -> None:
    """Add the manifest, further files and ``SHA256SUMS`` over all of them."""
    write_json(folder / "manifest.json", manifest)
    for name, data in more.items():
        write_bytes(folder / name, data)
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    known = {manifest["disk"]["file"]: manifest["disk"]["sha256"]}
    sums = [f"{known.get(name) or sha256_file(folder / name)}  {name}\n" for name in names]
    write_bytes(folder / SUMS, "".join(sums).encode())


def appear(folder: Path, final: Path) -> None:
    """Give the finished folder its name; read-only files, so that nobody boots them by mistake."""
    final.parent.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.rename(final)


def staging(published: Path, image: str, identifier: str) -> Path:
    """An empty folder on the store's filesystem; a leftover of a killed run is cleared away."""
    folder = published / image / f".{identifier[:12]}.part"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
