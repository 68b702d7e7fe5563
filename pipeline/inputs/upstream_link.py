"""A link that rolls forward, as Microsoft's links to evaluation media do.

Goes in: a pin of a Windows medium whose upstream redirects to the newest one. Comes out: what lies
there now. The address, size and tag tell whether it is still the pinned medium; when it is another
one, its editions are read by ranges first, so that no 8 GB are downloaded for a medium in another
language or without the editions that images name.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from pipeline.definitions.model import MediaFacts, Pin
from pipeline.inputs.fetch_types import Answer, Fetcher
from pipeline.inputs.fetch_urls import shown_url
from pipeline.inputs.upstream import (
    Offer,
    Probe,
    Seen,
    UpstreamError,
    Verdict,
    judge,
    probe,
    refuse_other_host,
)


def follow(pin: Pin, fetcher: Fetcher) -> Seen:
    """What the link leads to now."""
    found = probe(pin, str(pin.upstream), fetcher)
    refuse_other_host(pin.urls[0], found.url)
    if found.url == pin.urls[0]:
        offer = Offer(pin.version, pin.urls, found.size, etag=found.etag)
        seen = judge(pin, offer, f"{pin.upstream} still leads to it")
        if seen.verdict is Verdict.SAME:
            return seen
    # Another medium, be it at the same address: nothing is taken over without a look at it.
    offer = _offer(pin, found, fetcher)
    return judge(pin, offer, f"{pin.upstream} leads to {shown_url(found.url)}")


def _offer(pin: Pin, found: Probe, fetcher: Fetcher) -> Offer:
    facts = read_facts(pin, found.url, fetcher)
    version = str(facts["build"])
    return Offer(version, (found.url,), found.size, etag=found.etag, release=version, media=facts)


@dataclass(frozen=True, slots=True)
class _Borrowed:
    """A fetcher that outlives the file read through it."""

    fetcher: Fetcher

    def get(
        self, url: str, *, within: float, headers: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Answer]:
        return self.fetcher.get(url, within=within, headers=headers)


def read_facts(pin: Pin, url: str, fetcher: Fetcher) -> dict[str, Any]:
    """The ``media`` part of the new pin, read by ranges; refused when images could not use it."""
    from pipeline.inputs.fetch_ranges import HttpFile
    from pipeline.inputs.media import as_facts, read_medium

    with HttpFile(url, _Borrowed(fetcher)) as stream:
        medium = read_medium(stream, shown_url(url))
    facts = as_facts(medium, pin.media.evaluation_days if pin.media else None)
    if pin.media is not None and (missing := _missing(pin.media, facts)):
        raise UpstreamError(
            f"{pin.name}: the new medium {shown_url(url)} can't take the place of the old one: "
            f"{'; '.join(missing)}",
            hint=f"look with: golden media '{url}' --yaml; then change pin and images by hand",
        )
    return facts


def _missing(old: MediaFacts, new: dict[str, Any]) -> list[str]:
    """What images may rely on and the new medium does not have."""
    names = {edition["name"] for edition in new["editions"]}
    gone = [edition.name for edition in old.editions if edition.name not in names]
    return [
        *(f"the edition {name!r} is not there" for name in gone),
        *(
            f"the {what} is {new[what]}, not {getattr(old, what)}"
            for what in ("architecture", "language")
            if str(new[what]).casefold() != str(getattr(old, what)).casefold()
        ),
    ]
