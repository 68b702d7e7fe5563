"""The signed list of a version's files, and its manifest, as somebody else sent them.

Goes in: bytes under a good signature. Comes out: files with digests and plain names, in the order
to fetch them; or the refusal, when names lead elsewhere or speak of another version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pipeline.publishing.catalog import Entry
from pipeline.publishing.refusals import PullFailed
from pipeline.publishing.stores.base import Blob

SUMS = "SHA256SUMS"
SUMS_SIGNATURE = "SHA256SUMS.sig"
MANIFEST = "manifest.json"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\r\n]+)")
_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,3}}")


def blobs(data: bytes, entry: Entry) -> list[Blob]:
    """The files of the signed list, the disk last; names that lead anywhere else are refused."""
    try:
        lines = [line for line in data.decode().split("\n") if line]
    except UnicodeDecodeError:
        lines = [""]
    found: dict[str, Blob] = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if not match or not _NAME.fullmatch(match[2]) or match[2] in found:
            raise PullFailed(
                27, f"{entry.image} {entry.version}: {SUMS} has an odd line: {line[:120]!r}"
            )
        size = entry.size if match[2] == entry.disk else None
        found[match[2]] = Blob(match[2], match[1], size)
    folders = {str(parent) for name in found for parent in PurePosixPath(name).parents}
    if clash := folders & set(found):
        text = f"{SUMS} has a file and a folder of one name: {min(clash)}"
        raise PullFailed(27, f"{entry.image} {entry.version}: {text}")
    missing = {entry.disk, MANIFEST} - set(found)
    if missing:
        raise PullFailed(
            27, f"{entry.image} {entry.version}: {SUMS} lacks {', '.join(sorted(missing))}"
        )
    if found[entry.disk].sha256 != entry.sha256:
        raise PullFailed(
            26, f"{entry.image} {entry.version}: catalog and {SUMS} name different disks"
        )
    return sorted(found.values(), key=lambda blob: (blob.name == entry.disk, blob.name))


def agree(manifest: Mapping[str, Any], entry: Entry) -> None:
    """The signed manifest must speak of this very version: lists can't be exchanged."""
    disk = mapping(manifest.get("disk"))
    said = (manifest.get("image"), manifest.get("version"), disk.get("sha256"), disk.get("size"))
    if said != (entry.image, entry.version, entry.sha256, entry.size):
        raise PullFailed(
            26,
            f"{entry.image} {entry.version}: its manifest is that of "
            f"{str(said[0])[:60]} {str(said[1])[:60]}",
            hint="somebody put one version in another's place; tell the publisher",
        )


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` where it is a JSON object; else an empty one."""
    return value if isinstance(value, dict) else {}
