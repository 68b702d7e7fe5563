"""Disc images: found files are the bytes that were put there; damaged images are one sentence."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.foundation.errors import PipelineError
from pipeline.inputs.iso import open_iso
from pipeline.inputs.iso_streams import BLOCK, Blocks, Extents
from tests.unit.media import making

FILES = {"sources/install.wim": b"wim" * 1000, "Boot/BCD": b"", "a/b/c/deep.txt": b"deep"}


@pytest.mark.parametrize("view", ["udf", "joliet", "rr", "iso"])
def test_each_view_of_a_disc_is_read(view: str) -> None:
    with open_iso(making.medium(FILES, view=view), "x.iso") as iso:
        assert iso.view == f"{view}_path"
        assert iso.label == making.LABEL
        assert {path.casefold() for path in iso.files()} == {path.casefold() for path in FILES}
        for path, content in FILES.items():
            assert iso.read(path) == content
            assert iso.size(path) == len(content)


def test_paths_are_compared_without_case() -> None:
    with open_iso(making.medium(FILES)) as iso:
        assert iso.exists("/SOURCES/Install.WIM")
        assert iso.read("boot/bcd") == b""
        assert not iso.exists("sources")
        assert list(iso.walk("SOURCES/")) == ["sources/install.wim"]
        assert list(iso.walk("sour")) == []
        assert iso.folders() == ["Boot", "a", "sources"]
        assert iso.folders("A/b") == ["c"]


def test_a_path_names_itself_and_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "with space.iso"
    path.write_bytes(making.disc(FILES))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with open_iso(path) as iso, iso.open("a/b/c/deep.txt") as stream:
        assert stream.read() == b"deep"
        assert iso.name == "with space.iso"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_missing_file_on_the_disc_is_named() -> None:
    with (
        open_iso(making.medium(FILES), "x.iso") as iso,
        pytest.raises(PipelineError, match=r"x\.iso: there is no file nope"),
    ):
        iso.open("nope")


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"<!DOCTYPE html><title>Just a moment</title>", "it is a web page"),
        (b"\n <HTML>", "it is a web page"),
        (making.wim(), "it is a WIM or ESD file itself"),
        (b"QFI\xfb" + bytes(40000), "it is a qcow2 disk image"),
        (b"", "check the URL or path"),
        (bytes(70000), "check the URL or path"),
    ],
)
def test_what_is_no_disc_image_is_recognised(data: bytes, hint: str) -> None:
    with pytest.raises(PipelineError, match=r"x\.iso: not a disc image") as caught:
        open_iso(io.BytesIO(data), "x.iso")
    assert hint in caught.value.hint


def test_a_path_that_is_not_there_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"gone\.iso: no such file"):
        open_iso(tmp_path / "gone.iso")
    with pytest.raises(PipelineError, match="cannot be read: Is a directory"):
        open_iso(tmp_path)


@pytest.mark.parametrize("view", ["udf", "joliet"])
def test_an_image_cut_short_says_so(view: str) -> None:
    data = making.disc({"sources/install.wim": bytes(1 << 20)}, view=view)
    with (
        pytest.raises(PipelineError, match=r"x\.iso: cut short: the (disc|image)") as caught,
        open_iso(io.BytesIO(data[: len(data) // 2]), "x.iso") as iso,
    ):
        iso.open("sources/install.wim")
    assert caught.value.hint == "download it again"


@pytest.fixture(scope="module", params=["udf", "joliet"])
def image(request: pytest.FixtureRequest) -> bytes:
    return making.disc({"sources/install.wim": b"wim", "a/b.txt": b"b"}, view=request.param)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(32768, 700_000), st.integers(0, 255)), min_size=1, max_size=60
    )
)
def test_damage_is_an_error_that_names_the_image_or_harmless(
    image: bytes, changes: list[tuple[int, int]]
) -> None:
    used = [(position, value) for position, value in changes if image[position % len(image)]]
    data = io.BytesIO(making.replaced(image, used or changes))
    with making.refused_or_read("x.iso"), open_iso(data, "x.iso") as iso:
        for path in iso.files():
            iso.read(path)


def reads(stream: io.IOBase, plan: list[tuple[int, int]]) -> list[bytes]:
    """What a stream gives for each (position, count)."""
    found = []
    for position, count in plan:
        stream.seek(position)
        found.append(stream.read(count))
    return found


PLAN = st.lists(st.tuples(st.integers(0, 700), st.integers(0, 700)), max_size=20)


@given(pieces=st.lists(st.binary(max_size=90), max_size=8), cut=st.integers(0, 30), plan=PLAN)
def test_extents_read_as_one_file(
    pieces: list[bytes], cut: int, plan: list[tuple[int, int]]
) -> None:
    image = io.BytesIO()
    extents: list[tuple[int, int]] = []
    for piece in reversed(pieces):  # the parts lie on the disc in any order
        image.write(b"gap")
        extents.insert(0, (image.tell(), len(piece)))
        image.write(piece)
    whole = b"".join(pieces)
    length = max(0, len(whole) - cut)
    stream = io.BufferedReader(Extents(image, extents, length))
    assert reads(stream, plan) == reads(io.BytesIO(whole[:length]), plan)
    assert stream.seek(0, os.SEEK_END) == length


@given(
    size=st.integers(0, 3 * BLOCK),
    plan=st.lists(st.tuples(st.integers(0, 3 * BLOCK), st.integers(0, BLOCK)), max_size=12),
)
@settings(max_examples=40)
def test_blocks_read_as_the_stream_does(size: int, plan: list[tuple[int, int]]) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    stream = io.BufferedReader(Blocks(io.BytesIO(data[:size])))
    assert reads(stream, plan) == reads(io.BytesIO(data[:size]), plan)


class Remote(io.RawIOBase):
    """A stream that counts its reads, as if each were a request, and gives little at a time."""

    def __init__(self, data: bytes) -> None:
        self.inner, self.requests = io.BytesIO(data), 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.inner.seek(offset, whence)

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        self.requests += 1
        return self.inner.readinto(memoryview(buffer)[: BLOCK // 2])


def test_a_remote_disc_takes_few_requests() -> None:
    files = {f"sources/{number}.dll": b"x" for number in range(300)}
    remote = Remote(making.disc(files | {"sources/install.wim": making.wim()}))
    with open_iso(remote, "https://example.org/x.iso") as iso:
        assert iso.read("sources/install.wim") == making.wim()
    assert 0 < remote.requests < 20
    assert not remote.closed
