"""Upstreams that misbehave: one sentence each, and no pin is changed by any of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.foundation.files import sha256_bytes
from tests.servers import Behaviour, Server, Site, answer, redirect, silent, status
from tests.unit.upstream.publishers import (
    ARCHIVE,
    Publishers,
    Refresh,
    iso,
    medium,
    msi,
    served,
)

API = "/api/v3/repos/winfsp/winfsp/releases?per_page=30"
PAGE = b"<!DOCTYPE html><html><head><title>Are you a robot?</title></head></html>"
OLD, NEW = iso("old"), iso("new", 41_000)
DISC = f"{ARCHIVE}virtio-win-0.1.302-1/virtio-win-0.1.302.iso"
NEXT = f"{ARCHIVE}virtio-win-0.1.303-1/virtio-win-0.1.303.iso"


def drivers(world: Publishers) -> None:
    world.pin_drivers("0.1.302", OLD)
    world.archive({"0.1.302-1": OLD, "0.1.303-1": NEW})


def winfsp(world: Publishers) -> None:
    world.pin_winfsp("2.2.26215", "v2.2", msi("old"))
    world.github(
        world.release("v2.3", "winfsp-2.3.26300.msi", msi("new"), digest=False),
        world.release("v2.2", "winfsp-2.2.26215.msi", msi("old")),
    )


def windows(world: Publishers) -> None:
    world.pin_windows("/a/server.iso", medium(32230), 32230)
    world.link("/b/new.iso")
    world.routes["/b/new.iso"] = served(medium(40000))


@dataclass(frozen=True)
class Case:
    """A publisher, what goes wrong there, and what is said of it."""

    name: str
    publisher: Callable[[Publishers], None]
    path: str
    behaviour: Behaviour
    said: tuple[str, ...]


def listing(*names: str) -> Behaviour:
    return answer("".join(f'<a href="{name}/">x</a>' for name in names).encode())


CASES = [
    Case("listing-is-a-bot-check", drivers, ARCHIVE, answer(PAGE),
         ('a web page titled "Are you a robot?"', "instead of a list of versions")),
    Case("listing-is-empty", drivers, ARCHIVE, answer(b""), ("an empty file instead of a list",)),
    Case("listing-is-gone", drivers, ARCHIVE, status(404), ("404 Not Found",)),
    Case("listing-asks-to-wait", drivers, ARCHIVE, status(429, retry_after="3600"),
         ("429", "try again in 1:00:00")),
    Case("listing-on-another-host", drivers, ARCHIVE, redirect("https://localhost:1/x"),
         ("localhost",)),
    Case("listing-went-back", drivers, ARCHIVE, listing("virtio-win-0.1.271-1"),
         ("404",)),
    Case("listing-of-nonsense", drivers, ARCHIVE,
         listing("virtio-win-0.1.999-1.old", "../../virtio-win-9.9.9-1/x", "virtio-win-latest"),
         ("instead of a list of versions like 0.1.302-1",)),
    Case("disc-is-a-page", drivers, NEXT, answer(PAGE),
         ('a web page titled "Are you a robot?"',)),
    Case("disc-is-not-there", drivers, NEXT, status(404), ("404 Not Found",)),
    Case("disc-on-another-host", drivers, NEXT, redirect("https://localhost:1/x.iso"),
         ("localhost",)),
    Case("api-is-a-page", winfsp, API, answer(PAGE), ("a web page", "a list of releases")),
    Case("api-is-other-json", winfsp, API, answer(b'{"message": "Moved"}'),
         ("JSON text instead of a list of releases",)),
    Case("api-is-cut-short", winfsp, API, answer(b'[{"tag_name": "v9"'),
         ("instead of a list of releases",)),
    Case("api-limit", winfsp, API, status(403, x_ratelimit_remaining="0"),
         ("403 Forbidden", "the feed lists v2.3 before v2.2", "GITHUB_TOKEN")),
    Case("api-limit-with-a-wait", winfsp, API, status(429, retry_after="1800"),
         ("429", "try again in 30:00", "the feed lists v2.3")),
    Case("api-is-out-of-order", winfsp, API, status(503), ("503",)),
    Case("api-without-such-files", winfsp, API,
         answer(json.dumps([{"tag_name": "v3", "assets": []}]).encode()),
         ("no release of winfsp/winfsp has a file like",)),
    Case("link-to-another-host", windows, "/fwlink/?linkid=1", redirect("https://localhost:1/x"),
         ("localhost",)),
    Case("link-to-plain-http", windows, "/fwlink/?linkid=1", redirect("http://127.0.0.1:1/x"),
         ("redirects to plain HTTP", "refused")),
    Case("link-in-a-circle", windows, "/fwlink/?linkid=1", redirect("?linkid=1"),
         ("in a circle",)),
    Case("link-to-a-page", windows, "/b/new.iso", answer(PAGE), ("a web page",)),
    Case("medium-without-ranges", windows, "/b/new.iso", answer(medium(40000)),
         ("ignores byte ranges",)),
    Case("medium-without-wim", windows, "/b/new.iso", served(iso("empty", 80_000)), ("new.iso",)),
    Case("medium-in-another-language", windows, "/b/new.iso", served(medium(40000, "de-DE")),
         ("the language is de-DE, not en-US",)),
    Case("medium-with-other-editions", windows, "/b/new.iso",
         served(medium(40000, names=["Windows Server 2025 SERVERSTANDARD"])),
         ("the edition 'Windows Server 2025 SERVERDATACENTER' is not there",)),
    Case("medium-of-an-older-build", windows, "/b/new.iso", served(medium(1742)),
         ("26100.1742, older than the pinned 26100.32230",)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_said_and_the_pin_stays(world: Publishers, refresh: Refresh, case: Case) -> None:
    case.publisher(world)
    (file,) = world.root.glob("checksums/*.yaml")
    before = file.read_bytes()
    world.routes[case.path] = case.behaviour
    said = refresh("--write", "--accept-changed-upstream")
    assert said.code == 1, said.out
    for text in case.said:
        assert text in said.err
    assert file.read_bytes() == before
    artifacts = world.workspace.artifacts
    assert not artifacts.exists() or not list(artifacts.rglob("*.*"))


def test_the_same_publishers_are_fine_when_nothing_goes_wrong(
    world: Publishers, refresh: Refresh
) -> None:
    for publisher in (drivers, winfsp, windows):
        publisher(world)
    assert refresh("--check").code == 4


def test_one_that_fails_does_not_keep_the_others_from_being_written(
    world: Publishers, refresh: Refresh
) -> None:
    for publisher in (drivers, winfsp, windows):
        publisher(world)
    world.routes[API] = status(500)
    said = refresh("--write")
    assert said.code == 1
    assert said.err.count("golden: ") == 1
    assert world.now("virtio-win").version == "0.1.303"
    assert world.now("windows").version == "26100.40000"
    assert world.now("winfsp").version == "2.2.26215"


def test_the_feed_spares_an_alarm_when_nothing_is_newer(
    world: Publishers, refresh: Refresh
) -> None:
    world.pin_winfsp("2.2.26215", "v2.2", msi("old"))
    world.github(world.release("v2.2", "winfsp-2.2.26215.msi", msi("old")))
    world.routes[API] = status(403)
    said = refresh("--check")
    assert (said.code, said.err) == (0, "")
    assert "the feed of winfsp/winfsp begins with v2.2" in said.out


def test_a_withdrawn_release_moves_no_pin_back(world: Publishers, refresh: Refresh) -> None:
    world.pin_drivers("0.1.302", OLD)
    world.archive({"0.1.271-1": iso("older")})
    said = refresh("--write", "--accept-changed-upstream")
    assert said.code == 1
    assert "0.1.271, older than the pinned 0.1.302" in said.err
    assert "a pin never goes back by itself" in said.err


# The same version, another file


def replaced_by_size(world: Publishers) -> bytes:
    data = iso("replaced", 50_000)
    world.pin_drivers("0.1.302", OLD)
    world.archive({"0.1.302-1": data})
    return data


def replaced_by_digest(world: Publishers) -> bytes:
    data = msi("replaced")
    world.pin_winfsp("2.2.26215", "v2.2", msi("old"))
    world.github(world.release("v2.2", "winfsp-2.2.26215.msi", data))
    return data


def replaced_by_tag(world: Publishers) -> bytes:
    data = iso("replaced")
    assert len(data) == len(OLD)
    world.pin_drivers("0.1.302", OLD, extra="  etag: '\"old\"'\n")
    world.archive({"0.1.302-1": data})
    return data


def replaced_medium(world: Publishers) -> bytes:
    data = medium(32230) + bytes(2048)
    world.pin_windows("/a/server.iso", medium(32230), 32230)
    world.link("/b/again.iso")
    world.routes["/b/again.iso"] = served(data)
    return data


@pytest.mark.parametrize(
    "replaced", [replaced_by_size, replaced_by_digest, replaced_by_tag, replaced_medium]
)
def test_another_file_under_the_same_version_needs_a_word(
    world: Publishers, refresh: Refresh, replaced: Callable[[Publishers], bytes]
) -> None:
    data = replaced(world)
    (file,) = world.root.glob("checksums/*.yaml")
    before = file.read_bytes()
    said = refresh("--write")
    assert said.code == 1
    assert "--accept-changed-upstream" in said.err
    assert file.read_bytes() == before
    said = refresh("--write", "--accept-changed-upstream")
    assert said.code == 0, said.err
    assert f'sha256: "{sha256_bytes(data)}"'.encode() in file.read_bytes()
    assert refresh("--check").code == 0


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (medium(32230) + bytes(2048), 1, "26100.32230 was replaced upstream: it has"),
        (medium(40000) + bytes(2048), 0, "windows: 26100.32230 → 26100.40000"),
        (medium(1742) + bytes(2048), 1, "26100.1742, older than the pinned"),
        (medium(32230, "de-DE") + bytes(2048), 1, "the language is de-DE"),
    ],
    ids=["same build", "newer build", "older build", "other language"],
)
def test_another_medium_at_the_same_address_is_looked_into(
    world: Publishers, refresh: Refresh, data: bytes, code: int, said: str
) -> None:
    world.pin_windows("/a/server.iso", medium(32230), 32230)
    world.link("/a/server.iso")
    world.routes["/a/server.iso"] = served(data)
    found = refresh("--write")
    assert found.code == code
    assert said in found.out + found.err


def test_another_tag_of_the_same_bytes_changes_the_tag_alone(
    world: Publishers, refresh: Refresh
) -> None:
    world.pin_drivers("0.1.302", OLD, extra="  etag: '\"old\"'\n")
    world.archive({"0.1.302-1": OLD})
    assert refresh("--check").code == 4
    said = refresh("--write")
    assert said.code == 0, said.err
    assert "unchanged" in said.out
    pin = world.now("virtio-win")
    assert (pin.sha256, pin.etag) == (sha256_bytes(OLD), f'"{sha256_bytes(OLD)[:8]}"')


def test_a_packaging_done_again_is_not_taken_for_the_same_file(
    world: Publishers, refresh: Refresh
) -> None:
    data = iso("packaged again")
    world.pin_drivers("0.1.302", OLD)
    world.archive({"0.1.302-1": OLD, "0.1.302-2": data})
    assert refresh("--write").code == 1
    assert refresh("--write", "--accept-changed-upstream").code == 0
    pin = world.now("virtio-win")
    assert pin.sha256 == sha256_bytes(data)
    assert "virtio-win-0.1.302-2/virtio-win-0.1.302.iso" in pin.urls[0]


# While it is being measured


def late(world: Publishers, *behaviours: Behaviour) -> None:
    """The head is answered well; what is asked for afterwards is not."""
    drivers(world)
    queue = [served(NEW), *behaviours]

    def behave(handler: object) -> None:
        (queue.pop(0) if len(queue) > 1 else queue[0])(handler)  # type: ignore[arg-type]

    world.routes[NEXT] = behave


def test_a_file_that_changes_between_look_and_download_is_refused(
    world: Publishers, refresh: Refresh
) -> None:
    late(world, served(iso("other", 45_000)))
    said = refresh("--write")
    assert said.code == 1
    assert "offers 45000 bytes" in said.err
    assert world.now("virtio-win").version == "0.1.302"


def test_a_page_in_place_of_the_download_is_refused(world: Publishers, refresh: Refresh) -> None:
    late(world, answer(PAGE.ljust(41_000)))
    assert refresh("--write").code == 1
    assert world.now("virtio-win").version == "0.1.302"


def test_a_download_redirected_to_plain_http_is_refused(
    world: Publishers, refresh: Refresh
) -> None:
    """No digest vouches for what would come; for pinned files it would."""
    with Server(Site(body=NEW)) as plain:
        late(world, redirect(plain.url("new.iso")))
        said = refresh("--write")
    assert said.code == 1
    assert "redirects to plain HTTP" in said.err
    assert plain.site.seen == []


def test_a_token_is_not_sent_on_to_another_host(
    world: Publishers, refresh: Refresh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "canary")
    winfsp(world)
    with Server(Site(body=b"[]"), tmp_path / "certificate.pem") as other:
        world.routes[API] = redirect(other.url("stolen"))
        said = refresh("--check")
    assert said.code == 1
    assert "leads to another host" in said.err
    assert [seen.headers.get("Authorization") for seen in other.site.seen] == [None]
    assert "canary" not in said.err


def test_a_publisher_that_says_nothing_is_left_in_time(
    world: Publishers, refresh: Refresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.inputs.upstream.WITHIN", 0.2)
    drivers(world)
    world.routes[ARCHIVE] = silent
    said = refresh("--check")
    assert said.code == 1
    assert "not done within" in said.err


def test_definitions_that_would_no_longer_agree_are_put_back(
    world: Publishers, refresh: Refresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a medium without an image's edition ever get so far."""
    monkeypatch.setattr("pipeline.inputs.upstream_link._missing", lambda *_: [])
    for publisher in (drivers, winfsp, windows):
        publisher(world)
    world.routes["/b/new.iso"] = served(medium(40000, names=["Windows Server 2025 OTHER"]))
    (world.root / "images" / "toy.yaml").write_text(
        "title: Toy\nrelease: 2k25\nmedia: windows\nedition: Windows Server 2025 SERVERSTANDARD\n"
        "drivers:\n  pin: virtio-win\nwinfsp: winfsp\n"
    )
    before = world.file("windows").read_bytes()
    said = refresh("--write", "windows")
    assert said.code == 1
    assert "images/toy.yaml:4:10: edition" in said.err
    assert "26100.40000 was not written" in said.err
    assert world.file("windows").read_bytes() == before
