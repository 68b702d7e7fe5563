"""Turns a sealed disk into a version folder that appears by one rename, and looks at one again.

Goes in: the sealed disk, the manifest, further files by name (``consumers/run.sh``), a key. Comes
out: a folder whose ``SHA256SUMS`` lists every file below it and is signed; all of them read-only.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, sha256_file, write_bytes, write_json
from pipeline.machine import image as qemu_img
from pipeline.publishing.catalog import order
from pipeline.publishing.manifest import DISK, Disk, require_valid
from pipeline.publishing.signature import SUFFIX

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SIGNATURE = SUMS + SUFFIX
LARGEST_SUMS = 1 << 20

# What benchmarks/convert.py printed on two cores, against plain ``-c`` (zlib, clusters of 64K):
#
#     -W -m 16, zlib          time 0.76  size 1.000  scattered reads  1.31
#     -W -m 16, zstd,  64K    time 0.11  size 0.986  scattered reads  0.50
#     -W -m 16, zstd, 256K    time 0.13  size 0.948  scattered reads  2.34
#     -W -m 16, zstd,   2M    time 0.18  size 0.939  scattered reads 17.82
#
# Machines boot from overlays on this file, and each small read unpacks a whole cluster: 64K, the
# one that beats the plain command in all three, is worth more than 5 % of the download.
CONVERT_OPTIONS = ("-c", "-W", "-m", "16", "-o", "compression_type=zstd,cluster_size=64K")

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][\w./-]{0,199})", re.ASCII)


class Damaged(PipelineError):
    """A version's files are not those that its list names."""

    exit_code = 26


def compress(sealed: Path, folder: Path) -> Disk:
    """Flatten and compress ``sealed`` (an overlay) into ``folder``; checks the result."""
    target = folder / DISK
    qemu_img.convert(sealed, target, CONVERT_OPTIONS)
    qemu_img.check(target)
    virtual_size = qemu_img.info(target).virtual_size
    return Disk(target.stat().st_size, virtual_size, sha256_file(target))


def complete(
    folder: Path,
    manifest: Mapping[str, Any],
    more: Mapping[str, bytes],
    sign: Callable[[Path], Path],
) -> None:
    """Add the manifest, further files by their names, ``SHA256SUMS`` over all, its signature."""
    require_valid(manifest)
    write_json(folder / MANIFEST, manifest)
    for name, data in more.items():
        write_bytes(folder / name, data)
    known = {manifest["disk"]["file"]: manifest["disk"]["sha256"]}
    sums = [f"{known.get(name) or sha256_file(folder / name)}  {name}\n" for name in _names(folder)]
    parse_sums("".join(sums))
    write_bytes(folder / SUMS, "".join(sums).encode())
    sign(folder / SUMS)


def _names(folder: Path) -> Iterator[str]:
    """Every file below the folder but the list itself and its signature, sorted."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = sorted(path.relative_to(folder).as_posix() for path in files)
    yield from (name for name in names if name not in (SUMS, SIGNATURE))


def parse_sums(text: str) -> dict[str, str]:
    """File name to digest; raises unless every name stays below the folder and occurs once.

    Upper and lower case count as the same, since they are on some consumers' filesystems.
    """
    found: dict[str, str] = {}
    seen = {SUMS.casefold(), SIGNATURE.casefold()}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        parts = match[2].split("/") if match else [".."]
        if match is None or not all(parts) or any(part.startswith(".") for part in parts):
            raise Damaged(
                f"{SUMS}, line {number}: expected a SHA-256, two spaces and the name of a file"
                " below the version's folder"
            )
        if match[2].casefold() in seen:
            raise Damaged(f"{SUMS}, line {number}: {match[2]} is listed twice, or is the list")
        seen.add(match[2].casefold())
        found[match[2]] = match[1]
    if MANIFEST not in found:
        raise Damaged(f"{SUMS} lists no {MANIFEST}")
    return found


def require_whole(folder: Path) -> dict[str, str]:
    """The files of a version and their digests; raises unless they are there, exactly these."""
    try:
        listed = parse_sums((folder / SUMS).read_text())
    except FileNotFoundError:
        raise Damaged(
            f"there is no {folder / SUMS}",
            hint="name the folder of one version, such as output/publish/<image>/<version>",
        ) from None
    there = set(_names(folder))
    for name, digest in listed.items():
        path = folder / name
        if name not in there or path.is_symlink():
            raise Damaged(f"{folder}: {name} is missing", hint="pull the version again")
        if sha256_file(path) != digest:
            raise Damaged(f"{path} is not what {SUMS} says", hint="pull the version again")
    if extra := sorted(there - set(listed)):
        raise Damaged(
            f"{folder / extra[0]} is not listed in {SUMS}", hint="it is no part of the version"
        )
    return listed


def appear(folder: Path, final: Path) -> None:
    """Give the finished folder its name; read-only files, so that nobody boots them by mistake."""
    final.parent.mkdir(parents=True, exist_ok=True)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    folder.rename(final)


@contextlib.contextmanager
def staging(published: Path, image: str, identifier: str) -> Iterator[Path]:
    """An empty folder on the store's filesystem; gone afterwards, unless it has appeared."""
    folder = published / image / f".{identifier[:12]}.part"
    shutil.rmtree(folder, ignore_errors=True)  # a killed run's
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unlisted(folder: Path, build_id: str, listed: Collection[str]) -> Path | None:
    """A whole version of this very build that no catalog lists: its run was killed just before.

    Only one that is later than all that are ``listed``: an earlier one was listed, perhaps
    withdrawn, and is left behind by its removal.
    """
    last = max((order(version) for version in listed), default=order(""))
    for path in sorted(folder.glob(f"[!.]*/{MANIFEST}")):
        found = read_json(path)
        if not isinstance(found, dict) or found.get("build_id") != build_id:
            continue
        if order(path.parent.name) > last:
            with contextlib.suppress(Damaged):
                require_whole(path.parent)
                return path.parent
    return None
