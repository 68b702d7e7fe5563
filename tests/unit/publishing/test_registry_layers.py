"""What is written to a registry, and what is read from one with suspicion."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.inputs.fetch_types import Answer
from pipeline.publishing.stores import oci_manifest as manifests
from pipeline.publishing.stores.base import Odd
from pipeline.publishing.stores.oci_manifest import DiskLayer, Layer
from pipeline.publishing.stores.oci_reading import Inline, Within
from pipeline.publishing.stores.opening import open_store
from tests.hostile import Handler, Shop


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 6000), st.integers(1, 900))
def test_the_layer_is_a_tar_from_wherever_it_is_read(
    tmp_path: Path, disk: bytes, start: int, length: int
) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(disk)
    made = DiskLayer.of(path)
    whole = b"".join(made.pieces(0, 1 << 20))
    assert len(whole) == made.size
    parts = list(made.pieces(start, length))
    assert b"".join(parts) == whole[start:]
    assert all(len(part) == length for part in parts[:-1])
    layer = made.layer()
    assert layer.digest == f"sha256:{hashlib.sha256(whole).hexdigest()}"
    assert whole[layer.offset :][: layer.inside] == disk
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.getnames() == ["disk", "disk/disk.qcow2"]
        content = tar.extractfile("disk/disk.qcow2")
        assert content is not None
        assert content.read() == disk


def test_a_disk_beyond_what_old_tars_can_name(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    with path.open("wb") as stream:
        stream.truncate(9 << 30)
    made = DiskLayer.of(path)
    with tarfile.open(fileobj=io.BytesIO(made.head + b"\0" * 1024), mode="r:") as tar:
        assert tar.next() is not None
        member = tar.next()
    assert member is not None
    assert member.size == 9 << 30
    assert (made.size - len(made.tail)) % 512 == 0


@given(st.binary(max_size=300), st.integers(0, 50), st.integers(0, 250), st.booleans())
def test_a_file_within_a_layer(disk: bytes, offset: int, first: int, ranges: bool) -> None:
    first = min(first, max(len(disk) - 1, 0))
    blob = b"h" * offset + disk + b"t" * 20

    class Server:
        def get(self, url: str, *, within: float, headers: dict[str, str]) -> Answering:
            start = 0
            stop = len(blob)
            if ranges and "Range" in headers:
                low, _, high = headers["Range"].removeprefix("bytes=").partition("-")
                start, stop = int(low), int(high) + 1
            body = io.BytesIO(blob[start:stop])
            status = 206 if ranges and "Range" in headers else 200
            return Answering(Answer(url, status, start, len(blob), "", body.read))

    wanted = {"Range": f"bytes={first}-"} if first else {}
    fetcher = Within(Server(), offset, len(disk))  # type: ignore[arg-type]
    with fetcher.get("u", within=1, headers=wanted) as answer:
        got = b"".join(answer.chunks(1000))
    assert answer.total == len(disk)
    assert got == disk[answer.start :]
    assert answer.status == (206 if answer.start else 200)
    if ranges or not first:
        assert answer.start == first


class Answering:
    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def __enter__(self) -> Answer:
        return self.answer

    def __exit__(self, *_: object) -> None:
        pass


def test_small_files_lie_within_their_manifest() -> None:
    data = b"catalog"
    layer = Layer("index.json", f"sha256:{hashlib.sha256(data).hexdigest()}", 7, data=data)
    read = manifests.parse(manifests.artifact([layer], {"a": "b"}, None), "here")
    assert read.layer("index.json") == layer
    assert read.annotations == {"a": "b"}
    with Inline(data).get("u", within=1) as answer:
        assert b"".join(answer.chunks(3)) == data[:3]


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "layer",
    [
        {"digest": "sha256:../..", "size": 1},
        {"digest": DIGEST, "size": -1},
        {"digest": DIGEST, "size": "1"},
        {"digest": DIGEST, "size": 9, "annotations": {manifests.OFFSET: "-1"}},
        {"digest": DIGEST, "size": 9, "annotations": {manifests.OFFSET: "x"}},
        {"digest": DIGEST, "size": 9, "annotations": {manifests.SIZE: "10"}},
        {"digest": DIGEST, "size": 9, "data": "%%%"},
        {"digest": DIGEST, "size": 9, "data": "aGVsbG8="},
        {"digest": DIGEST},
        "text",
    ],
    ids=str,
)
def test_an_odd_layer_makes_the_manifest_odd(layer: object) -> None:
    item = {"mediaType": "x", **layer} if isinstance(layer, dict) else layer
    with pytest.raises(Odd, match="here"):
        manifests.parse(json.dumps({"layers": [item]}).encode(), "here")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"[" * 100_000, b'{"layers": 3}'], ids=len)
def test_what_is_no_manifest(body: bytes) -> None:
    with pytest.raises(Odd, match="here"):
        manifests.parse(body, "here")


def test_one_request_reads_the_catalog_of_a_registry(tmp_path: Path) -> None:
    data = b'{"a": "catalog"}'
    layer = Layer("index.json", f"sha256:{hashlib.sha256(data).hexdigest()}", 16, data=data)
    body = manifests.artifact([layer], {}, None)
    asked: list[str] = []

    def reply(handler: Handler) -> None:
        asked.append(handler.path)
        handler.answer(body)

    with Shop(tmp_path) as shop:
        shop.replies["/v2/golden/manifests/catalog"] = reply
        place = f"oci://127.0.0.1:{shop.server_port}/golden"
        with open_store(place, tmp_path, print) as store:
            assert store.read("", "index.json", 100) == data
            assert store.read("", "index.json.sig", 100) is None
    assert asked == ["/v2/golden/manifests/catalog"]
