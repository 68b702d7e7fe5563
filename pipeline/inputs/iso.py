"""Disc images, read in place.

Goes in: a path or any seekable binary stream (a local file, or one over HTTP that answers ranges).
Comes out: the label, the files, and each file as a seekable stream over the very bytes of the
image; nothing is extracted. Of the views that a disc may carry the first that holds files counts:
UDF, Joliet, Rock Ridge, ISO 9660 (Windows media keep only a README outside UDF).
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import human_bytes
from pipeline.inputs.iso_streams import Blocks, Extents

if TYPE_CHECKING:
    from pycdlib import PyCdlib

Source: TypeAlias = "Path | BinaryIO | io.IOBase"

DESCRIPTORS = 32768  # both ISO 9660 and UDF start here; what lies before belongs to boot loaders
SECTOR = 2048
VIEWS = ("udf_path", "joliet_path", "rr_path", "iso_path")


def _is_local(stream: Any) -> bool:
    return isinstance(stream, (io.BytesIO, io.FileIO)) or (
        isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO)
    )


def _foreign(name: str, size: int, start: bytes) -> PipelineError:
    """The error for a file that is no disc image at all, with what it seems to be."""
    hint = "check the URL or path; a disc image starts with 32 KiB for boot loaders, then CD001"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        hint = "it is a web page: the server answered with a page instead of the file"
    elif start.startswith(b"MSWIM\0\0\0"):
        hint = "it is a WIM or ESD file itself; give the ISO that holds it"
    elif start.startswith(b"QFI\xfb"):
        hint = "it is a qcow2 disk image"
    return PipelineError(
        f"{name}: not a disc image: no ISO 9660 or UDF descriptor at byte {DESCRIPTORS}"
        f" ({human_bytes(size)} long, begins with {start[:8]!r})",
        hint=hint,
    )


def _announced(descriptor: bytes) -> int:
    """The image's length as its ISO 9660 descriptor tells; 0 when it tells nothing."""
    return int.from_bytes(descriptor[80:84], "little") * SECTOR


def _damaged(name: str, size: int, descriptor: bytes, cause: Exception) -> PipelineError:
    announced = _announced(descriptor)
    if announced > size:
        return PipelineError(
            f"{name}: cut short: the disc is {announced} bytes long, the file {size}",
            hint="download it again",
        )
    return PipelineError(
        f"{name}: damaged disc image: {cause}",
        hint="compare its SHA-256 with the publisher's, or download it again",
    )


class Iso:
    """An open disc image. Paths are joined by ``/`` and compared without case."""

    def __init__(self, name: str, image: Any, size: int, announced: int, disc: PyCdlib) -> None:
        self.name = name
        self._image = image
        self._size = size
        self._announced = announced
        self._disc = disc
        self.view, self._index = _index(disc)
        self.label = _label(disc, self.view)

    def __enter__(self) -> Iso:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the image; streams of its files end with it. A stream that was given stays open."""
        self._disc.close()
        if isinstance(self._image, _Owned):
            self._image.close()

    def files(self) -> list[str]:
        """Every file's path, without a first ``/``, in the disc's own spelling, sorted."""
        return sorted(shown for shown, _ in self._index.values())

    def walk(self, path: str = "") -> Iterator[str]:
        """The paths of every file below the folder ``path``."""
        folder = _folded(path)
        prefix = f"{folder}/" if folder else ""
        return (shown for shown in self.files() if shown.casefold().startswith(prefix))

    def folders(self, path: str = "") -> list[str]:
        """The names of the folders right below the folder ``path`` that hold files somewhere."""
        depth = len(_folded(path).split("/")) if _folded(path) else 0
        parts = (shown.split("/") for shown in self.walk(path))
        return sorted({part[depth] for part in parts if len(part) > depth + 1})

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return _folded(path) in self._index

    def open(self, path: str) -> BinaryIO:
        """The file ``path`` as a seekable stream."""
        extents, length = self._extents(path)
        if self._is_cut(extents, length):
            raise PipelineError(
                f"{self.name}: cut short: the image ends at byte {self._size}, inside {path}",
                hint="download it again",
            )
        return io.BufferedReader(Extents(self._image, extents, length))

    def read(self, path: str) -> bytes:
        """The content of the file ``path``; for small files."""
        with self.open(path) as stream:
            return stream.read()

    def size(self, path: str) -> int:
        """The length of the file ``path`` in bytes."""
        return self._extents(path)[1]

    def _extents(self, path: str) -> tuple[list[tuple[int, int]], int]:
        if not self.exists(path):
            raise PipelineError(f"{self.name}: there is no file {path} on the disc")
        real = self._index[_folded(path)][1]
        with _turning_errors(lambda cause: self._bad_entry(path, cause)):
            extents = self._disc.get_file_byte_extents(**{self.view: real})
            length = sum(size for _, size in extents)
            if self.view == "udf_path":  # the last extent may be rounded up to a block
                length = int(self._disc.get_record(udf_path=real).get_data_length())
        return extents, length

    def _is_cut(self, extents: list[tuple[int, int]], length: int) -> bool:
        """Whether a file reaches beyond the image.

        pycdlib shortens such a file outside UDF, so one that ends just where the image ends is
        suspect too when the disc is said to be longer.
        """
        end = max((offset + size for offset, size in extents), default=0)
        spare = sum(size for _, size in extents) - length  # a last extent rounded up to a block
        missing = end - spare - self._size
        return spare < 0 or missing > 0 or (missing == 0 and self._announced > self._size)

    def _bad_entry(self, path: str, cause: Exception) -> PipelineError:
        return PipelineError(f"{self.name}: damaged entry of {path}: {cause}")


class _Owned(io.BufferedReader):
    """A file that was opened here and is closed here."""


def _folded(path: str) -> str:
    return path.strip("/").casefold()


@contextlib.contextmanager
def _turning_errors(make: Callable[[Exception], PipelineError]) -> Iterator[None]:
    """Turn what pycdlib raises on damaged images into ``make``'s error.

    Beside its own errors that is whatever a wrong length, index or offset leads to.
    """
    from pycdlib.pycdlibexception import PyCdlibException

    try:
        yield
    except (
        PyCdlibException,
        struct.error,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        MemoryError,
        OSError,
    ) as cause:
        raise make(cause) from cause


def _views(disc: PyCdlib) -> list[str]:
    has = (disc.has_udf(), disc.has_joliet(), disc.has_rock_ridge(), True)
    return [view for view, present in zip(VIEWS, has, strict=True) if present]


def _index(disc: PyCdlib) -> tuple[str, dict[str, tuple[str, str]]]:
    """The first view that holds files, and its files: folded path to (shown path, real path)."""
    view, index = "iso_path", dict[str, tuple[str, str]]()
    for view in _views(disc):
        for folder, _, names in disc.walk(**{view: "/"}):
            for name in names:
                real = f"{folder.rstrip('/')}/{name}"
                shown = real.strip("/")
                if view in ("iso_path", "joliet_path"):  # the version and an empty extension
                    shown = shown.partition(";")[0].rstrip(".")
                index.setdefault(shown.casefold(), (shown, real))
        if index:
            break
    return view, index


def _label(disc: PyCdlib, view: str) -> str:
    if view == "joliet_path" and disc.joliet_vd:
        return str(disc.joliet_vd.volume_identifier.decode("utf-16_be", "replace")).rstrip(" \0")
    return str(disc.pvd.volume_identifier.decode("utf-8", "replace")).rstrip(" \0")


def open_iso(source: Source, name: str = "") -> Iso:
    """Open a disc image; ``name`` is what errors call it (a path names itself).

    Raises :class:`PipelineError` when it is something else, damaged or cut short.
    """
    name = name or (source.name if isinstance(source, Path) else "the stream")
    stream: Any = source
    if isinstance(source, Path):
        stream = _open_file(source)
    elif not _is_local(source):
        stream = io.BufferedReader(Blocks(source))
    try:
        return _parse(name, stream)
    except BaseException:
        if isinstance(stream, _Owned):
            stream.close()
        raise


def _open_file(path: Path) -> _Owned:
    try:
        return _Owned(io.FileIO(path))
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file") from None
    except OSError as error:
        raise PipelineError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(name: str, stream: Any) -> Iso:
    from pycdlib import PyCdlib

    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    start = stream.read(512)
    stream.seek(DESCRIPTORS)
    descriptor = stream.read(SECTOR)
    if descriptor[1:6] not in (b"CD001", b"BEA01", b"NSR02", b"NSR03"):
        raise _foreign(name, size, start)
    disc = PyCdlib()
    with _turning_errors(lambda cause: _damaged(name, size, descriptor, cause)):
        disc.open_fp(stream)
        return Iso(name, stream, size, _announced(descriptor), disc)
