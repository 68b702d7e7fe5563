"""Small documents, files read by ranges, and what the client refuses."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.foundation.errors import PipelineError
from pipeline.inputs.fetch_ranges import HttpFile
from pipeline.inputs.http import Answer, Client, HttpError, get_bytes, open_range
from pipeline.publishing.stores.oci import Registry
from tests.servers import (
    Server,
    Site,
    answer,
    cut,
    drip,
    endless,
    no_length,
    part_of,
    redirect,
    replaced,
    status,
    without_ranges,
    zipped,
)

BODY = bytes(range(256)) * 4096  # 1 MiB


class Simulator:
    """A fetcher without a network: serves ranges of ``body``, counts what it was asked."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.asked: list[tuple[int, int]] = []

    @contextlib.contextmanager
    def get(
        self, url: str, *, within: float, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        first, _, last = (headers or {})["Range"].removeprefix("bytes=").partition("-")
        self.asked.append((int(first), int(last)))
        stream = io.BytesIO(self.body[int(first) : int(last) + 1])
        yield Answer(url, 206, int(first), len(self.body), '"one"', stream.read)


class TestGetBytes:
    def test_whole(self, server: Server) -> None:
        assert get_bytes(server.url(), 1000, 5) == server.site.body

    def test_no_longer_than_expected(self, server: Server) -> None:
        with pytest.raises(HttpError, match=r"longer than the 519 B expected"):
            get_bytes(server.url(), 519, 5)
        server.site.script = [endless]
        with pytest.raises(HttpError, match="longer than"):
            get_bytes(server.url(), 519, 5)

    def test_no_later_than_allowed(self, server: Server) -> None:
        server.site.script = [drip(0.01)]
        with pytest.raises(HttpError, match=r"not done within 0.1 s"):
            get_bytes(server.url(), 1000, 0.1)

    def test_cut(self, server: Server) -> None:
        server.site.script = [cut(10)]
        with pytest.raises(HttpError, match="broke off before its announced end") as caught:
            get_bytes(server.url(), 1000, 5)
        assert caught.value.transient

    def test_compressed(self, server: Server) -> None:
        server.site.script = [zipped]
        with pytest.raises(HttpError, match="sends gzip"):
            get_bytes(server.url(), 1000, 5)

    def test_a_part_that_was_not_asked_for(self, server: Server) -> None:
        server.site.script = [part_of(0)]
        with pytest.raises(HttpError, match="without having been asked"):
            get_bytes(server.url(), 1000, 5)

    def test_a_redirect_to_plain_http_is_refused(
        self, server: Server, pem: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
        with (
            Server(Site(always=redirect(server.url("plain"))), pem) as secure,
            pytest.raises(HttpError, match=r"redirects to plain HTTP: .*/plain; refused"),
        ):
            get_bytes(secure.url(), 1000, 5)
        assert server.site.seen == []

    def test_the_error_says_what_a_caller_may_branch_on(self, server: Server) -> None:
        server.site.script = [status(429, retry_after="7")]
        with pytest.raises(HttpError) as caught:
            get_bytes(server.url(), 1000, 5)
        assert (caught.value.status, caught.value.retry_after) == (429, 7.0)
        assert caught.value.transient


class TestOpenRange:
    @pytest.fixture
    def site(self) -> Site:
        return Site(BODY)

    def test_like_the_file_itself(self, server: Server) -> None:
        with open_range(server.url()) as stream:
            assert stream.size == len(BODY)
            assert stream.seekable()
            assert stream.readable()
            assert not stream.writable()
            assert stream.seek(-10, io.SEEK_END) == len(BODY) - 10
            assert stream.read(100) == BODY[-10:]
            assert stream.read(1) == b""
            stream.seek(300_000)
            assert stream.read(70_000) == BODY[300_000:370_000]
            assert stream.tell() == 370_000

    def test_connections_are_kept(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        accepted: list[Any] = []
        usual = server.get_request

        def accept() -> Any:
            accepted.append(usual())
            return accepted[-1]

        monkeypatch.setattr(server, "get_request", accept)
        with open_range(server.url()) as stream:
            for position in (900_000, 500_000, 200_000):
                stream.seek(position)
                stream.read(10)
        assert len(server.site.seen) == 4
        assert len(accepted) == 1

    @pytest.mark.parametrize("behaviour", [without_ranges, no_length(), endless])
    def test_a_server_that_ignores_ranges(
        self, behaviour: Callable[[Any], None], server: Server
    ) -> None:
        server.site.always = behaviour
        with pytest.raises(PipelineError, match="its server ignores byte ranges") as caught:
            open_range(server.url())
        assert "download it first" in caught.value.hint

    def test_a_file_that_changes(self, server: Server) -> None:
        with open_range(server.url()) as stream:
            server.site.script = [replaced(BODY[::-1], '"two"')]
            stream.seek(500_000)
            with pytest.raises(PipelineError, match="changed while it was being read"):
                stream.read(1)
        assert server.site.seen[1].headers["If-Range"] == '"one"'

    def test_a_file_that_changes_behind_a_server_without_conditions(self, server: Server) -> None:
        with open_range(server.url()) as stream:
            server.site.script = [part_of(458752, etag='"two"')]
            stream.seek(460_000)
            with pytest.raises(PipelineError, match="changed while it was being read"):
                stream.read(1)

    def test_another_range_than_asked_for(self, server: Server) -> None:
        with open_range(server.url()) as stream:
            server.site.script = [part_of(5)]
            stream.seek(500_000)
            with pytest.raises(PipelineError, match="sends another range"):
                stream.read(1)

    def test_passing_failures_are_forgiven(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slept: list[float] = []
        monkeypatch.setattr("pipeline.inputs.fetch_ranges.time.sleep", slept.append)
        server.site.script = [status(503, retry_after="2"), cut(100)]
        with open_range(server.url()) as stream:
            assert stream.read(5) == BODY[:5]
        assert slept == [2.0, 1.0]

    def test_lasting_failures_are_not(self, server: Server) -> None:
        server.site.always = status(404)
        with pytest.raises(HttpError, match="404"):
            open_range(server.url())
        assert len(server.site.seen) == 1

    def test_redirects_and_pages(self, server: Server) -> None:
        server.site.script = [redirect("/there")]
        with open_range(server.url()) as stream:
            assert stream.read(5) == BODY[:5]
        server.site.script = [answer(b"<html>")]
        with pytest.raises(PipelineError, match="ignores byte ranges"):
            open_range(server.url())


class TestHttpFile:
    def test_blocks_are_kept(self) -> None:
        source = Simulator(BODY)
        stream = HttpFile("http://x/", source, block=4096)
        for position in (0, 4000, 100_000, 100_005, 0):
            stream.seek(position)
            assert stream.read(50) == BODY[position : position + 50]
        assert source.asked == [(0, 4095), (98304, 102399)]

    def test_one_long_read_is_one_request(self) -> None:
        source = Simulator(BODY)
        stream = HttpFile("http://x/", source, block=4096)
        assert stream.read(100_000) == BODY[:100_000]
        assert source.asked == [(0, 4095), (4096, 102399)]

    def test_reading_is_limited(self) -> None:
        source = Simulator(BODY)
        stream = HttpFile("http://x/", source, block=4096, maximum=300_000)
        with pytest.raises(PipelineError, match=r"took more than 293.0 KiB"):
            stream.read()
        assert sum(last - first + 1 for first, last in source.asked) <= 300_000
        assert stream.transferred <= 300_000

    def test_memory_is_limited(self) -> None:
        stream = HttpFile("http://x/", Simulator(BODY * 2), block=4096)
        assert stream.read() == BODY * 2
        assert len(stream._blocks) <= 256

    def test_before_the_start(self) -> None:
        stream = HttpFile("http://x/", Simulator(BODY))
        with pytest.raises(ValueError, match="before the start"):
            stream.seek(-1)

    @settings(max_examples=60, deadline=None)
    @given(
        body=st.binary(min_size=1, max_size=300),
        moves=st.lists(st.tuples(st.integers(0, 320), st.integers(0, 330)), max_size=12),
        block=st.integers(1, 64),
    )
    def test_reads_as_a_file_does(
        self, body: bytes, moves: list[tuple[int, int]], block: int
    ) -> None:
        stream, model = HttpFile("http://x/", Simulator(body), block=block), io.BytesIO(body)
        for position, count in moves:
            assert stream.seek(position) == model.seek(position)
            assert stream.read(count) == model.read(count)
            assert stream.tell() == model.tell()


def test_the_client_is_a_fetcher_that_can_be_closed_twice() -> None:
    with Client() as client:
        client.close()


PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A proxy that the environment names for everything."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    site = Site()
    with Server(site) as made:
        for name in PROXIES:
            monkeypatch.setenv(name, made.url("").rstrip("/"))
        yield site


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_leads_to_this_host_goes_to_no_proxy(server: Server, proxy: Site, host: str) -> None:
    url = server.url().replace("127.0.0.1", host)
    assert get_bytes(url, 1000, 5) == server.site.body
    assert proxy.seen == []


def test_everything_else_goes_to_the_proxy(proxy: Site) -> None:
    assert get_bytes("http://publisher.example/x", 1000, 5) == proxy.body
    assert len(proxy.seen) == 1


def test_a_registry_of_this_host_is_behind_no_proxy(server: Server, proxy: Site) -> None:
    """Its requests go through another library, and may carry a password."""
    host = server.url().split("/")[2]
    Registry(host, plain=True).ask("GET", f"http://{host}/v2/", ok=(200, 404))
    assert proxy.seen == []
    assert server.site.seen
