"""Redirects, TLS and proxies: followed by hand, and from the environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.inputs.fetch import Policy, fetch
from tests.servers import (
    Server,
    Site,
    drip,
    good,
    redirect,
    status,
)
from tests.unit.fetch.conftest import MSI, MakePin, Recorder, Refuse


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
        assert "not done within 0." in text


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
