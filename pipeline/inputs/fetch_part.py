"""A download under way: the partial file, its running digest, and where its bytes come from.

Goes in: bytes as they arrive. Comes out: the file under its partial name, and its SHA-256 without a
second reading. A note beside the file, written before the first byte, says which server's entity it
belongs to, so that a run after a crash can go on with it; what is already there is hashed once.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from pathlib import Path
from typing import Any

from pipeline.definitions.model import Kind
from pipeline.foundation.files import CHUNK, read_json, sha256_bytes, write_json
from pipeline.foundation.progress import Progress
from pipeline.foundation.units import human_bytes
from pipeline.inputs.fetch_meter import Meter
from pipeline.inputs.magic import Sniffer

_QUEUED = 8


class Hasher:
    """SHA-256 in a thread of its own, so that hashing overlaps with the network and the disk."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (data := self._queue.get()) is not None:
            self._hash.update(data)
            self._queue.task_done()

    def update(self, data: bytes) -> None:
        """Take more bytes; waits while too many are queued."""
        self._queue.put(data)

    def hexdigest(self) -> str:
        """The digest of everything taken so far."""
        self._queue.join()
        return self._hash.hexdigest()

    def reset(self) -> None:
        """Forget everything taken."""
        self._queue.join()
        self._hash = hashlib.sha256()

    def close(self) -> None:
        """End the thread."""
        self._queue.put(None)
        self._thread.join()


class Part:
    """The partial file of one artifact; use as a context manager, under the artifact's lock."""

    def __init__(self, folder: Path, name: str, kind: Kind) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self._note = folder / f"{name}.part", folder / f"{name}.json"
        self._kind = kind
        self._load_note()
        self.resumed = False
        self.size = 0
        self._sniffer = Sniffer(kind)
        self._hasher = Hasher()
        if self.path.exists():
            self.path.chmod(0o644)  # a run that ended just before the rename had protected it
        self._stream = self.path.open("ab", buffering=0)

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        self._hasher.close()
        empty = os.fstat(self._stream.fileno()).st_size == 0
        self._stream.close()
        if empty:
            self.remove()

    def _load_note(self) -> None:
        note: Any = read_json(self._note)
        known = note if isinstance(note, dict) else {}
        self._source = str(known.get("source", ""))
        self.validator = str(known.get("validator", ""))
        total = known.get("total")
        self.total = total if isinstance(total, int) else None

    def take_up(self, progress: Progress, limit: int | None) -> None:
        """Hash what an earlier run left; drop it when it can't be the beginning of the artifact."""
        length = self.path.stat().st_size
        if not length:
            return
        if limit is not None and length > limit:
            self.restart()
            return
        progress.phase("checking the part that is already here")
        meter = Meter(progress, 0, length)
        with self.path.open("rb", buffering=0) as stream:
            while data := stream.read(CHUNK):
                if self._sniffer.feed(data):
                    self.restart()
                    return
                self._hasher.update(data)
                self.size += len(data)
                meter.at(self.size)
        self.resumed = True
        progress.event(f"{human_bytes(self.size)} are already here")

    def comes_from(self, url: str) -> bool:
        """Whether the bytes so far were sent by ``url``."""
        return self._source == sha256_bytes(url.encode())

    def belongs_to(self, url: str, validator: str, total: int | None) -> None:
        """Note whose entity comes next; a digest stands for the URL, which may be secret."""
        self._source, self.validator, self.total = sha256_bytes(url.encode()), validator, total
        note = {"source": self._source, "validator": validator, "total": total}
        write_json(self._note, note)

    def write(self, data: bytes) -> str:
        """Append bytes; returns what is wrong with them (they are then not written), or nothing."""
        if complaint := self._sniffer.feed(data):
            return complaint
        view = memoryview(data)
        while view:
            view = view[self._stream.write(view) :]
        self._hasher.update(data)
        self.size += len(data)
        return ""

    def finish(self) -> str:
        """All bytes are there; returns what is wrong with the beginning, or nothing."""
        return self._sniffer.finish()

    def digest(self) -> str:
        """SHA-256 of everything written."""
        return self._hasher.hexdigest()

    def restart(self) -> None:
        """Begin again with nothing."""
        self._hasher.reset()
        self._sniffer = Sniffer(self._kind)
        self._stream.truncate(0)
        self.size, self.resumed = 0, False
        self._source, self.validator, self.total = "", "", None
        self._note.unlink(missing_ok=True)

    def flush(self) -> os.stat_result:
        """Bring the file to the disk, write-protected; returns its state, which a rename keeps."""
        os.fsync(self._stream.fileno())
        os.fchmod(self._stream.fileno(), 0o444)
        return os.fstat(self._stream.fileno())

    def remove(self) -> None:
        """Delete the partial file and its note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
