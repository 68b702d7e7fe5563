"""URLs and headers: what is shown, what is followed, what they mean."""

from __future__ import annotations

import datetime
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.definitions.model import Kind, Pin
from pipeline.inputs.fetch_urls import (
    content_range,
    file_name,
    is_downgrade,
    redirect_problem,
    retry_after,
    shown_url,
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a.iso", "https://example.org/a.iso"),
        (
            "https://me:secret@example.org:8/a.iso?sig=secret#secret",
            "https://example.org:8/a.iso?…",
        ),
        ("https://me@secret@example.org/a", "https://example.org/a"),
        ("http://[::1", "a malformed URL"),
        ("http://example.org/\x1b[2J", "http://example.org/?[2J"),
    ],
)
def test_shown_url(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("bytes 0-9/10", (0, 9, 10)),
        (" bytes 5-9/* ", (5, 9, None)),
        ("bytes 9-5/10", None),
        ("bytes 0-10/10", None),
        ("bytes */10", None),
        ("items 0-9/10", None),
        ("bytes 0-9/" + "9" * 5000, None),
        ("", None),
        (None, None),
    ],
)
def test_content_range(text: str | None, value: tuple[int, int, int | None] | None) -> None:
    assert content_range(text) == value


NOW = datetime.datetime(2026, 11, 24, 10, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("Tue, 24 Nov 2026 10:01:00 GMT", 60.0),
        ("Tue, 24 Nov 2026 10:01:00 -0000", 60.0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0),
        ("9" * 400, 1e9),
        ("Tue, 24 Nov 99999 10:00:00 GMT", None),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds


@given(st.text(max_size=40))
def test_retry_after_never_fails(text: str) -> None:
    found = retry_after(text, NOW)
    assert found is None or found >= 0


@given(st.integers(0, 10**6))
def test_retry_after_reads_what_servers_write(seconds: int) -> None:
    when = NOW + datetime.timedelta(seconds=seconds)
    assert retry_after(email.utils.format_datetime(when, usegmt=True), NOW) == seconds


def pin(url: str, kind: Kind = Kind.ISO) -> Pin:
    return Pin(name="media", version="1", kind=kind, urls=(url,))


@pytest.mark.parametrize(
    ("url", "kind", "name"),
    [
        ("https://example.org/a/b.iso", Kind.ISO, "b.iso"),
        ("https://example.org/a/b%20c.iso?x=/y.msi#z", Kind.ISO, "b c.iso"),
        ("https://example.org/fwlink/?linkid=2334167", Kind.ISO, "media.iso"),
        ("https://example.org/fwlink", Kind.ISO, "media.iso"),
        ("https://example.org/vmlinuz", Kind.FILE, "vmlinuz"),
        ("https://example.org/..%2F..%2Fetc", Kind.FILE, "media.file"),
        ("https://example.org/.hidden", Kind.FILE, "media.file"),
        ("https://example.org/", Kind.FILE, "media.file"),
        ("https://example.org/a%00b.iso", Kind.ISO, "a_b.iso"),
    ],
)
def test_file_name(url: str, kind: Kind, name: str) -> None:
    assert file_name(pin(url, kind)) == name


@given(st.text(max_size=60))
def test_a_file_name_never_leaves_its_folder(text: str) -> None:
    name = file_name(pin(f"https://example.org/{text}", Kind.FILE))
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert "\0" not in name


def test_redirects() -> None:
    a, b = "https://example.org/a", "https://example.org/b"
    assert redirect_problem(b, [a], 10) == ""
    assert redirect_problem(a, [b, a, b], 10) == f"redirects in a circle: {a} -> {b} -> {a}"
    assert "more than 1 times" in redirect_problem(b, [a, a], 1)
    assert "neither http nor https" in redirect_problem("javascript:x", [a], 10)
    assert is_downgrade(a, "http://example.org/")
    assert is_downgrade("HTTPS://example.org/", "HTTP://example.org/")
    assert not is_downgrade("http://example.org/", a)
    assert not is_downgrade("http://example.org/", "http://example.org/b")
