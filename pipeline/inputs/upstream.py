"""What a pin's upstream offers now, held against the pin.

Goes in: a pin with an ``upstream`` and something that fetches. Comes out: a :class:`Seen`: nothing
new, a newer version, or something that a person has to look at. The address tells the kind: a
GitHub repository's releases, a link that rolls forward, or a folder listing of an archive. Nothing
big is downloaded here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from pipeline.definitions.model import Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import Sha256
from pipeline.inputs.fetch_ranges import patiently
from pipeline.inputs.fetch_types import Answer, Fetcher, HttpError
from pipeline.inputs.fetch_urls import shown_url
from pipeline.inputs.magic import Sniffer, described

WITHIN = 60.0
LARGEST_PAGE = 8 << 20
HEAD = 64 << 10
VERSION = r"[0-9]+(?:\.[0-9]+)+"


class Verdict(StrEnum):
    """What an offer is, compared with the pin."""

    SAME = "nothing new"
    NEWER = "newer"
    REPLACED = "another file under the same version"
    DOUBTFUL = "perhaps another file under the same version"
    OLDER = "older"


@dataclass(frozen=True, slots=True)
class Offer:
    """What the upstream has: enough to write a pin, but for a digest that it does not publish.

    ``release`` is what the publisher calls it; ``media`` the facts read from a Windows medium.
    """

    version: str
    urls: tuple[str, ...]
    size: int | None
    sha256: Sha256 | None = None
    etag: str = ""
    release: str = ""
    media: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A pin, what its upstream offers, what that is, and the sentence that says why."""

    pin: Pin
    verdict: Verdict
    offer: Offer
    why: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """A file behind an address, without the file: where redirects ended, its size, its tag."""

    url: str
    size: int | None
    etag: str


class UpstreamError(PipelineError):
    """An upstream said nothing that could be used, or something that no machine should accept."""


def look(pin: Pin, fetcher: Fetcher, token: str = "") -> Seen:
    """Ask the pin's upstream; ``token`` is for GitHub, which grants more questions with one."""
    if not pin.upstream or not pin.urls:
        raise UpstreamError(f"{pin.name}: the pin names no upstream with addresses")
    path = urlsplit(pin.upstream).path
    if re.fullmatch(r"/[^/]+/[^/]+/releases/?", path):
        from pipeline.inputs.upstream_github import ask

        return ask(pin, fetcher, token)
    if "fwlink" in path:
        from pipeline.inputs.upstream_link import follow

        return follow(pin, fetcher)
    if path.endswith("/"):
        from pipeline.inputs.upstream_listing import read

        return read(pin, fetcher)
    raise UpstreamError(
        f"{pin.name}: {pin.upstream} is no kind of upstream that is known",
        hint="known are …/OWNER/REPOSITORY/releases, an fwlink, and a folder that ends with /",
    )


def numbers(version: str) -> tuple[int, ...]:
    """The version as numbers, to compare: 0.1.302 is newer than 0.1.95."""
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))


def page(url: str, fetcher: Fetcher, headers: Mapping[str, str] | None = None) -> bytes:
    """A small document of the upstream's own host; one that another host sends is refused."""

    def request() -> bytes:
        from pipeline.inputs.fetch_types import whole

        with fetcher.get(url, within=WITHIN, headers=headers) as answer:
            refuse_other_host(url, answer.url)
            return whole(answer, LARGEST_PAGE)

    return patiently(request)


def refuse_other_host(asked: str, answered: str) -> None:
    """Another host may be anybody; a person has to say that it is the publisher's."""
    expected, found = urlsplit(asked).netloc, urlsplit(answered).netloc
    if found != expected:
        raise UpstreamError(
            f"{shown_url(asked)} leads to another host: {shown_url(answered)}",
            hint=f"if {found} is the publisher's as well, change the pin's addresses by hand",
        )


def probe(pin: Pin, url: str, fetcher: Fetcher) -> Probe:
    """Look at the head of a file: it must be of the pin's kind, whatever is told about it."""

    def request() -> Probe:
        headers = {"Range": f"bytes=0-{HEAD - 1}"}
        with fetcher.get(url, within=WITHIN, headers=headers) as answer:
            _refuse_other_kind(pin, answer)
            return Probe(answer.url, answer.total, answer.validator)

    return patiently(request)


def _refuse_other_kind(pin: Pin, answer: Answer) -> None:
    sniffer = Sniffer(pin.kind)
    head = b"".join(answer.chunks(HEAD))
    if complaint := sniffer.feed(head) or sniffer.finish():
        raise UpstreamError(f"{shown_url(answer.url)}: sent {complaint}")


def refuse_other(what: str, where: str, data: bytes) -> UpstreamError:
    """The error for a document of another kind than the one expected."""
    return UpstreamError(
        f"{shown_url(where)}: sent {described(data)} instead of {what}",
        hint="open the address by hand: the host may ask who you are, or be out of order",
    )


def judge(pin: Pin, offer: Offer, why: str, notes: tuple[str, ...] = ()) -> Seen:
    """Hold an offer against the pin."""
    if numbers(offer.version) < numbers(pin.version):
        text = f"the newest there is {offer.version}, older than the pinned {pin.version}"
        return Seen(pin, Verdict.OLDER, offer, f"{text} ({why})", notes)
    if numbers(offer.version) > numbers(pin.version):
        return Seen(pin, Verdict.NEWER, offer, why, notes)
    verdict, difference = _same_version(pin, offer)
    return Seen(pin, verdict, offer, difference or why, notes)


def _same_version(pin: Pin, offer: Offer) -> tuple[Verdict, str]:
    if offer.sha256 is not None and offer.sha256 != pin.sha256:
        told = f"it publishes the SHA-256 {offer.sha256}, the pin says {pin.sha256}"
        return Verdict.REPLACED, told
    if None not in (offer.size, pin.size) and offer.size != pin.size:
        return Verdict.REPLACED, f"it has {offer.size} bytes now, the pin says {pin.size}"
    if offer.sha256 is not None:
        return Verdict.SAME, ""
    if offer.urls[0] not in pin.urls:
        return Verdict.DOUBTFUL, f"it lies at another address now: {shown_url(offer.urls[0])}"
    if pin.etag and offer.etag and offer.etag != pin.etag:
        return Verdict.DOUBTFUL, f"its server calls it {offer.etag} now, the pin says {pin.etag}"
    return Verdict.SAME, ""


__all__ = ["HttpError", "Offer", "Probe", "Seen", "UpstreamError", "Verdict", "judge", "look"]
