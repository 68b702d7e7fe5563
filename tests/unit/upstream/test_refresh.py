"""``golden refresh`` against upstreams that behave: what is new, why, and what gets written."""

from __future__ import annotations

import difflib

import pytest

from pipeline.definitions.model import Pin
from pipeline.foundation.files import sha256_bytes
from pipeline.inputs.fetch import verified
from tests.unit.upstream.publishers import (
    ARCHIVE,
    Publishers,
    Refresh,
    iso,
    medium,
    msi,
    served,
)

OLD, NEW = iso("old"), iso("new", 41_000)


def changed_lines(before: str, after: str) -> list[str]:
    """The added and removed lines, without their indentation."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line[0] + line[1:].strip() for line in lines if line[:3] not in ("---", "+++", "@@ ")]


# The archive of drivers


def test_nothing_new_is_said_and_nothing_is_written(world: Publishers, refresh: Refresh) -> None:
    world.pin_drivers("0.1.302", OLD)
    world.archive({"0.1.271-1": iso("older"), "0.1.302-1": OLD})
    before = world.file("virtio-win").stat()
    for words in ([], ["--check"], ["--write"]):
        said = refresh(*words)
        assert said.code == 0, said.err
        assert "virtio-win: 0.1.302 is the newest" in said.out
    assert world.file("virtio-win").stat() == before


def test_a_new_version_is_a_small_diff_with_its_reason(world: Publishers, refresh: Refresh) -> None:
    world.pin_drivers("0.1.302", OLD)
    world.archive({"0.1.302-1": OLD, "0.1.303-1": NEW, "0.1.95-1": iso("ancient")})
    before = world.file("virtio-win").read_text()
    said = refresh("--write")
    assert said.code == 0, said.err
    assert "virtio-win: 0.1.302 → 0.1.303" in said.out
    assert "lists 0.1.303-1" in said.out
    assert "measured: downloaded, hashed and kept in the cache" in said.out
    folder = world.url(f"{ARCHIVE}virtio-win-0.1.")
    assert changed_lines(before, world.file("virtio-win").read_text()) == [
        '-version: "0.1.302"',
        '+version: "0.1.303"',
        f"-- {folder}302-1/virtio-win-0.1.302.iso",
        f'-sha256: "{sha256_bytes(OLD)}"',
        "-size: 40000",
        f"+- {folder}303-1/virtio-win-0.1.303.iso",
        f'+sha256: "{sha256_bytes(NEW)}"',
        "+size: 41000",
        f"+etag: '\"{sha256_bytes(NEW)[:8]}\"'",
    ]
    assert refresh("--check").code == 0


def test_the_build_does_not_fetch_again_what_was_measured(
    world: Publishers, refresh: Refresh
) -> None:
    world.pin_drivers("0.1.302", OLD)
    world.archive({"0.1.302-1": OLD, "0.1.303-1": NEW})
    refresh("--write")
    path = f"{ARCHIVE}virtio-win-0.1.303-1/virtio-win-0.1.303.iso"
    assert world.sent(path) == 2 * len(NEW), "one look at its head (here: all), one download"
    found = verified(world.now("virtio-win"), world.workspace)
    assert found is not None
    assert found.read_bytes() == NEW
    assert found.stat().st_mode & 0o222 == 0


def test_check_downloads_nothing_writes_nothing_and_says_it_by_its_exit_code(
    world: Publishers, refresh: Refresh
) -> None:
    big = iso("big", 3_000_000)
    world.pin_drivers("0.1.302", OLD)
    world.archive({"0.1.302-1": OLD, "0.1.303-1": big})
    before = world.file("virtio-win").read_text()
    said = refresh("--check")
    assert said.code == 4
    assert "is measured with --write" in said.out
    assert world.file("virtio-win").read_text() == before
    assert sum(seen.sent for seen in world.site.seen) < 200_000
    assert refresh().code == 0, "only --check tells by its exit code"


def test_mirrors_come_along_and_one_that_lags_behind_is_named(
    world: Publishers, refresh: Refresh
) -> None:
    mirrors = [world.url("/mirror/one/"), world.url("/mirror/two/")]
    world.pin_drivers("0.1.302", OLD, *mirrors)
    world.archive({"0.1.302-1": OLD, "0.1.303-1": NEW})
    path = "virtio-win-0.1.303-1/virtio-win-0.1.303.iso"
    world.routes[f"/mirror/one/{path}"] = served(NEW)
    said = refresh("--write")
    assert said.out.count("note") == 1
    assert "a mirror does not have it yet" in said.out
    assert "/mirror/two/" in said.out
    assert world.now("virtio-win").urls[1:] == tuple(mirror + path for mirror in mirrors)


def test_pins_without_an_upstream_are_held(world: Publishers, refresh: Refresh) -> None:
    world.pin_drivers("0.1.302", OLD)
    world.archive({"0.1.302-1": OLD})
    assert "virtio-win-old" not in refresh().out
    said = refresh("virtio-win-old")
    assert said.code == 1
    assert "has no upstream: it is held where it is" in said.err
    assert "there is no pin 'virtio-wni'" in refresh("virtio-wni").err


# GitHub


def test_a_release_with_a_published_digest_is_not_downloaded(
    world: Publishers, refresh: Refresh
) -> None:
    data = msi("new", 1234)
    world.pin_winfsp("2.2.26215", "v2.2", msi("old"), remark="  # released as 2.2B4")
    world.github(
        world.release("v2.3B1", "winfsp-2.3.26300.msi", data),
        world.release("v2.2", "winfsp-2.2.26215.msi", msi("old")),
    )
    said = refresh("--write")
    assert said.code == 0, said.err
    assert "as the publisher publishes it" in said.out
    pin = world.now("winfsp")
    assert (pin.version, pin.sha256, pin.size) == ("2.3.26300", sha256_bytes(data), 1234)
    assert world.asked("/releases/download/") == []
    text = world.file("winfsp").read_text()
    assert '  version: "2.3.26300"  # released as 2.3B1\n' in text


def test_without_a_published_digest_it_is_measured(world: Publishers, refresh: Refresh) -> None:
    data = msi("new", 1234)
    world.pin_winfsp("2.2.26215", "v2.2", msi("old"))
    world.github(world.release("v2.3", "winfsp-2.3.26300.msi", data, digest=False))
    said = refresh("--write")
    assert "measured: downloaded, hashed" in said.out
    assert world.now("winfsp").sha256 == sha256_bytes(data)


def test_who_pinned_a_finished_release_is_offered_no_preview(
    world: Publishers, refresh: Refresh
) -> None:
    world.pin_winfsp("2.1.25156", "v2.1", msi("old"))
    world.github(
        world.release("v2.4", "winfsp-2.4.1.msi", msi("draft"), draft=True),
        world.release("v2.3B1", "winfsp-2.3.26300.msi", msi("beta"), prerelease=True),
        world.release("v2.1", "winfsp-2.1.25156.msi", msi("old")),
    )
    said = refresh("--check")
    assert (said.code, said.err) == (0, "")
    assert "2.1.25156 is the newest" in said.out


def test_who_pinned_a_preview_is_offered_the_next_one(world: Publishers, refresh: Refresh) -> None:
    world.pin_winfsp("2.2.26215", "v2.2B4", msi("old"))
    world.github(
        world.release("v2.3B1", "winfsp-2.3.26300.msi", msi("beta"), prerelease=True),
        world.release("v2.2B4", "winfsp-2.2.26215.msi", msi("old"), prerelease=True),
    )
    assert "winfsp: 2.2.26215 → 2.3.26300" in refresh("--check").out


def test_a_release_without_the_file_is_passed_over_and_named(
    world: Publishers, refresh: Refresh
) -> None:
    world.pin_winfsp("2.2.26215", "v2.2", msi("old"))
    world.github(
        world.release("v2.4"),
        world.release("v2.3", "winfsp-2.3.26300.msi", msi("new")),
        world.release("v2.2", "winfsp-2.2.26215.msi", msi("old")),
    )
    said = refresh("--check")
    assert "winfsp: 2.2.26215 → 2.3.26300" in said.out
    assert "release v2.4 has no such file" in said.out


def test_the_token_goes_to_github_alone(
    world: Publishers, refresh: Refresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "canary")
    world.pin_winfsp("2.2.26215", "v2.2", msi("old"))
    world.github(world.release("v2.3", "winfsp-2.3.1.msi", msi("new"), digest=False))
    said = refresh("--write")
    assert said.code == 0, said.err
    having = [s.path for s in world.site.seen if s.headers.get("Authorization")]
    assert having == ["/api/v3/repos/winfsp/winfsp/releases?per_page=30"]
    assert "canary" not in said.out + said.err + world.file("winfsp").read_text()


@pytest.mark.parametrize(
    ("file", "version"),
    [
        ("CloudbaseInitSetup_1_1_8_x64.msi", "1.1.8"),
        ("OpenSSH-Win64-v10.0.0.0.msi", "10.0.0.0"),
        ("winfsp-2.2.26215.msi", "2.2.26215"),
    ],
)
def test_the_version_is_found_in_the_names_that_projects_use(file: str, version: str) -> None:
    from pipeline.definitions.model import Kind
    from pipeline.inputs.upstream_github import _pinned_asset, _Repository

    host = "https://github.com/some/thing/releases"
    url = f"{host}/download/v1/{file}"
    pin = Pin("p", version, Kind.MSI, (url,), upstream=host)
    repository = _Repository.of(pin)
    assert repository.api.startswith("https://api.github.com/repos/some/thing/releases")
    tag, pattern = _pinned_asset(pin, repository)
    assert tag == "v1"
    match = pattern.fullmatch(file)
    assert match
    assert match[1].replace("_", ".") == version
    assert not pattern.fullmatch(file.replace(".msi", ".zip"))


# Links to media


def test_a_link_that_still_leads_there_is_nothing_new(world: Publishers, refresh: Refresh) -> None:
    data = medium(32230)
    world.pin_windows("/a/server.iso", data, 32230)
    world.link("/a/server.iso")
    world.routes["/a/server.iso"] = served(data)
    said = refresh("--check")
    assert (said.code, said.err) == (0, "")
    assert "windows: 26100.32230 is the newest" in said.out
    assert sum(seen.sent for seen in world.site.seen) <= 64 << 10, "its head is enough"


def test_a_link_that_rolled_forward_is_read_by_ranges_before_it_is_accepted(
    world: Publishers, refresh: Refresh
) -> None:
    old, new = medium(32230), medium(40000) + bytes(3_000_000)
    world.pin_windows("/a/server.iso", old, 32230)
    world.link("/b/new.iso")
    world.routes["/b/new.iso"] = served(new, '"one:2"')
    said = refresh("--check")
    assert said.code == 4, said.err
    assert "windows: 26100.32230 → 26100.40000" in said.out
    assert world.sent("/b/new.iso") < len(new) / 2
    assert refresh("--write").code == 0
    pin = world.now("windows")
    assert (pin.version, pin.sha256) == ("26100.40000", sha256_bytes(new))
    assert pin.etag == '"one:2"'
    assert pin.media is not None
    assert (pin.media.build, pin.media.evaluation_days) == ("26100.40000", 180)
    assert len(pin.media.editions) == 4
    assert "# An old one, held." in world.file("windows").read_text()


def test_all_pins_are_looked_at_in_one_run_and_each_is_written(
    world: Publishers, refresh: Refresh
) -> None:
    world.pin_drivers("0.1.302", OLD)
    world.archive({"0.1.302-1": OLD, "0.1.303-1": NEW})
    world.pin_winfsp("2.2.26215", "v2.2", msi("old"))
    world.github(world.release("v2.3", "winfsp-2.3.26300.msi", msi("new")))
    assert refresh("--check").code == 4
    assert refresh("--write").code == 0
    assert world.now("virtio-win").version == "0.1.303"
    assert world.now("winfsp").version == "2.3.26300"
    assert refresh("--check").code == 0
