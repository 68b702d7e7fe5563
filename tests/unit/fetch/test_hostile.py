"""Servers that refuse, lie, stall, redirect and compress: each named, and the next mirror asked."""

from __future__ import annotations

import datetime
import email.utils
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.definitions.model import Kind, Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Sha256
from pipeline.inputs.fetch import Policy, fetch, verified
from tests.servers import (
    Behaviour,
    Server,
    Site,
    announcing,
    answer,
    chunked,
    drip,
    drip_headers,
    endless,
    good,
    no_length,
    redirect,
    silent,
    stall,
    status,
    zipped,
)
from tests.unit.fetch.conftest import MSI, MakePin, Recorder

Refuse = Callable[..., str]


@pytest.fixture
def refused(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> Refuse:
    """Run fetch against one bad server; the error's text, after checking what it left behind."""

    def run(behaviour: Behaviour, pin: Pin | None = None, policy: Policy = quick) -> str:
        site.always = behaviour
        pin = pin or make_pin(server.url())
        with pytest.raises(PipelineError) as caught:
            fetch(pin, workspace, Silent(), policy=policy)
        assert verified(pin, workspace) is None
        assert not list(workspace.artifacts.rglob("*"))
        assert not workspace.fetch_receipt(pin.name).exists()
        return str(caught.value)

    return run


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


class TestStatus:
    """Refusals, and how long to wait."""

    @pytest.fixture
    def slept(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        waits: list[float] = []
        monkeypatch.setattr("time.sleep", waits.append)
        return waits

    @pytest.mark.parametrize("code", [404, 429, 503])
    def test_retry_after_is_obeyed(
        self,
        code: int,
        slept: list[float],
        server: Server,
        site: Site,
        workspace: Workspace,
        make_pin: MakePin,
    ) -> None:
        site.script = [status(code, retry_after="17")]
        assert fetch(make_pin(server.url()), workspace, Silent()).read_bytes() == MSI
        assert slept == [17.0]

    def test_retry_after_may_be_a_date(
        self,
        slept: list[float],
        server: Server,
        site: Site,
        workspace: Workspace,
        make_pin: MakePin,
    ) -> None:
        when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
        site.script = [status(503, retry_after=email.utils.format_datetime(when, usegmt=True))]
        fetch(make_pin(server.url()), workspace, Silent())
        assert 50 < slept[0] <= 100

    def test_not_beyond_the_deadline(
        self, slept: list[float], site: Site, refused: Refuse, quick: Policy
    ) -> None:
        text = refused(status(503, retry_after="61"), policy=replace(quick, total=60))
        assert "answered 503 Service Unavailable, try again in 1:01" in text
        assert slept == []
        assert len(site.seen) == 1

    def test_the_next_mirror_is_asked_rather_than_waiting_for_ever(
        self,
        slept: list[float],
        server: Server,
        site: Site,
        workspace: Workspace,
        make_pin: MakePin,
        quick: Policy,
    ) -> None:
        site.always = status(429, retry_after="1000")
        with Server(Site(MSI)) as other:
            pin = make_pin(server.url(), other.url())
            fetch(pin, workspace, Silent(), policy=replace(quick, total=1e4))
        assert slept == []

    @pytest.mark.parametrize(
        ("code", "asked"), [(404, 1), (403, 1), (410, 1), (304, 1), (503, 4), (500, 4), (429, 4)]
    )
    def test_what_may_pass_is_tried_again(
        self, code: int, asked: int, slept: list[float], site: Site, refused: Refuse
    ) -> None:
        assert f"answered {code} " in refused(status(code))
        assert len(site.seen) == asked
        assert slept == [0.001 * 2**n for n in range(asked - 1)]

    def test_an_unknown_status(self, refused: Refuse) -> None:
        assert "answered 799 which is not a known status" in refused(status(799))


class TestTime:
    """Stalls, drips and silence all end; policy values are small, nothing is timed."""

    @pytest.fixture
    def hasty(self, quick: Policy) -> Policy:
        limits = replace(quick.limits, answer=0.2, stall=0.1, min_rate=1e6)
        return replace(quick, retries=0, limits=limits)

    def test_a_stall(self, refused: Refuse, hasty: Policy) -> None:
        assert "stalled: nothing came for 0.1 s" in refused(stall(100), policy=hasty)

    def test_a_drip(self, refused: Refuse, hasty: Policy) -> None:
        assert re.search(r"stalled: \d+ B in ", refused(drip(0.01), policy=hasty))

    def test_silence(self, refused: Refuse, hasty: Policy) -> None:
        assert "stalled: nothing came for 0.1 s" in refused(silent, policy=hasty)

    def test_dripped_headers(self, refused: Refuse, hasty: Policy) -> None:
        assert "no answer within 0.2 s" in refused(drip_headers(0.01), policy=hasty)

    def test_the_total_deadline_cuts_a_body(self, refused: Refuse, quick: Policy) -> None:
        text = refused(drip(0.01), policy=replace(quick, total=0.2))
        assert "not done within 0.2 s" in text

    def test_the_total_deadline_cuts_a_body_without_a_length(
        self, refused: Refuse, quick: Policy
    ) -> None:
        def dripping(handler: Any) -> None:
            handler.head(200, {"Connection": "close"})
            for value in MSI:
                handler.send(bytes([value]))
                handler.server.site.closing.wait(0.01)

        assert "not done within 0.2 s" in refused(dripping, policy=replace(quick, total=0.2))

    def test_mirrors_after_the_deadline_are_not_asked(
        self, server: Server, site: Site, refused: Refuse, make_pin: MakePin, quick: Policy
    ) -> None:
        pin = make_pin(server.url("a"), server.url("b"))
        text = refused(stall(10), pin, replace(quick, total=0.2))
        assert "/b: not asked, as the time was up" in text
        assert len(site.seen) == 1

    def test_a_stalled_transfer_is_resumed(
        self, server: Server, site: Site, workspace: Workspace, make_pin: MakePin, hasty: Policy
    ) -> None:
        site.script = [stall(100)]
        patient = replace(hasty, retries=1)
        assert (
            fetch(make_pin(server.url()), workspace, Silent(), policy=patient).read_bytes() == MSI
        )
        assert site.ranges == [None, "bytes=100-"]


class TestRedirects:
    """Followed by hand."""

    def test_relative_and_absolute(
        self, server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
    ) -> None:
        site.script = [redirect("/b", 301), redirect(server.url("c"), 307), redirect("d", 308)]
        assert (
            fetch(make_pin(server.url("a")), workspace, Silent(), policy=quick).read_bytes() == MSI
        )
        assert [one.path for one in site.seen] == ["/a", "/b", "/c", "/d"]

    def test_a_circle_is_named(
        self, server: Server, site: Site, refused: Refuse, make_pin: MakePin
    ) -> None:
        site.script = [redirect("/b"), redirect("/c")]
        text = refused(redirect("/b"), make_pin(server.url("a")))
        b, c = server.url("b"), server.url("c")
        assert f"redirects in a circle: {b} -> {c} -> {b}" in text

    def test_no_more_than_ten(self, site: Site, refused: Refuse) -> None:
        def onward(handler: Any) -> None:
            redirect(f"/{len(site.seen)}")(handler)

        assert "redirects more than 10 times, last to" in refused(onward)
        assert len(site.seen) == 11

    def test_a_malformed_target(self, refused: Refuse) -> None:
        assert "redirects to a malformed URL" in refused(redirect("http://[::1/x"))

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
    def test_only_to_http(self, target: str, refused: Refuse) -> None:
        assert f"redirects to {target}, which is neither http nor https" in refused(
            redirect(target)
        )

    def test_without_a_target(self, refused: Refuse) -> None:
        assert "answered 302 Found" in refused(status(302))

    def test_to_plain_http_is_followed_for_its_digest_and_said(
        self,
        server: Server,
        workspace: Workspace,
        make_pin: MakePin,
        quick: Policy,
        progress: Recorder,
        pem: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
        with Server(Site(always=redirect(server.url("plain"))), pem) as secure:
            pin = make_pin(secure.url())
            assert fetch(pin, workspace, progress, policy=quick).read_bytes() == MSI
        assert any(
            "redirects to plain HTTP: http://127.0.0.1" in event for event in progress.events
        )

    def test_an_unknown_certificate_is_refused_once(
        self, refused: Refuse, make_pin: MakePin, pem: Path
    ) -> None:
        site = Site(MSI)
        with Server(site, pem) as secure:
            text = refused(good, make_pin(secure.url()))
        assert "its certificate is not trusted: self-signed certificate" in text
        assert site.seen == []

    def test_https_with_a_bundle_from_the_environment(
        self,
        workspace: Workspace,
        make_pin: MakePin,
        quick: Policy,
        pem: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
        with Server(Site(MSI), pem) as secure:
            pin = make_pin(secure.url())
            assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI

    def test_the_deadline_holds_within_tls(
        self,
        refused: Refuse,
        make_pin: MakePin,
        quick: Policy,
        pem: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
        with Server(Site(MSI, always=drip(0.01)), pem) as secure:
            text = refused(good, make_pin(secure.url()), replace(quick, total=0.2))
        assert "not done within 0.2 s" in text


class TestProxies:
    """From the environment, as curl does."""

    def test_the_proxy_is_asked(
        self,
        server: Server,
        site: Site,
        workspace: Workspace,
        make_pin: MakePin,
        quick: Policy,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("http_proxy", server.url("").rstrip("/"))
        pin = make_pin("http://mirror.invalid/winfsp.msi")
        assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI
        assert site.seen[0].path == "http://mirror.invalid/winfsp.msi"

    def test_no_proxy_is_obeyed(
        self,
        server: Server,
        workspace: Workspace,
        make_pin: MakePin,
        quick: Policy,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert fetch(make_pin(server.url()), workspace, Silent(), policy=quick).read_bytes() == MSI

    def test_a_dead_proxy_is_named_without_its_password(
        self, refused: Refuse, make_pin: MakePin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://me:hunter2@127.0.0.1:1")
        text = refused(good, make_pin("http://mirror.invalid/winfsp.msi"))
        assert "through the proxy: connection refused" in text
        assert "hunter2" not in text


def test_no_thread_is_left_behind(server: Server, workspace: Workspace, make_pin: MakePin) -> None:
    before = {thread for thread in threading.enumerate() if thread.name.startswith("Thread")}
    with Server(Site(MSI[:-1] + b"!")) as wrong:
        fetch(make_pin(wrong.url(), server.url()), workspace, Silent())
    names = {t.name for t in threading.enumerate() if t not in before}
    assert not [name for name in names if "_work" in name or "Timer" in name]
