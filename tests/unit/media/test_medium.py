"""Windows media: editions by name, split files, and what a pin claims."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from pipeline.definitions.model import Edition
from pipeline.foundation.errors import PipelineError
from pipeline.inputs import media
from pipeline.inputs.media import Medium, check_against, find_edition, read_medium
from tests.unit.media import making
from tests.unit.media.making import FACTS, NAMES


@pytest.fixture(scope="module")
def server() -> Medium:
    return read_medium(making.medium(), "server.iso")


@pytest.mark.parametrize(("kind", "version"), [("install.wim", 0x10D00), ("install.esd", 0xE00)])
def test_editions_are_read(kind: str, version: int) -> None:
    data = making.wim(version=version)
    found = read_medium(making.medium({f"Sources/{kind.upper()}": data}), "x.iso")
    assert (found.kind, found.label) == (kind, making.LABEL)
    assert (found.build, found.architecture) == ("26100.32230", "amd64")
    assert found.languages == ("en-US",)
    assert [image.name for image in found.images] == NAMES


def split(**changes: bytes) -> dict[str, bytes]:
    parts = {
        "sources/install.swm": making.wim(part=1, parts=3),
        "sources/install2.swm": making.wim(part=2, parts=3),
        "sources/install3.swm": making.wim(part=3, parts=3),
    }
    return parts | {f"sources/{name}.swm": data for name, data in changes.items()}


def test_a_split_wim_is_read_from_its_first_part() -> None:
    found = read_medium(making.medium(split()), "x.iso")
    assert (found.kind, len(found.images)) == ("install.swm", 4)


def test_missing_parts_of_a_split_wim_are_listed() -> None:
    files = split()
    del files["sources/install3.swm"]
    with pytest.raises(PipelineError, match=r"into 3 parts, missing: sources/install3\.swm"):
        read_medium(making.medium(files), "x.iso")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (split(install2=making.wim(part=2, parts=3, identity=bytes(16))), "is not part 2 of 3"),
        (split(install2=making.wim(part=3, parts=3)), "install2.swm is not part 2 of 3"),
        (split(install=making.wim(part=2, parts=3)), "is part 2 instead of the first one"),
        ({"sources/install.wim": making.wim(parts=2)}, "is part 1 of 2 of a split WIM"),
        ({"sources/install.wim": making.wim("<WIM></WIM>")}, "holds no image at all"),
        ({"sources/install.wim": b"MZ" * 200}, "x.iso: sources/install.wim: not a WIM file"),
    ],
)
def test_wims_that_cannot_be_used_are_refused(files: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(PipelineError) as caught:
        read_medium(making.medium(files), "x.iso")
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        ({"viostor/w11/amd64/viostor.inf": b""}, "its root holds: viostor"),
        ({"x64/sources/install.esd": b"", "x86/sources/install.esd": b""}, "two architectures"),
    ],
)
def test_a_disc_without_windows_is_named(files: dict[str, bytes], hint: str) -> None:
    with pytest.raises(PipelineError, match=r"x\.iso \(LABEL\): no sources/install") as caught:
        read_medium(making.medium(files, label="LABEL"), "x.iso")
    assert hint in caught.value.hint


@pytest.mark.parametrize("index", [1, 2, 3, 4])
def test_an_edition_is_found_by_its_exact_name(server: Medium, index: int) -> None:
    assert find_edition(server, NAMES[index - 1]).index == index


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (f"{NAMES[1]} shown", f"is the DISPLAYNAME of {NAMES[1]!r}"),
        (f"{NAMES[1]} described", f"is the DESCRIPTION of {NAMES[1]!r}"),
        ("serverdatacentereval", f"the EDITIONID of {NAMES[2]!r} or {NAMES[3]!r}"),
        ("2", f"is the index of {NAMES[1]!r}"),
        (NAMES[3].lower(), f"is in another spelling of {NAMES[3]!r}"),
        ("Windows Server 2025 SERVERSTANDART", f"did you mean {NAMES[1]!r}?"),
        ("zzz", "use one of these names"),
    ],
)
def test_a_wrong_edition_lists_what_is_there(server: Medium, wrong: str, hint: str) -> None:
    with pytest.raises(PipelineError) as caught:
        find_edition(server, wrong)
    assert hint in caught.value.hint
    for index, name in enumerate(NAMES, start=1):
        assert f"    {index}  {name}" in caught.value.message


def test_a_medium_that_is_as_pinned_has_no_differences(server: Medium) -> None:
    assert check_against(server, FACTS) == []


@pytest.mark.parametrize(
    ("facts", "sentences"),
    [
        ({"build": "26100.1742"}, ["the build is 26100.32230, the pin says 26100.1742"]),
        ({"architecture": "arm64"}, ["the architecture is amd64, the pin says arm64"]),
        ({"language": "de-DE"}, ["the language is en-US, the pin says de-DE"]),
        ({"language": "EN-us"}, []),
        (
            {"evaluation_days": None},
            [f"{NAMES[0]!r} is an evaluation, the pin names no evaluation_days"],
        ),
        (
            {"editions": (Edition(1, NAMES[1]), Edition(2, "Home"))},
            [
                "the edition 'Home' is not there",
                f"the edition {NAMES[0]!r} is not in the pin",
                f"the edition {NAMES[2]!r} is not in the pin",
                f"the edition {NAMES[3]!r} is not in the pin",
                f"the edition {NAMES[1]!r} has index 2, the pin says 1",
            ],
        ),
    ],
)
def test_every_difference_from_the_pin_is_told(
    server: Medium, facts: dict[str, object], sentences: list[str]
) -> None:
    changed = replace(FACTS, **facts)  # type: ignore[arg-type]
    assert check_against(server, changed) == sentences


def test_a_full_edition_differs_from_an_evaluation_pin() -> None:
    xml = making.server_xml().replace("Eval<", "<")
    found = read_medium(making.medium({"sources/install.wim": making.wim(xml)}), "x.iso")
    sentence = "no edition is an evaluation, but the pin names evaluation_days"
    assert check_against(found, FACTS) == [sentence]


def test_the_table_for_people() -> None:
    xml = f"<WIM>{making.image_xml(1, 'Core', 'A')}{making.image_xml(12, 'Data', 'BB', 'x')}</WIM>"
    found = read_medium(making.medium({"sources/install.wim": making.wim(xml)}), "server.iso")
    assert media.describe(found) == (
        "medium    server.iso\n"
        "label     SSS_X64FREE_DV9\n"
        "build     26100.32230 amd64\n"
        "language  en-US\n"
        "file      sources/install.wim\n"
        "\n"
        "index  name  edition id  type    size\n"
        "1      Core  A           Server  1000 B\n"
        "12     Data  BB          x       11.7 KiB\n"
    )


def test_plain_data_is_json_and_facts_fit_a_pin(server: Medium) -> None:
    data = json.loads(json.dumps(media.as_json(server)))
    assert data["images"][1]["name"] == NAMES[1]
    assert data["build"] == "26100.32230"
    facts = media.as_facts(server, evaluation_days=180)
    assert facts == {
        "build": FACTS.build,
        "architecture": FACTS.architecture,
        "language": FACTS.language,
        "editions": [{"index": e.index, "name": e.name} for e in FACTS.editions],
        "evaluation_days": 180,
    }
    assert "evaluation_days" not in media.as_facts(server)


def test_a_stream_is_left_open_for_its_owner() -> None:
    stream = io.BytesIO(making.disc({"sources/install.wim": making.wim()}))
    read_medium(stream, "x.iso")
    assert not stream.closed
