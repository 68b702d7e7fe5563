"""Servers that send the wrong thing, or lie about it: each named, and the next mirror asked."""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

from pipeline.definitions.model import Kind
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Sha256
from pipeline.inputs.fetch import Policy, fetch
from tests.servers import (
    Server,
    Site,
    announcing,
    answer,
    chunked,
    endless,
    good,
    no_length,
    redirect,
    status,
    zipped,
)
from tests.unit.fetch.conftest import MSI, MakePin, Recorder, Refuse


def test_a_good_answer_needs_no_length(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.script = [no_length()]
    assert fetch(make_pin(server.url()), workspace, Silent(), policy=quick).read_bytes() == MSI


def test_chunks_are_understood(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.body, site.script = MSI * 9, [chunked]
    pin = make_pin(server.url(), body=MSI * 9, size=None)
    assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI * 9


def test_the_request_is_plain(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    fetch(make_pin(server.url()), workspace, Silent(), policy=quick)
    headers = site.seen[0].headers
    assert headers["Accept-Encoding"] == "identity"
    assert "curl" in headers["User-Agent"]
    assert "Mozilla" not in headers["User-Agent"]


class TestMirrors:
    """In order, each with its own reasons to be left."""

    def test_in_order_and_no_further_than_needed(
        self, workspace: Workspace, make_pin: MakePin, quick: Policy, progress: Recorder
    ) -> None:
        sites = [Site(MSI, always=status(404)), Site(MSI, always=zipped), Site(MSI), Site(MSI)]
        with (
            Server(sites[0]) as a,
            Server(sites[1]) as b,
            Server(sites[2]) as c,
            Server(sites[3]) as d,
        ):
            pin = make_pin(a.url(), b.url(), c.url(), d.url())
            assert fetch(pin, workspace, progress, policy=quick).read_bytes() == MSI
        assert [len(site.seen) for site in sites] == [1, 1, 1, 0]
        assert "404 Not Found; the next mirror is asked" in progress.events[0]

    def test_the_error_lists_what_each_said(
        self, server: Server, site: Site, refused: Refuse, make_pin: MakePin
    ) -> None:
        site.script = [status(404), status(403), zipped]
        pin = make_pin(server.url("a"), server.url("b"), server.url("c"), "http://127.0.0.1:1/d")
        text = refused(good, pin)
        assert text.startswith("winfsp 2.2: no mirror delivered it\n")
        for words in (
            "/a: answered 404",
            "/b: answered 403",
            "/c: sends gzip",
            "connection refused",
        ):
            assert len(re.findall(words, text)) == 1

    def test_secrets_in_urls_are_not_shown(
        self, server: Server, site: Site, refused: Refuse, make_pin: MakePin
    ) -> None:
        url = server.url("a?sig=hunter2").replace("//", "//me:hunter3@")
        pin = make_pin(url, "http://me:hunter3@127.0.0.1:1/b?sig=hunter2")
        site.script = [redirect("/c?sig=hunter4")]
        text = refused(status(500), pin)
        assert "hunter" not in text
        assert "127.0.0.1:1/b" in text

    def test_a_refused_connection_is_tried_again(
        self, refused: Refuse, make_pin: MakePin, workspace: Workspace, quick: Policy
    ) -> None:
        recorder = Recorder()
        with pytest.raises(PipelineError, match="connection refused"):
            fetch(make_pin("http://127.0.0.1:1/x"), workspace, recorder, policy=quick)
        assert sum("asked again" in event for event in recorder.events) == quick.retries

    @pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "http://", "nonsense", "http://[::1/x"])
    def test_a_bad_url_is_no_bug(self, url: str, refused: Refuse, make_pin: MakePin) -> None:
        assert "no mirror delivered it" in refused(good, make_pin(url))

    def test_a_name_that_does_not_resolve(
        self, refused: Refuse, make_pin: MakePin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unknown(*_: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr("socket.getaddrinfo", unknown)
        text = refused(good, make_pin("http://name.invalid/x"))
        assert "name.invalid/x: the host name does not resolve" in text


class TestContent:
    """What comes is not what was pinned."""

    PAGE = (
        b"<!doctype html><html><head><title>Making sure you&#39;re not a bot!</title>" + b" " * 400
    )

    @pytest.mark.parametrize("kind", [Kind.ISO, Kind.MSI, Kind.MSU])
    def test_a_bot_check_is_named(
        self, kind: Kind, server: Server, refused: Refuse, make_pin: MakePin
    ) -> None:
        pin = make_pin(server.url(), kind=kind, size=None)
        text = refused(answer(self.PAGE, {"Content-Type": "application/octet-stream"}), pin)
        assert 'sent a web page titled "Making sure you\'re not a bot!"' in text
        assert f"instead of an {kind.upper()}" in text
        assert "hint: open the URL by hand" in text

    def test_a_bot_check_is_found_on_its_first_bytes(
        self, server: Server, site: Site, refused: Refuse, make_pin: MakePin
    ) -> None:
        page = self.PAGE + b" " * 5000

        def page_and_no_end(handler: Any) -> None:
            handler.head(200, {"Content-Length": "8152356864"})
            handler.send(page)
            handler.server.site.closing.wait(30)

        pin = make_pin(server.url(), kind=Kind.ISO, size=8152356864)
        assert "not a bot" in refused(page_and_no_end, pin)
        assert len(site.seen) == 1

    def test_something_else_is_described(
        self, server: Server, refused: Refuse, make_pin: MakePin
    ) -> None:
        pin = make_pin(server.url(), size=None)
        assert "sent a ZIP archive instead of an MSI" in refused(answer(b"PK\x03\x04" * 99), pin)
        assert "sent an empty file instead of an MSI" in refused(answer(b""), pin)

    def test_another_digest_prints_both_and_the_usual_causes(
        self, server: Server, site: Site, refused: Refuse, make_pin: MakePin
    ) -> None:
        text = refused(good, make_pin(server.url(), sha256=Sha256("0" * 64)))
        assert str(make_pin().sha256) in text
        assert "0" * 64 in text
        for cause in ("replaced the file", "virtio-win", "rolled forward", "a proxy changed it"):
            assert cause in text
        assert len(site.seen) == 1

    def test_a_transfer_cut_short_is_a_cause_only_where_the_size_is_not_pinned(
        self, server: Server, refused: Refuse, make_pin: MakePin
    ) -> None:
        wrong = make_pin(server.url(), sha256=Sha256("0" * 64))
        assert "cut short" not in refused(good, wrong)
        assert "cut short" in refused(good, replace(wrong, size=None))

    def test_a_mirror_with_another_digest_is_left_for_the_next(
        self, server: Server, workspace: Workspace, make_pin: MakePin, quick: Policy
    ) -> None:
        with Server(Site(MSI[:-1] + b"!")) as wrong:
            pin = make_pin(wrong.url(), server.url())
            assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI

    def test_compressed_answers_are_refused_once(self, site: Site, refused: Refuse) -> None:
        assert "sends gzip although plain bytes were asked for" in refused(zipped)
        assert len(site.seen) == 1


class TestLength:
    """Lies about the length; never more is read than the pin allows."""

    @pytest.mark.parametrize("length", [0, 100, len(MSI) - 1, len(MSI) + 1, 1 << 50])
    def test_an_announced_length_other_than_the_pins(
        self, length: int, site: Site, refused: Refuse
    ) -> None:
        assert f"offers {length} bytes, the pin says {len(MSI)}" in refused(announcing(length))
        assert len(site.seen) == 1

    def test_an_endless_body_ends_at_the_pins_size(self, site: Site, refused: Refuse) -> None:
        site.body = MSI[:100]
        assert f"its SHA-256 ({len(MSI)} bytes) is" in refused(endless)

    def test_a_longer_body_is_cut_to_the_pins_size(
        self, server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
    ) -> None:
        site.always = no_length(MSI + b"more")
        assert fetch(make_pin(server.url()), workspace, Silent(), policy=quick).read_bytes() == MSI

    def test_an_endless_body_ends_at_the_cap(
        self, server: Server, refused: Refuse, make_pin: MakePin, quick: Policy
    ) -> None:
        pin = make_pin(server.url(), size=None)
        assert "sends more than 2.0 KiB" in refused(endless, pin, replace(quick, max_bytes=2048))

    def test_a_length_above_the_cap(
        self, server: Server, site: Site, refused: Refuse, make_pin: MakePin, quick: Policy
    ) -> None:
        pin = make_pin(server.url(), size=None)
        text = refused(announcing(2049), pin, replace(quick, max_bytes=2048))
        assert "offers 2049 bytes, more than 2.0 KiB" in text
        assert len(site.seen) == 1

    @pytest.mark.parametrize("length", ["many", "-5", "1,2"])
    def test_a_malformed_length_is_none(
        self,
        length: str,
        server: Server,
        site: Site,
        workspace: Workspace,
        make_pin: MakePin,
        quick: Policy,
    ) -> None:
        def malformed(handler: Any) -> None:
            handler.head(200, {"Content-Length": length, "Connection": "close"})
            handler.send(handler.server.site.body)
            handler.close_connection = True

        site.script = [malformed]
        assert fetch(make_pin(server.url()), workspace, Silent(), policy=quick).read_bytes() == MSI


def test_no_thread_is_left_behind(server: Server, workspace: Workspace, make_pin: MakePin) -> None:
    before = {thread for thread in threading.enumerate() if thread.name.startswith("Thread")}
    with Server(Site(MSI[:-1] + b"!")) as wrong:
        fetch(make_pin(wrong.url(), server.url()), workspace, Silent())
    names = {t.name for t in threading.enumerate() if t not in before}
    assert not [name for name in names if "_work" in name or "Timer" in name]
