"""What is known to be verified, and how that is recognised without reading it again.

Goes in: pins, and files that were just verified. Comes out: a record in the cache beside the
artifact (so that every workspace with this cache profits) and the receipt in the workspace that the
task graph looks at. Both are small JSON; asking costs one read and one ``stat``.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.definitions.model import Pin
from pipeline.foundation.files import read_json, sha256_bytes, write_json
from pipeline.foundation.paths import Workspace
from pipeline.inputs.fetch_urls import file_name


@dataclass(frozen=True, slots=True)
class Record:
    """A verified file, recognised by size and modification time, local media also by inode."""

    sha256: str
    size: int
    mtime_ns: int
    inode: int
    url: str
    fetched_at: str
    seconds: float

    @classmethod
    def of(cls, pin: Pin, state: os.stat_result, url: str, seconds: float) -> Record:
        """The record of a file that was verified just now; ``seconds`` is what that took."""
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        return cls(
            sha256=str(pin.sha256),
            size=state.st_size,
            mtime_ns=state.st_mtime_ns,
            inode=state.st_ino,
            url=url,
            fetched_at=now.isoformat(),
            seconds=round(seconds, 3),
        )

    def describes(self, path: Path, *, in_place: bool) -> bool:
        """Whether ``path`` is still the file that was verified.

        A cache may be copied with its times to another disk, where inodes differ; a user's own file
        stays where it is, and a different inode means that it was replaced.
        """
        try:
            now = path.stat()
        except OSError:
            return False
        same = (now.st_size, now.st_mtime_ns) == (self.size, self.mtime_ns)
        return same and (not in_place or now.st_ino == self.inode)


def folder(pin: Pin, workspace: Workspace) -> Path:
    """Where everything about the pin's digest lies in the cache."""
    return workspace.artifacts / str(pin.sha256)


def location(pin: Pin, workspace: Workspace) -> Path:
    """Where the verified artifact is, or will be."""
    if pin.file is not None:
        return workspace.root / Path(pin.file).expanduser()
    return folder(pin, workspace) / file_name(pin)


def record_path(pin: Pin, workspace: Workspace) -> Path:
    """Where the record of the pin's verification lies."""
    if pin.file is None:
        return folder(pin, workspace) / f".{file_name(pin)}.verified.json"
    place = sha256_bytes(os.fsencode(location(pin, workspace)))[:16]
    return folder(pin, workspace) / f".local-{place}.verified.json"


def read_record(path: Path) -> Record | None:
    """A record; None when there is none or it is not one."""
    found: Any = read_json(path)
    names = {field.name for field in fields(Record)}
    if not isinstance(found, dict) or set(found) != names:
        return None
    return Record(**found)


def valid_record(pin: Pin, workspace: Workspace) -> Record | None:
    """The record that vouches for the pin's artifact as it is now, or None."""
    record = read_record(record_path(pin, workspace))
    if not record or record.sha256 != pin.sha256:
        return None
    in_place = pin.file is not None
    return record if record.describes(location(pin, workspace), in_place=in_place) else None


def write_record(pin: Pin, workspace: Workspace, record: Record) -> None:
    """Keep a verification; for a download this comes before the rename to the final name."""
    write_json(record_path(pin, workspace), asdict(record))


def write_receipt(pin: Pin, workspace: Workspace, record: Record) -> None:
    """The workspace's receipt; an equal one is left alone, so nothing that watches it stirs."""
    receipt = asdict(record) | {
        "schema": 1,
        "pin": pin.name,
        "version": pin.version,
        "path": os.fspath(location(pin, workspace)),
    }
    path = workspace.fetch_receipt(pin.name)
    if read_json(path) != receipt:
        write_json(path, receipt)
