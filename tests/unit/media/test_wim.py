"""WIM headers and their XML: good ones are read, others are one clear sentence."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.foundation.errors import PipelineError
from pipeline.inputs.wim import HEADER, WimImage, read_wim
from tests.unit.media import making


def read(data: bytes) -> tuple[WimImage, ...]:
    return read_wim(io.BytesIO(data), "install.wim").images


def test_every_field_of_an_image_is_read() -> None:
    images = read(making.wim())
    assert [image.index for image in images] == [1, 2, 3, 4]
    assert images[1] == WimImage(
        index=2,
        name="Windows Server 2025 SERVERSTANDARD",
        description="Windows Server 2025 SERVERSTANDARD described",
        display_name="Windows Server 2025 SERVERSTANDARD shown",
        edition_id="ServerStandardEval",
        architecture="amd64",
        build="26100.32230",
        languages=("en-US",),
        default_language="en-US",
        installation_type="Server",
        size=2000,
    )


def test_an_image_that_tells_little_is_read_too() -> None:
    (image,) = read(making.wim('<WIM><IMAGE INDEX="1"><NAME>a &amp; b</NAME></IMAGE></WIM>'))
    assert (image.name, image.build, image.architecture, image.languages) == ("a & b", "", "", ())
    assert image.size == 0


@pytest.mark.parametrize(("edition", "limited"), [("ServerStandardEval", True), ("Core", False)])
def test_evaluations_are_known_by_their_edition_id(edition: str, limited: bool) -> None:
    xml = f"<WIM>{making.image_xml(1, 'x', edition)}</WIM>"
    assert read(making.wim(xml))[0].evaluation is limited


def test_several_languages_and_a_build_without_a_service_build() -> None:
    xml = making.server_xml().replace("<SPBUILD>32230</SPBUILD>", "")
    xml = xml.replace("<LANGUAGE>en-US", "<LANGUAGE>de-DE</LANGUAGE><LANGUAGE>en-US")
    assert read(making.wim(xml))[0].languages == ("de-DE", "en-US")
    assert read(making.wim(xml))[0].build == "26100"


@pytest.mark.parametrize(("version", "solid"), [(0x10D00, False), (0xE00, True)])
def test_esd_files_are_solid(version: int, solid: bool) -> None:
    assert read_wim(io.BytesIO(making.wim(version=version))).solid is solid


def test_parts_are_told() -> None:
    found = read_wim(io.BytesIO(making.wim(part=1, parts=3)))
    assert (found.part, found.parts) == (1, 3)


class Watched(io.BytesIO):
    """Counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_only_header_and_xml_are_read() -> None:
    data = making.wim(padding=8 << 20)
    stream = Watched(data)
    read_wim(stream)
    assert stream.count == len(data) - (8 << 20)


BILLION = '<!DOCTYPE WIM [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><WIM>&b;</WIM>'
TWICE = f"<WIM>{making.image_xml(1, 'a')}{making.image_xml(1, 'b')}</WIM>"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"magic": b"MZ\x90\0\3\0\0\0"}, "not a WIM file: begins with b'MZ"),
        ({"version": 0x10E00}, "WIM version 0x10e00 with a header of 208 bytes is not known"),
        ({"length": 212}, "a header of 212 bytes is not known"),
        ({"flags": 0x40}, "was left while it was being written"),
        ({"part": 0}, "part 0 of 1 makes no sense"),
        ({"part": 3, "parts": 2}, "part 3 of 2 makes no sense"),
        ({"parts": 60000}, "part 1 of 60000 makes no sense"),
        ({"xml_flags": 0x04}, "its XML is compressed or encrypted"),
        ({"xml_original": 5}, "its XML is compressed or encrypted"),
        ({"xml_size": 0}, "XML of 0 bytes"),
        ({"xml_size": 1 << 40}, "XML of 1099511627776 bytes"),
        ({"xml_size": 1 << 20}, "cut short: its XML ends at byte"),
        ({"xml": b"<WIM></WIM>"}, "not UTF-16 with a byte order mark"),
        ({"xml": b"\xff\xfe\x00\xd8"}, "damaged XML"),
        ({"xml": "<WIM><IMAGE>"}, "damaged XML"),
        ({"xml": BILLION}, "carries a document type"),
        ({"xml": "<HTML></HTML>"}, "begins with <HTML> instead of <WIM>"),
        ({"images": 3}, "the header counts 3 images, the XML 4"),
        ({"xml": TWICE}, "image indexes [1, 1] repeat"),
        ({"xml": f"<WIM>{making.image_xml('x', 'a')}</WIM>"}, "INDEX is 'x', not a number"),
    ],
)
def test_what_is_not_in_order_is_named(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PipelineError) as caught:
        read(making.wim(**changes))
    assert sentence in caught.value.message
    assert caught.value.message.startswith("install.wim: ")


@given(st.integers(0, len(making.wim()) - 1))
def test_a_file_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(PipelineError):
        read(making.wim()[:length])


CHANGES = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=20)


@given(CHANGES)
def test_damage_in_the_header_is_refused_or_harmless(changes: list[tuple[int, int]]) -> None:
    with making.refused_or_read("install.wim"):
        assert len(read(making.replaced(making.wim(), changes))) == 4


@given(st.binary(min_size=HEADER.size - 8, max_size=600))
def test_anything_after_the_magic_is_refused_or_read(data: bytes) -> None:
    with pytest.raises(PipelineError):
        read(b"MSWIM\0\0\0" + data)


LETTERS = st.characters(codec="utf-16-le", categories=["L", "N", "P", "S"])


@given(st.text(LETTERS, max_size=80))
def test_any_name_survives(name: str) -> None:
    xml = f"<WIM>{making.image_xml(1, name)}</WIM>"
    assert read(making.wim(xml))[0].name == name
