"""Transfers that break: what is asked for next, and when everything starts over."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.inputs.fetch import Policy, fetch, verified
from tests.servers import (
    Server,
    Site,
    announcing,
    cut,
    cut_chunk,
    good,
    part_of,
    redirect,
    replaced,
    status,
    without_ranges,
)
from tests.unit.fetch.conftest import MSI, MakePin, Recorder, leave_part

SHORT = MSI[:32]


@pytest.mark.parametrize("count", range(len(SHORT) + 1))
def test_cut_at_every_offset(
    count: int, server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.body, site.script = SHORT, [cut(count)]
    pin = make_pin(server.url(), body=SHORT)
    assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == SHORT
    begun = 0 < count < len(SHORT)
    assert site.ranges[1:] == ([f"bytes={count}-"] if begun else [None] if count == 0 else [])
    if begun:
        assert site.seen[1].headers["If-Range"] == '"one"'


class Way(NamedTuple):
    """How one transfer goes."""

    length: int
    ranges: bool


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ways=st.lists(st.builds(Way, st.integers(0, 60), st.booleans()), max_size=6))
def test_any_sequence_of_cuts_ends_with_the_artifact(
    ways: list[Way],
    server: Server,
    site: Site,
    workspace: Workspace,
    make_pin: MakePin,
    quick: Policy,
) -> None:
    site.script = [cut(way.length, good if way.ranges else without_ranges) for way in ways]
    patient = replace(quick, retries=len(ways) + 1)
    path = fetch(make_pin(server.url()), workspace, Silent(), policy=patient)
    assert path.read_bytes() == MSI
    shutil.rmtree(workspace.cache)


def test_what_a_killed_run_left_is_hashed_once_and_continued(
    server: Server,
    site: Site,
    workspace: Workspace,
    make_pin: MakePin,
    quick: Policy,
    progress: Recorder,
) -> None:
    pin = make_pin(server.url())
    leave_part(workspace, str(pin.sha256), MSI[:100], pin.urls[0], '"one"')
    fetch(pin, workspace, progress, policy=quick)
    assert site.ranges == ["bytes=100-"]
    assert site.seen[0].sent == len(MSI) - 100
    assert progress.phases[0] == "checking the part that is already here"
    assert any("resumed at 100 B" in event for event in progress.events)


def test_a_run_that_ended_just_before_the_rename(
    site: Site, server: Server, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    pin = make_pin(server.url())
    leave_part(workspace, str(pin.sha256), MSI, pin.urls[0], '"one"')
    (workspace.partial / f"{pin.sha256}.part").chmod(0o444)
    assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI
    assert site.seen == []


def test_a_server_that_ignores_ranges_starts_over(
    server: Server,
    site: Site,
    workspace: Workspace,
    make_pin: MakePin,
    quick: Policy,
    progress: Recorder,
) -> None:
    site.script = [cut(100, without_ranges), without_ranges]
    assert fetch(make_pin(server.url()), workspace, progress, policy=quick).read_bytes() == MSI
    assert site.ranges == [None, "bytes=100-"]
    assert any("starts over" in event for event in progress.events)


@pytest.mark.parametrize("validator", ["etag", "modified"])
def test_an_entity_that_changes_midway_starts_over(
    validator: str,
    server: Server,
    site: Site,
    workspace: Workspace,
    make_pin: MakePin,
    quick: Policy,
) -> None:
    old = b"\xd0\xcf\x11\xe0" + b"old" * 172
    site.body, site.etag = old, '"old"'
    if validator == "modified":
        site.etag, site.modified = 'W/"weak"', "Mon, 23 Nov 2026 10:00:00 GMT"

    def change(handler: Any) -> None:
        site.modified = "Tue, 24 Nov 2026 10:00:00 GMT" if validator == "modified" else ""
        replaced(MSI, 'W/"weak"' if validator == "modified" else '"new"')(handler)

    site.script = [cut(100), change]
    assert fetch(make_pin(server.url()), workspace, Silent(), policy=quick).read_bytes() == MSI
    condition = '"old"' if validator == "etag" else "Mon, 23 Nov 2026 10:00:00 GMT"
    assert site.seen[1].headers["If-Range"] == condition
    assert len(site.seen) == 2


def test_a_part_of_a_changed_entity_is_not_taken(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.script = [cut(100), part_of(100, etag='"two"')]
    assert fetch(make_pin(server.url()), workspace, Silent(), policy=quick).read_bytes() == MSI
    assert site.ranges == [None, "bytes=100-", None]


@pytest.mark.parametrize("wrong", [part_of(50), part_of(100, total=999), status(416), status(206)])
def test_another_range_than_asked_for_starts_over(
    wrong: Any, server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.script = [cut(100), wrong]
    pin = make_pin(server.url(), size=None)
    assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI
    assert site.ranges == [None, "bytes=100-", None]


def test_without_a_validator_the_digest_decides(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.etag = ""
    site.body = b"\xd0\xcf\x11\xe0" + b"x" * (len(MSI) - 4)
    site.script = [cut(100), replaced(MSI, "")]
    assert fetch(make_pin(server.url()), workspace, Silent(), policy=quick).read_bytes() == MSI
    assert site.ranges == [None, "bytes=100-", None]
    assert "If-Range" not in site.seen[1].headers


def test_without_validator_and_length_nothing_is_resumed(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.etag, site.script = "", [cut_chunk(45)]
    pin = make_pin(server.url(), size=None)
    assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI
    assert site.ranges == [None, None]


def test_a_validator_alone_is_enough_to_resume(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.script = [cut_chunk(45)]
    pin = make_pin(server.url(), size=None)
    assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI
    assert site.ranges == [None, "bytes=45-"]


def test_a_range_of_the_wrong_place_is_named(
    server: Server,
    site: Site,
    workspace: Workspace,
    make_pin: MakePin,
    quick: Policy,
    progress: Recorder,
) -> None:
    site.script = [cut(100), part_of(50)]
    fetch(make_pin(server.url()), workspace, progress, policy=quick)
    assert any("sends another range than asked for" in event for event in progress.events)


def test_a_damaged_part_costs_one_whole_transfer(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    pin = make_pin(server.url())
    leave_part(workspace, str(pin.sha256), MSI[:50] + bytes(50), pin.urls[0], '"one"')
    assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI
    assert site.ranges == ["bytes=100-", None]


@pytest.mark.parametrize("junk", [b"<html>", bytes(10), MSI + b"more"], ids=repr)
def test_a_part_that_can_not_be_the_beginning_is_dropped(
    junk: bytes, server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    pin = make_pin(server.url())
    workspace.partial.mkdir(parents=True)
    (workspace.partial / f"{pin.sha256}.part").write_bytes(junk)
    assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI
    assert site.ranges[-1] is None


def test_the_next_mirror_goes_on_where_the_first_one_died(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.script = [cut(100)] + [status(503)] * 4
    other = Site(body=MSI, etag='"other"')
    with Server(other) as second:
        pin = make_pin(server.url(), second.url())
        assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI
        assert other.ranges == ["bytes=100-"]
        assert "If-Range" not in other.seen[0].headers


def test_a_resumed_transfer_that_is_redirected_keeps_its_range(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.script = [cut(100), redirect(server.url("moved"))]
    assert fetch(make_pin(server.url()), workspace, Silent(), policy=quick).read_bytes() == MSI
    assert site.ranges == [None, "bytes=100-", "bytes=100-"]


def test_giving_up_keeps_what_has_arrived(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.script = [cut(100)] + [status(503)] * 4
    pin = make_pin(server.url())
    with pytest.raises(PipelineError) as caught:
        fetch(pin, workspace, Silent(), policy=quick)
    assert caught.value.hint == "100 B are kept: run again to go on from there"
    assert verified(pin, workspace) is None
    assert not workspace.artifacts.exists()
    fetch(pin, workspace, Silent(), policy=quick)
    assert site.ranges[-1] == "bytes=100-"


def test_progress_made_starts_the_count_of_failures_again(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.script = [cut(20) for _ in range(20)]
    fetch(make_pin(server.url()), workspace, Silent(), policy=replace(quick, retries=1))
    assert len(site.seen) == 21


def test_a_server_that_always_cuts_at_the_same_place_is_given_up(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.always = cut(100, without_ranges)
    with pytest.raises(PipelineError, match="broke off"):
        fetch(make_pin(server.url()), workspace, Silent(), policy=replace(quick, retries=2))
    assert len(site.seen) == 3


def test_a_length_above_the_body_is_a_cut(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> None:
    site.always = announcing(len(MSI) + 10)
    with pytest.raises(PipelineError, match="broke off"):
        fetch(make_pin(server.url(), size=None), workspace, Silent(), policy=quick)
