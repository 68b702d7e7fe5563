"""Tiny media for tests: WIM files of a header and an XML, and discs that hold them."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from pycdlib import PyCdlib

from pipeline.definitions.model import Edition, MediaFacts
from pipeline.foundation.errors import PipelineError

LABEL = "SSS_X64FREE_DV9"
HEADER = "<8sIIII16sHHI24s24s24sI24s60x"
SERVER = (
    ("Windows Server 2025 SERVERSTANDARDCORE", "ServerStandardEval", "Server Core"),
    ("Windows Server 2025 SERVERSTANDARD", "ServerStandardEval", "Server"),
    ("Windows Server 2025 SERVERDATACENTERCORE", "ServerDatacenterEval", "Server Core"),
    ("Windows Server 2025 SERVERDATACENTER", "ServerDatacenterEval", "Server"),
)
NAMES = [name for name, _, _ in SERVER]
# What a pin says that is right about this medium.
FACTS = MediaFacts(
    build="26100.32230",
    architecture="amd64",
    language="en-US",
    editions=tuple(Edition(index, name) for index, name in enumerate(NAMES, start=1)),
    evaluation_days=180,
)


def image_xml(index: object, name: str, edition: str = "", kind: str = "Server") -> str:
    return (
        f"<IMAGE INDEX={quoteattr(str(index))}><TOTALBYTES>{index}000</TOTALBYTES><WINDOWS>"
        f"<ARCH>9</ARCH><EDITIONID>{edition}</EDITIONID>"
        f"<INSTALLATIONTYPE>{kind}</INSTALLATIONTYPE>"
        "<LANGUAGES><LANGUAGE>en-US</LANGUAGE><DEFAULT>en-US</DEFAULT></LANGUAGES>"
        "<VERSION><MAJOR>10</MAJOR><MINOR>0</MINOR><BUILD>26100</BUILD><SPBUILD>32230</SPBUILD>"
        f"</VERSION></WINDOWS><NAME>{escape(name)}</NAME>"
        f"<DESCRIPTION>{escape(name)} described</DESCRIPTION>"
        f"<DISPLAYNAME>{escape(name)} shown</DISPLAYNAME></IMAGE>"
    )


def server_xml() -> str:
    rows = enumerate(SERVER, start=1)
    return f"<WIM>{''.join(image_xml(index, *row) for index, row in rows)}</WIM>"


def wim(
    xml: str | bytes = "",
    *,
    magic: bytes = b"MSWIM\0\0\0",
    length: int = 208,
    version: int = 0x10D00,
    flags: int = 0,
    part: int = 1,
    parts: int = 1,
    images: int | None = None,
    padding: int = 0,
    xml_flags: int = 0x02,
    xml_size: int | None = None,
    xml_original: int | None = None,
    identity: bytes = b"0123456789abcdef",
) -> bytes:
    """A WIM of nothing but header and XML; ``padding`` bytes stand for the files in between."""
    text = xml or server_xml()
    data = text if isinstance(text, bytes) else b"\xff\xfe" + text.encode("utf-16-le")
    size = len(data) if xml_size is None else xml_size
    entry = struct.pack(
        "<QQQ",
        size | xml_flags << 56,
        208 + padding,
        size if xml_original is None else xml_original,
    )
    counted = data.count("<IMAGE ".encode("utf-16-le")) if images is None else images
    empty = bytes(24)
    head = struct.pack(
        HEADER,
        *(magic, length, version, flags, 32768, identity, part, parts, counted),
        *(empty, entry, empty, 0, empty),
    )
    return head + bytes(padding) + data


def disc(files: Mapping[str, bytes], label: str = LABEL, view: str = "udf") -> bytes:
    """A disc whose files are only in one view (``udf``, ``joliet``, ``rr``, ``iso``).

    As on Windows media the others hold a README alone.
    """
    made = PyCdlib()
    made.new(
        interchange_level=3,
        vol_ident=label,
        udf="2.60" if view == "udf" else None,
        joliet=3 if view == "joliet" else None,
        rock_ridge="1.09" if view == "rr" else None,
    )
    if view in ("udf", "joliet"):
        made.add_fp(io.BytesIO(b"readme"), 6, "/README.TXT;1")
    _add_folders(made, files, view)
    for number, (path, content) in enumerate(sorted(files.items())):
        made.add_fp(io.BytesIO(content), len(content), **_place(path, view, f"F{number}.;1"))
    out = io.BytesIO()
    made.write_fp(out)
    made.close()
    return out.getvalue()


def _place(path: str, view: str, short: str) -> dict[str, Any]:
    if view == "rr":
        folder = "/".join(f"D{part.upper()[:7]}" for part in path.split("/")[:-1])
        return {"iso_path": f"/{folder}/{short}".replace("//", "/"), "rr_name": _last(path)}
    if view == "iso":
        return {"iso_path": f"/{path.upper()}" + (";1" if "." in path else ".;1")}
    return {f"{view}_path": f"/{path}"}


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _add_folders(made: PyCdlib, files: Mapping[str, bytes], view: str) -> None:
    parts = [path.split("/") for path in files]
    folders = {"/".join(part[:depth]) for part in parts for depth in range(1, len(part))}
    for folder in sorted(folders):
        if view == "rr":
            short = "/".join(f"D{part.upper()[:7]}" for part in folder.split("/"))
            made.add_directory(iso_path=f"/{short}", rr_name=_last(folder))
        elif view == "iso":
            made.add_directory(iso_path=f"/{folder.upper()}")
        else:
            place: dict[str, Any] = {f"{view}_path": f"/{folder}"}
            made.add_directory(**place)


def medium(files: Mapping[str, bytes] | None = None, **options: str) -> io.BytesIO:
    """A Windows disc in memory: by default one with ``sources/install.wim`` of Server 2025."""
    return io.BytesIO(disc(files or {"sources/install.wim": wim()}, **options))


def replaced(data: bytes, changes: Sequence[tuple[int, int]]) -> bytes:
    """``data`` with single bytes changed, as (position, value); positions wrap around."""
    changed = bytearray(data)
    for position, value in changes:
        changed[position % len(changed)] = value
    return bytes(changed)


@contextlib.contextmanager
def refused_or_read(name: str) -> Iterator[None]:
    """Damaged input may be read or refused; a refusal is a sentence that begins with ``name``."""
    try:
        yield
    except PipelineError as error:
        if not error.message.startswith(f"{name}: "):
            raise AssertionError(error.message) from error
