"""Servers that refuse for now, stall or drip: how long is waited, and for whom."""

from __future__ import annotations

import datetime
import email.utils
import re
from dataclasses import replace
from typing import Any

import pytest

from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.inputs.fetch import Policy, fetch
from tests.servers import (
    Server,
    Site,
    drip,
    drip_headers,
    silent,
    stall,
    status,
)
from tests.unit.fetch.conftest import MSI, MakePin, Refuse


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
        limits = replace(quick.limits, stall=0.1)
        return replace(quick, retries=0, limits=limits)

    @pytest.fixture
    def rated(self, quick: Policy) -> Policy:
        """Only the rate is judged: a busy test host must not look like a stall."""
        limits = replace(quick.limits, stall=0.4, min_rate=1e6)
        return replace(quick, retries=0, limits=limits)

    def test_a_stall(self, refused: Refuse, hasty: Policy) -> None:
        assert "stalled: nothing came for 0.1 s" in refused(stall(100), policy=hasty)

    def test_a_drip(self, refused: Refuse, rated: Policy) -> None:
        assert re.search(r"stalled: \d+ B in ", refused(drip(0.01), policy=rated))

    def test_silence(self, refused: Refuse, hasty: Policy) -> None:
        assert "stalled: nothing came for 0.1 s" in refused(silent, policy=hasty)

    def test_dripped_headers(self, refused: Refuse, quick: Policy) -> None:
        soon = replace(quick, retries=0, limits=replace(quick.limits, answer=0.2))
        assert "no answer within 0.2 s" in refused(drip_headers(0.01), policy=soon)

    def test_the_total_deadline_cuts_a_body(self, refused: Refuse, quick: Policy) -> None:
        text = refused(drip(0.01), policy=replace(quick, total=0.2))
        assert "not done within 0." in text

    def test_the_total_deadline_cuts_a_body_without_a_length(
        self, refused: Refuse, quick: Policy
    ) -> None:
        def dripping(handler: Any) -> None:
            handler.head(200, {"Connection": "close"})
            for value in MSI:
                handler.send(bytes([value]))
                handler.server.site.closing.wait(0.01)

        assert "not done within 0." in refused(dripping, policy=replace(quick, total=0.2))

    def test_mirrors_after_the_deadline_are_not_asked(
        self, server: Server, site: Site, refused: Refuse, make_pin: MakePin, quick: Policy
    ) -> None:
        pin = make_pin(server.url("a"), server.url("b"))
        text = refused(stall(10), pin, replace(quick, total=0.2))
        assert "/b: not asked, as the time was up" in text
        assert all(one.path == "/a" for one in site.seen)

    def test_a_stalled_transfer_is_resumed(
        self, server: Server, site: Site, workspace: Workspace, make_pin: MakePin, rated: Policy
    ) -> None:
        site.script = [stall(100)]
        patient = replace(rated, retries=1)
        assert (
            fetch(make_pin(server.url()), workspace, Silent(), policy=patient).read_bytes() == MSI
        )
        assert site.ranges == [None, "bytes=100-"]
