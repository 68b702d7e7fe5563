"""WIM files: which Windows images they hold.

Goes in: a seekable stream of an install.wim, install.esd or first .swm part. Comes out: the facts
of the header and one record per image. Only the 208 bytes of the header and the XML are read:
milliseconds, also for 6 GiB.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import human_bytes

if TYPE_CHECKING:
    from lxml.etree import _Element

MAGIC = b"MSWIM\0\0\0"
HEADER = struct.Struct("<8sIIII16sHHI24s24s24sI24s60x")
VERSIONS = {0x10D00: False, 0xE00: True}  # version to "solid": files compressed together, as in ESD
BEING_WRITTEN = 0x40
COMPRESSED = 0x04
LARGEST_XML = 16 << 20
MOST_PARTS = 999
ARCHITECTURES = {"0": "x86", "5": "arm", "6": "ia64", "9": "amd64", "12": "arm64"}

assert HEADER.size == 208


@dataclass(frozen=True, slots=True)
class WimImage:
    """One image of a WIM file; what its XML leaves out is empty."""

    index: int
    name: str
    description: str
    display_name: str
    edition_id: str
    architecture: str
    build: str
    languages: tuple[str, ...]
    default_language: str
    installation_type: str
    size: int

    @property
    def evaluation(self) -> bool:
        """Whether this edition runs for a limited time: Microsoft's ids end in ``Eval`` then."""
        return self.edition_id.endswith("Eval")


@dataclass(frozen=True, slots=True)
class Wim:
    """A WIM file's header and images; ``identity`` is shared by the parts of a split file."""

    identity: bytes
    part: int
    parts: int
    solid: bool
    images: tuple[WimImage, ...]


@dataclass(frozen=True, slots=True)
class _Header:
    identity: bytes
    part: int
    parts: int
    solid: bool
    images: int
    xml_offset: int
    xml_size: int


def read_wim(stream: BinaryIO, name: str = "the WIM file") -> Wim:
    """Read header and XML; where they are not in order a :class:`PipelineError` names ``name``."""
    header = read_header(stream, name)
    images = _images(_xml(stream, header, name), name)
    if len(images) != header.images:
        raise PipelineError(
            f"{name}: damaged: the header counts {header.images} images, the XML {len(images)}"
        )
    return Wim(header.identity, header.part, header.parts, header.solid, images)


def read_header(stream: BinaryIO, name: str) -> _Header:
    """Read and check the header alone."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    data = stream.read(HEADER.size)
    if len(data) < HEADER.size:
        raise PipelineError(
            f"{name}: not a WIM file: {len(data)} bytes cannot hold the header of {HEADER.size}"
        )
    magic, length, version, flags, _, identity, part, parts, images, _, xml, _, _, _ = (
        HEADER.unpack(data)
    )
    if magic != MAGIC:
        raise PipelineError(f"{name}: not a WIM file: begins with {magic!r} instead of {MAGIC!r}")
    if version not in VERSIONS or length != HEADER.size:
        known = " or ".join(f"{known:#x}" for known in VERSIONS)
        raise PipelineError(
            f"{name}: WIM version {version:#x} with a header of {length} bytes is not known"
            f" (expected {known} with {HEADER.size})"
        )
    if flags & BEING_WRITTEN:
        raise PipelineError(f"{name}: was left while it was being written", hint="make it again")
    if not 1 <= part <= parts <= MOST_PARTS:
        raise PipelineError(f"{name}: damaged: part {part} of {parts} makes no sense")
    offset, xml_size = _xml_place(xml, size, name)
    return _Header(identity, part, parts, VERSIONS[version], images, offset, xml_size)


def _xml_place(entry: bytes, size: int, name: str) -> tuple[int, int]:
    """Where the XML lies: offset and size, checked against the file's length."""
    first, offset, original = struct.unpack("<QQQ", entry)
    length, flags = first & (1 << 56) - 1, first >> 56
    if flags & COMPRESSED or length != original:
        raise PipelineError(
            f"{name}: its XML is compressed or encrypted, which no Windows medium does",
            hint="export it anew: wimlib-imagex export FILE all NEW.wim",
        )
    if not 0 < length <= LARGEST_XML:
        raise PipelineError(
            f"{name}: damaged: XML of {length} bytes (expected 1 to {human_bytes(LARGEST_XML)})"
        )
    if offset < HEADER.size or offset + length > size:
        raise PipelineError(
            f"{name}: cut short: its XML ends at byte {offset + length}, the file at {size}",
            hint="download it again",
        )
    return offset, length


def _xml(stream: BinaryIO, header: _Header, name: str) -> _Element:
    """The parsed XML. A document type is refused, so no entity can expand or reach outside."""
    from lxml import etree

    stream.seek(header.xml_offset)
    data = stream.read(header.xml_size)
    if data[:2] != b"\xff\xfe":
        raise PipelineError(f"{name}: damaged: its XML is not UTF-16 with a byte order mark")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        text = data.decode("utf-16")
        if "<!DOCTYPE" in text:
            raise PipelineError(f"{name}: its XML carries a document type, which is refused")
        root = etree.fromstring(text.lstrip("\ufeff").rstrip("\0").encode(), parser)
    except (UnicodeDecodeError, etree.XMLSyntaxError, ValueError) as cause:
        raise PipelineError(f"{name}: damaged XML: {cause}") from cause
    if root.tag != "WIM":
        raise PipelineError(f"{name}: damaged: its XML begins with <{root.tag}> instead of <WIM>")
    return root


def _images(root: _Element, name: str) -> tuple[WimImage, ...]:
    images = tuple(_image(element, name) for element in root.iterfind("IMAGE"))
    indexes = [image.index for image in images]
    if indexes != sorted(set(indexes)):
        raise PipelineError(f"{name}: damaged: image indexes {indexes} repeat or are out of order")
    return images


def _text(element: _Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _image(element: _Element, name: str) -> WimImage:
    windows = "WINDOWS/"
    build, service = (_text(element, f"{windows}VERSION/{key}") for key in ("BUILD", "SPBUILD"))
    languages = (found.text for found in element.iterfind(f"{windows}LANGUAGES/LANGUAGE"))
    architecture = _text(element, f"{windows}ARCH")
    return WimImage(
        index=_number(element.get("INDEX", ""), name, "INDEX"),
        name=_text(element, "NAME"),
        description=_text(element, "DESCRIPTION"),
        display_name=_text(element, "DISPLAYNAME"),
        edition_id=_text(element, f"{windows}EDITIONID"),
        architecture=ARCHITECTURES.get(architecture, architecture),
        build=f"{build}.{service}" if service else build,
        languages=tuple(language.strip() for language in languages if language),
        default_language=_text(element, f"{windows}LANGUAGES/DEFAULT"),
        installation_type=_text(element, f"{windows}INSTALLATIONTYPE"),
        size=_number(_text(element, "TOTALBYTES") or "0", name, "TOTALBYTES"),
    )


def _number(text: str, name: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 20:
        raise PipelineError(f"{name}: damaged XML: {what} is {text[:40]!r}, not a number")
    return int(text)
