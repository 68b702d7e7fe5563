"""Pins written in place: values change, and nothing else of the file does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.definitions.pin_file import edited, file_of
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT
from tests.unit.definitions.test_schema import errors

SHIPPED = sorted((ROOT / "checksums").glob("*.yaml"))
SERVER = ROOT / "checksums" / "windows-server.yaml"
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1)
EDITIONS = st.lists(TEXT, min_size=1, max_size=6, unique=True)


def comments(data: bytes) -> list[str]:
    lines = data.decode().splitlines()
    return [line for line in lines if line.startswith("#") or not line.strip()]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_writing_nothing_changes_nothing(path: Path) -> None:
    data = path.read_bytes()
    for line in data.decode().splitlines():
        if line and line[0].isalpha() and line.endswith(":"):
            assert edited(data, line[:-1], {}) == data


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_pin_is_found_in_its_file(path: Path) -> None:
    names = [x[:-1] for x in path.read_text().splitlines() if x[:1].isalpha() and x.endswith(":")]
    assert names
    assert {file_of(ROOT / "checksums", name) for name in names} == {path}


def test_a_pin_that_is_nowhere_is_a_sentence() -> None:
    with pytest.raises(PipelineError, match=r"no file in .* holds the pin 'nowhere'"):
        file_of(ROOT / "checksums", "nowhere")


@settings(max_examples=20)
@given(
    version=st.from_regex(r"[0-9]{1,5}\.[0-9]{1,5}", fullmatch=True),
    digest=st.from_regex(r"[0-9a-f]{64}|[0-9]{64}", fullmatch=True),
    size=st.integers(min_value=1, max_value=1 << 40),
    etag=st.none() | st.from_regex(r'"[a-z0-9:\-]{1,20}"', fullmatch=True),
    mirrors=st.integers(min_value=1, max_value=3),
    names=EDITIONS,
)
def test_whatever_is_written_is_read_back_and_all_remarks_stay(
    version: str, digest: str, size: int, etag: str | None, mirrors: int, names: list[str]
) -> None:
    import yaml

    before = SERVER.read_bytes()
    urls = [f"https://mirror{n}.example/{version}.iso" for n in range(mirrors)]
    editions = [{"index": n, "name": name} for n, name in enumerate(names, start=1)]
    values: dict[str, Any] = {
        "version": version, "urls": urls, "sha256": digest, "size": size,
        "media": {"build": version, "language": "en-US", "editions": editions},
    } | ({"etag": etag} if etag else {})  # fmt: skip
    after = edited(before, "windows-server-2025", values)
    assert comments(after) == comments(before)
    # Read as the loader reads: every scalar as a text.
    old, new = (yaml.load(data, Loader=yaml.CBaseLoader) for data in (before, after))
    pin = new.pop("windows-server-2025")
    assert (pin["version"], pin["urls"], pin["sha256"]) == (version, urls, digest)
    assert (pin["size"], pin.get("etag")) == (str(size), etag)
    assert [edition["name"] for edition in pin["media"]["editions"]] == names
    del old["windows-server-2025"]
    assert new == old, "the other pins"
    assert list(pin)[:4] == ["version", "kind", "urls", "sha256"]
    assert errors(after.decode(), "checksums.schema.json") == []


def test_a_digest_is_not_replaced_under_the_same_version() -> None:
    data = SERVER.read_bytes()
    for values in ({"sha256": "1" * 64}, {"sha256": "1" * 64, "version": "26100.32230"}):
        with pytest.raises(PipelineError, match="is not replaced"):
            edited(data, "windows-server-2025", values)
        assert b"1" * 64 in edited(data, "windows-server-2025", values, accept_changed=True)
    assert b"1" * 64 in edited(data, "windows-server-2025", values | {"version": "26100.4"})


def test_a_remark_on_the_release_follows_it() -> None:
    data = (ROOT / "checksums" / "winfsp.yaml").read_bytes()
    after = edited(data, "winfsp", {"version": "2.3.1"}, release="2.3")
    assert b'  version: "2.3.1"  # released as 2.3\n' in after
    assert b"2.2B4" not in after.partition(b"winfsp-2.1:")[0].replace(b"v2.2B4", b"")
    assert edited(data, "winfsp-2.1", {}, release="9") == data, "no such remark, nothing to follow"
