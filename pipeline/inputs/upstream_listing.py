"""An archive with a folder per version, such as that of virtio-win, read from its web listing.

Goes in: a pin whose first address lies below its upstream, as ``NAME-VERSION-RELEASE/FILE``. Comes
out: what the newest folder offers. The pin's mirrors are taken along by the same change of names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote

from pipeline.definitions.model import Pin
from pipeline.inputs.fetch_types import Fetcher, HttpError
from pipeline.inputs.fetch_urls import shown_url
from pipeline.inputs.upstream import (
    VERSION,
    Offer,
    Seen,
    UpstreamError,
    judge,
    numbers,
    page,
    probe,
    refuse_other,
    refuse_other_host,
)


class _Links(HTMLParser):
    """Every ``href`` of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the targets of links."""
        if tag == "a":
            self.found += [unquote(value) for name, value in attrs if name == "href" and value]


@dataclass(frozen=True, slots=True)
class _Folder:
    """A version as the archive names it: ``0.1.302`` packaged for the first time is 0.1.302-1."""

    version: str
    packaging: str

    @property
    def order(self) -> tuple[tuple[int, ...], int]:
        return numbers(self.version), int(self.packaging or 0)

    @property
    def label(self) -> str:
        return f"{self.version}-{self.packaging}" if self.packaging else self.version


def read(pin: Pin, fetcher: Fetcher) -> Seen:
    """What the newest folder of the archive offers."""
    upstream = str(pin.upstream)
    pinned, pattern = _pinned_folder(pin)
    data = page(upstream, fetcher)
    folders = _folders(data, pattern)
    if not folders:
        raise refuse_other(f"a list of versions like {pinned.label}", upstream, data)
    newest = max(folders, key=lambda folder: folder.order)
    urls = tuple(_renamed(url, pinned, newest) for url in pin.urls)
    found = probe(pin, urls[0], fetcher)
    refuse_other_host(urls[0], found.url)
    offer = Offer(newest.version, urls, found.size, etag=found.etag, release=newest.label)
    notes = () if urls == pin.urls else _mirrors(pin, offer, fetcher)
    return judge(pin, offer, f"{shown_url(upstream)} lists {newest.label}", notes)


def _pinned_folder(pin: Pin) -> tuple[_Folder, re.Pattern[str]]:
    """The pin's own folder, and what the folders of other versions look like."""
    below = pin.urls[0].removeprefix(str(pin.upstream))
    name = below.partition("/")[0]
    head, version, rest = name.partition(pin.version)
    release = re.fullmatch(r"-([0-9]+)", rest)
    if below == pin.urls[0] or not version or not (release or not rest):
        raise UpstreamError(
            f"{pin.name}: its first address does not lie in a folder of its version below "
            f"{pin.upstream}",
            hint="such as NAME-VERSION-1/FILE; correct the pin",
        )
    ending = r"-([0-9]+)" if release else "()"
    pattern = re.compile(rf"(?:\./)?{re.escape(head)}({VERSION}){ending}/?")
    return _Folder(pin.version, release[1] if release else ""), pattern


def _folders(data: bytes, pattern: re.Pattern[str]) -> list[_Folder]:
    links = _Links()
    links.feed(data.decode("utf-8", "replace"))
    matches = (pattern.fullmatch(link.rstrip("/").rpartition("/")[2]) for link in links.found)
    return [_Folder(match[1], match[2]) for match in matches if match]


def _renamed(url: str, old: _Folder, new: _Folder) -> str:
    return url.replace(old.label, new.label).replace(old.version, new.version)


def _mirrors(pin: Pin, offer: Offer, fetcher: Fetcher) -> tuple[str, ...]:
    """What is to be said of mirrors: one that lags behind is kept, it will be asked later."""
    notes = []
    for url in offer.urls[1:]:
        try:
            found = probe(pin, url, fetcher)
        except (HttpError, UpstreamError) as error:
            notes.append(f"a mirror does not have it yet: {error.message}")
        else:
            if found.size != offer.size:
                sizes = f"{found.size} bytes instead of {offer.size}"
                notes.append(f"a mirror has another file: {shown_url(url)}: {sizes}")
    return tuple(notes)
