"""Rules about URLs and the headers that speak of time and ranges; pure functions.

Goes in: text that a server or a pin gave. Comes out: values, or sentences on what is wrong with it.
"""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

from pipeline.definitions.model import Kind, Pin

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_FOR_EVER = 1e9
_UNSAFE = re.compile(r"[^A-Za-z0-9._+ ()-]")

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def printable(text: str) -> str:
    """What a server sent, fit for a terminal: no control characters."""
    return "".join(char if char.isprintable() else "?" for char in text)


def shown_url(url: str) -> str:
    """The URL without password and query (signed links carry their secret there)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a malformed URL"
    query = "…" if parts.query else ""
    host = parts.netloc.rpartition("@")[2]
    return printable(urlunsplit((parts.scheme, host, parts.path, query, "")))


def redirect_problem(target: str, seen: list[str], limit: int) -> str:
    """Why a redirect is not followed, or nothing; a downgrade to plain HTTP is not judged here."""
    scheme = urlsplit(target).scheme.lower()
    if scheme not in ("http", "https"):
        return f"redirects to {shown_url(target)}, which is neither http nor https"
    if target in seen:
        circle = " -> ".join(shown_url(url) for url in [*seen[seen.index(target) :], target])
        return f"redirects in a circle: {circle}"
    if len(seen) > limit:
        return f"redirects more than {limit} times, last to {shown_url(target)}"
    return ""


def on_loopback(url: str) -> bool:
    """Whether a URL leads to this very host."""
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False


def is_downgrade(source: str, target: str) -> bool:
    """Whether a redirect leaves encryption behind."""
    return urlsplit(source).scheme.lower() == "https" and urlsplit(target).scheme.lower() == "http"


def retry_after(text: str | None, now: datetime.datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait: a number or a date."""
    if not text:
        return None
    if text.strip().isdecimal():
        return min(float(text), _FOR_EVER)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return max(0.0, (when - (now or datetime.datetime.now(datetime.UTC))).total_seconds())


def content_range(text: str | None) -> tuple[int, int, int | None] | None:
    """First byte, last byte and total size of a ``Content-Range`` header; None if it is none."""
    match = _CONTENT_RANGE.fullmatch((text or "").strip())
    if not match:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    sound = first <= last and (total is None or last < total)
    return (first, last, total) if sound else None


def range_start(headers: Mapping[str, str]) -> int:
    """Where a request of ours begins to read, by its ``Range`` header; 0 without one."""
    return int(headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])


def file_name(pin: Pin) -> str:
    """What the artifact is called in the cache: the first URL's last part where that is a name."""
    path, _, _ = pin.urls[0].partition("?")
    name = _UNSAFE.sub("_", unquote(path.partition("#")[0].rpartition("/")[2]))
    if name.lstrip("._ ") == name and name and (pin.kind is Kind.FILE or "." in name):
        return name
    return f"{pin.name}.{pin.kind}"
