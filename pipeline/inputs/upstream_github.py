"""The releases of a GitHub repository.

Goes in: a pin whose upstream is ``https://HOST/OWNER/REPOSITORY/releases`` and whose address is an
asset there. Comes out: what the newest release with such an asset offers, with the digest that the
API publishes. Pre-releases count only where the pin is one. When the API grants no more questions,
the feed, which asks for no token, still tells whether there is anything newer at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.definitions.model import Pin
from pipeline.foundation.units import Sha256
from pipeline.inputs.fetch_types import Fetcher, HttpError
from pipeline.inputs.upstream import Offer, Seen, UpstreamError, judge, numbers, page, refuse_other

SHOWN = 30
_LIMITED = (403, 429)


@dataclass(frozen=True, slots=True)
class _Asset:
    """One file of a release that is named as the pinned one, but for the version."""

    version: str
    url: str
    size: int | None
    sha256: Sha256 | None
    tag: str


@dataclass(frozen=True, slots=True)
class _Repository:
    """Where a repository's pages, API and downloads are."""

    host: str
    name: str

    @classmethod
    def of(cls, pin: Pin) -> _Repository:
        parts = urlsplit(str(pin.upstream))
        owner, name = parts.path.strip("/").split("/")[:2]
        return cls(f"{parts.scheme}://{parts.netloc}", f"{owner}/{name}")

    @property
    def api(self) -> str:
        """GitHub's own API has a host of its own; a company's GitHub keeps it below its host."""
        base = f"{self.host}/api/v3"
        if self.host == "https://github.com":
            base = "https://api.github.com"
        return f"{base}/repos/{self.name}/releases?per_page={SHOWN}"

    @property
    def downloads(self) -> str:
        return f"{self.host}/{self.name}/releases/download/"

    @property
    def feed(self) -> str:
        return f"{self.host}/{self.name}/releases.atom"


def ask(pin: Pin, fetcher: Fetcher, token: str = "") -> Seen:
    """What the newest release with an asset like the pinned one offers."""
    repository = _Repository.of(pin)
    tag, pattern = _pinned_asset(pin, repository)
    try:
        releases = _releases(repository, fetcher, token)
    except HttpError as error:
        if error.status not in _LIMITED:
            raise
        return _by_feed(pin, repository, tag, fetcher, error)
    wanted = _wanted(releases, tag)
    assets = [asset for release in wanted for asset in _assets(release, pattern, repository)]
    if not assets:
        raise UpstreamError(
            f"{pin.name}: no release of {repository.name} has a file like {pin.urls[0]!r}",
            hint=f"its files may be named otherwise now; look at {pin.upstream}",
        )
    newest = max(assets, key=lambda asset: numbers(asset.version))
    offer = Offer(
        newest.version, (newest.url,), newest.size, newest.sha256, release=newest.tag.lstrip("v")
    )
    why = f"{repository.name} released {newest.tag}"
    return judge(pin, offer, why, _without(wanted, newest.tag, assets))


def _pinned_asset(pin: Pin, repository: _Repository) -> tuple[str, re.Pattern[str]]:
    """The tag of the pinned release, and what its asset is named in any version."""
    below = pin.urls[0].removeprefix(repository.downloads)
    tag, _, name = below.partition("/")
    written = re.escape(pin.version).replace(r"\.", "[._-]")
    version = re.search(rf"(?<![0-9]){written}(?![0-9])", name)
    if below == pin.urls[0] or not version:
        raise UpstreamError(
            f"{pin.name}: its first address is no release of {repository.name} with "
            f"{pin.version} in its name",
            hint="correct the pin's urls, version or upstream",
        )
    before, after = re.escape(name[: version.start()]), re.escape(name[version.end() :])
    return unquote(tag), re.compile(rf"{before}([0-9]+(?:[._-][0-9]+)+){after}")


def _releases(repository: _Repository, fetcher: Fetcher, token: str) -> list[Mapping[str, Any]]:
    headers = {"Accept": "application/vnd.github+json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = page(repository.api, fetcher, headers)
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise refuse_other("a list of releases", repository.api, data)
    return [release for release in found if not release.get("draft")]


def _wanted(releases: list[Mapping[str, Any]], tag: str) -> list[Mapping[str, Any]]:
    """Releases of the pin's own kind: who pinned a finished one wants no preview."""
    pinned = [release for release in releases if release.get("tag_name") == tag]
    previews = any(release.get("prerelease") for release in pinned)
    return [release for release in releases if previews or not release.get("prerelease")]


def _assets(
    release: Mapping[str, Any], pattern: re.Pattern[str], repository: _Repository
) -> Iterator[_Asset]:
    tag = str(release.get("tag_name", ""))
    for asset in release.get("assets") or ():
        match = pattern.fullmatch(str(asset.get("name", "")))
        url = str(asset.get("browser_download_url", ""))
        if match and url.startswith(repository.downloads) and asset.get("state") != "starter":
            version = re.sub("[_-]", ".", match[1])
            size = asset.get("size")
            yield _Asset(version, url, size if isinstance(size, int) else None, _digest(asset), tag)


def _digest(asset: Mapping[str, Any]) -> Sha256 | None:
    """The digest that GitHub took when the file was uploaded; older assets have none."""
    kind, _, digest = str(asset.get("digest") or "").partition(":")
    try:
        return Sha256.parse(digest) if kind == "sha256" else None
    except ValueError:
        return None


def _without(releases: list[Mapping[str, Any]], tag: str, assets: list[_Asset]) -> tuple[str, ...]:
    """Releases listed before the chosen one that have no such file; the list is newest first."""
    tags = [str(release.get("tag_name")) for release in releases]
    having = {asset.tag for asset in assets}
    earlier = tags[: tags.index(tag)]
    return tuple(f"release {name} has no such file" for name in earlier if name not in having)


def _by_feed(
    pin: Pin, repository: _Repository, tag: str, fetcher: Fetcher, refused: HttpError
) -> Seen:
    """Whether there is anything newer, told by the feed; what it is, only the API can say."""
    data = page(repository.feed, fetcher).decode("utf-8", "replace")
    tags = [unquote(found) for found in re.findall(r'/releases/tag/([^"\'<>\s/]+)["\']', data)]
    if tags and tags[0] == tag:
        offer = Offer(pin.version, pin.urls, pin.size, pin.sha256)
        return judge(pin, offer, f"the feed of {repository.name} begins with {tag}")
    newer = ", ".join(tags[: tags.index(tag)] if tag in tags else tags[:3]) or "nothing"
    raise UpstreamError(
        f"{refused.message}; the feed lists {newer} before {tag}",
        hint="wait, or set GITHUB_TOKEN: with a token GitHub's API answers more questions",
    )
