"""The signed list of a version's files, and its manifest, as somebody else sent them.

Goes in: bytes under a good signature. Comes out: files with digests and plain names, in the order
to fetch them; or the refusal, when names lead elsewhere or speak of another version.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pipeline.publishing.catalog import Entry
from pipeline.publishing.refusals import PullFailed
from pipeline.publishing.stores.base import Blob
from pipeline.publishing.version import SUMS, Damaged, parse_sums


def blobs(data: bytes, entry: Entry) -> list[Blob]:
    """The files of the signed list, the disk last; names that lead anywhere else are refused."""
    what = f"{entry.image} {entry.version}"
    try:
        digests = parse_sums(data.decode())
    except (Damaged, UnicodeDecodeError) as error:
        told = error.message if isinstance(error, Damaged) else f"{SUMS} is not text"
        raise PullFailed(27, f"{what}: {told}") from None
    found = {
        name: Blob(name, digest, entry.size if name == entry.disk else None)
        for name, digest in digests.items()
    }
    folders = {str(parent) for name in found for parent in PurePosixPath(name).parents}
    if clash := folders & set(found):
        text = f"{SUMS} has a file and a folder of one name: {min(clash)}"
        raise PullFailed(27, f"{what}: {text}")
    if entry.disk not in found:
        raise PullFailed(27, f"{what}: {SUMS} lacks {entry.disk}")
    if found[entry.disk].sha256 != entry.sha256:
        raise PullFailed(26, f"{what}: catalog and {SUMS} name different disks")
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
