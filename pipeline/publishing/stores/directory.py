"""A folder as a store; any web server can serve it.

    index.json  index.json.sig  <image>/<version>/{disk.qcow2, manifest.json, SHA256SUMS, ...}

Goes in: files. Comes out: a folder per bundle that appears by one rename. Files are copied (shared
with the source where the filesystem can do that), never linked: the store must not change when
somebody writes to the original.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from pipeline.foundation.files import sha256_file, sync, write_bytes
from pipeline.foundation.locks import lock
from pipeline.foundation.progress import Progress
from pipeline.inputs.fetch_types import Answer, HttpError
from pipeline.inputs.fetch_urls import range_start
from pipeline.publishing import catalog
from pipeline.publishing.catalog import INDEX
from pipeline.publishing.stores.base import Odd, Source, Taken, Waiting, WritableStore

# A pipe in the place of a file must not keep a reader waiting.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DirectoryStore(WritableStore):
    """A folder on this host, or one that is mounted here."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.title = os.fspath(root)
        self.remote = False

    def source(self, key: str, name: str) -> Source:
        """See :class:`WritableStore`."""
        return Source(os.fspath(self._folder(key) / name), _Files(self._root))

    def has(self, key: str) -> bool:
        """See :class:`WritableStore`."""
        return self._folder(key).is_dir()

    def push(
        self,
        key: str,
        files: Mapping[str, Path],
        progress: Progress,
        *,
        disk: str = "",  # noqa: ARG002
    ) -> None:
        """See :class:`WritableStore`."""
        final = self._folder(key)
        with lock(self._lock(f"push-{key}"), progress.event):
            if final.is_dir():
                _refuse_other(final, files)
                return
            part = final.with_name(f".{final.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            for name, path in files.items():
                progress.update(f"copying {name}")
                _copy(path, part / name)
            part.rename(final)

    def replace(self, key: str, documents: Mapping[str, bytes]) -> None:
        """See :class:`WritableStore`; for the catalog, as publishing on this host does it."""
        folder = self._folder(key)
        if INDEX in documents:
            catalog.write(folder, documents)
            return
        for name, data in documents.items():
            write_bytes(folder / name, data)

    def remove(self, key: str) -> None:
        """See :class:`WritableStore`."""
        final = self._folder(key)
        gone = final.with_name(f".{final.name}.gone.part")
        shutil.rmtree(gone, ignore_errors=True)  # an earlier removal's, which was killed
        with contextlib.suppress(FileNotFoundError):
            final.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def lease(self, name: str, waiting: Waiting) -> contextlib.AbstractContextManager[None]:
        """See :class:`WritableStore`; the system drops the lock with its holder, over NFS, too."""
        return lock(self._lock(name), waiting)

    def _folder(self, key: str) -> Path:
        return self._root / key if key else self._root

    def _lock(self, name: str) -> Path:
        """The catalog's lock is the one that publishing on this host takes."""
        if name == "catalog":
            return self._root / ".index.lock"
        return self._root / ".locks" / f"{quote(name, safe='')}.lock"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o444)
    sync(target)


def _refuse_other(final: Path, files: Mapping[str, Path]) -> None:
    """A bundle of the same key is the same bundle, or somebody's mistake."""
    for name, path in files.items():
        there = final / name
        same = there.is_file() and there.stat().st_size == path.stat().st_size
        small = path.stat().st_size < 1 << 20  # the list of digests is among the small ones
        if not same or (small and sha256_file(there) != sha256_file(path)):
            raise Taken(f"{final}: is there already, with another {name}")


class _Files:
    """Reads files as if a server sent them: ranges, a validator, an end."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def get(
        self,
        url: str,
        *,
        within: float,  # noqa: ARG002
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Answer]:
        """See :class:`pipeline.inputs.fetch_types.Fetcher`."""
        path = Path(url)
        _refuse_links(self._root, path)
        handle = _opened(path)
        with os.fdopen(handle, "rb", buffering=0) as stream:
            state = os.fstat(handle)
            start = range_start(headers or {}) if state.st_size else 0
            stream.seek(start)
            validator = f'"{state.st_ino}-{state.st_mtime_ns}-{state.st_size}"'
            status = 206 if start else 200
            yield Answer(url, status, start, state.st_size, validator, stream.read)


def _opened(path: Path) -> int:
    """A descriptor of a regular file, and of nothing else."""
    try:
        handle = os.open(path, _READ)
    except FileNotFoundError:
        raise HttpError(f"{path}: is not there", status=404) from None
    except OSError as error:
        raise HttpError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Odd(f"{path}: is no regular file")
    return handle


def _refuse_links(root: Path, path: Path) -> None:
    for parent in (path, *path.parents):
        if parent == root:
            return
        if parent.is_symlink():
            raise Odd(f"{path}: {parent} is a symbolic link, which may lead out of the store")
