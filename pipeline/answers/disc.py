"""The discs that guests are given: ISO 9660 with Joliet, the same bytes for the same files.

Goes in: a label and the files by path. Comes out: one image file and its SHA-256, which depends on
nothing else: not on the time, the time zone, the order of the files, their dates or who builds.
Windows and Linux read the Joliet side, with names as given; the ISO 9660 side has short ones.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import replacing, sha256_file
from pipeline.inputs.iso import open_iso

if TYPE_CHECKING:
    from pycdlib import PyCdlib

WRITTEN_AT = 1577836800  # 2020-01-01 00:00:00 UTC: what every date on a disc says
LONGEST_NAME = 64
DEEPEST = 7
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,16}")  # Windows shows the Joliet label: 16 characters
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f*:;?<>|"\\]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_frozen = threading.Lock()

Content = bytes | Path


def write_disc(
    path: Path, label: str, files: Mapping[str, Content], *, private: bool = False
) -> str:
    """Write a disc image to ``path`` by rename and return its SHA-256.

    ``files`` maps paths on the disc, such as ``golden/agent.ps1``, to contents or to files on this
    host. ``private`` makes the image readable by its owner alone: build discs carry a password.
    """
    if not _LABEL.fullmatch(label):
        raise PipelineError(
            f"{path.name}: label {label!r}: expected 1 to 16 letters, digits, _ and -"
        )
    check_names(path.name, files)
    with replacing(path, mode=0o600 if private else 0o644) as part:
        _write(part, label, files)
        return sha256_file(part)


def read_disc(path: Path) -> dict[str, bytes]:
    """Every file of a disc image, by its path."""
    with open_iso(path) as iso:
        return {name: iso.read(name) for name in iso.files()}


def check_names(disc: str, names: Iterator[str] | Mapping[str, Content]) -> None:
    """Raise one :class:`PipelineError` that lists every name that a disc cannot carry."""
    seen: dict[str, str] = {}
    problems: list[str] = []
    for name in sorted(names):
        problems += [f"{name!r}: {problem}" for problem in _problems(name)]
        folded = name.casefold()
        if folded in seen:
            problems.append(f"{name!r} and {seen[folded]!r} differ in case only")
        seen[folded] = name
    problems += _clashes(seen)
    if problems:
        listed = "\n".join(f"    {problem}" for problem in problems)
        raise PipelineError(f"{disc}: names that a disc cannot carry:\n{listed}")


def _problems(path: str) -> Iterator[str]:
    parts = path.split("/")
    if len(parts) > DEEPEST:
        yield f"{len(parts)} levels deep, at most {DEEPEST}"
    for part in parts:
        if part in ("", ".", ".."):
            yield "a path is names joined by /, without . and .."
        elif _FORBIDDEN.search(part) or part[-1] in ". " or part[0] == " ":
            yield 'Windows allows no control characters, none of * : ; ? < > | " \\, no final dot'
        elif _RESERVED.fullmatch(part):
            yield f"{part} is the name of a device on Windows"
        elif any("\ud800" <= letter <= "\udfff" or letter > "\uffff" for letter in part):
            yield "Joliet has no characters beyond U+FFFF"
        elif len(part.encode()) > LONGEST_NAME:
            yield f"{part} is {len(part.encode())} bytes long in UTF-8, at most {LONGEST_NAME}"


def _clashes(seen: Mapping[str, str]) -> Iterator[str]:
    """Files where a folder is needed, and folders spelt in two ways."""
    folders: dict[str, str] = {}
    for name in seen.values():
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            known = folders.setdefault(folder.casefold(), folder)
            if known != folder:
                yield f"{name!r}: the folders {folder!r} and {known!r} differ in case only"
            if folder.casefold() in seen:
                yield f"{name!r}: {seen[folder.casefold()]!r} is a file already"


@contextlib.contextmanager
def _time_stands_still() -> Iterator[None]:
    """Let pycdlib see one moment and UTC: it stamps the local time in some thirty places.

    It offers no parameter for that, so ``time`` in its modules stands for a still clock meanwhile.
    """
    from pycdlib import dates, dr, headervd, pycdlib, utils

    clock = SimpleNamespace(
        time=lambda: float(WRITTEN_AT),
        localtime=time.gmtime,
        gmtime=time.gmtime,
        strftime=time.strftime,
    )
    modules: list[Any] = [
        each for each in (dates, dr, headervd, pycdlib, utils) if hasattr(each, "time")
    ]
    with _frozen:
        try:
            for module in modules:
                module.time = clock
            yield
        finally:
            for module in modules:
                module.time = time


def _write(path: Path, label: str, files: Mapping[str, Content]) -> None:
    from pycdlib import PyCdlib
    from pycdlib.pycdlibexception import PyCdlibException

    disc = PyCdlib()
    try:
        with _time_stands_still():
            disc.new(interchange_level=3, joliet=3, vol_ident=label, app_ident_str="GOLDEN WINDOWS")
            short = _add_folders(disc, files)
            for name in sorted(files):
                _add_file(disc, name, files[name], short)
            with path.open("wb") as stream:
                disc.write_fp(stream)
            disc.close()
    except PyCdlibException as error:
        raise PipelineError(f"{path.name}: the disc cannot be written: {error}") from error


class _ShortNames:
    """The ISO 9660 side's names: upper case, 8.3, unique in their folder."""

    def __init__(self) -> None:
        self.folders = {"": ""}
        self._taken: dict[str, set[str]] = {}

    def give(self, path: str, *, folder: bool) -> str:
        """The short path for ``path``, whose folder has one already."""
        parent, _, name = path.rpartition("/")
        taken = self._taken.setdefault(parent, set())
        stem, _, extension = (name, "", "") if folder else _split(name)
        stem, extension = (re.sub(r"[^A-Z0-9_]", "_", part.upper()) for part in (stem, extension))
        for number in range(1, 1 << 20):
            tail = "" if number == 1 else f"_{number}"
            short = f"{stem[: 8 - len(tail)]}{tail}" + (f".{extension[:3]}" if extension else "")
            if short not in taken:
                break
        taken.add(short)
        full = f"{self.folders[parent]}/{short}"
        if folder:
            self.folders[path] = full
        return full


def _split(name: str) -> tuple[str, str, str]:
    stem, dot, extension = name.rpartition(".")
    return (stem, dot, extension) if stem else (name, "", "")


def _add_folders(disc: PyCdlib, files: Mapping[str, Content]) -> _ShortNames:
    short = _ShortNames()
    parts = (name.split("/") for name in files)
    folders = {"/".join(part[:depth]) for part in parts for depth in range(1, len(part))}
    for folder in sorted(folders):
        iso_path = short.give(folder, folder=True)
        disc.add_directory(iso_path, joliet_path=f"/{folder}")
    return short


def _add_file(disc: PyCdlib, name: str, content: Content, short: _ShortNames) -> None:
    iso_path = short.give(name, folder=False)
    iso_path += ";1" if "." in iso_path.rpartition("/")[2] else ".;1"
    if isinstance(content, Path):
        if not content.is_file():
            raise PipelineError(f"{content}: no such file, wanted on the disc as {name}")
        disc.add_file(str(content), iso_path, joliet_path=f"/{name}")
    else:
        disc.add_fp(io.BytesIO(content), len(content), iso_path, joliet_path=f"/{name}")
