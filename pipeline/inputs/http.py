"""Every HTTP read of the project; the only module that imports ``requests``.

Goes in: a URL, how long it may take, how much may come. Comes out: an :class:`Answer` that is read
in chunks, the bytes of a small document, or a seekable file over range requests. Redirects are
followed by hand, proxies and certificates come from the environment, compressed answers are
refused, and the errors are sentences that hold no password and no signed query.
"""

from __future__ import annotations

import contextlib
import http
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
import urllib3

from pipeline.foundation.units import human_bytes, human_seconds
from pipeline.inputs.fetch_guard import Guard, watched_pools
from pipeline.inputs.fetch_reasons import is_passing, reason
from pipeline.inputs.fetch_types import Answer, Fetcher, HttpError, Limits, whole
from pipeline.inputs.fetch_urls import (
    content_range,
    is_downgrade,
    on_loopback,
    printable,
    redirect_problem,
    retry_after,
    shown_url,
)

if TYPE_CHECKING:
    from pipeline.inputs.fetch_ranges import HttpFile

__all__ = ["Answer", "Client", "Fetcher", "HttpError", "Limits", "get_bytes", "open_range", "whole"]

# Some hosts answer browser-like names with a bot check, saved by the naive as an ISO.
USER_AGENT = "golden-windows/0.1 (curl-compatible)"
MAX_REDIRECTS = 10
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)


class _Adapter(requests.adapters.HTTPAdapter):
    """The library's transport with our connection pools, also behind a proxy."""

    def __init__(self, guard: Guard) -> None:
        self._pools = watched_pools(guard)
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager


class _Session(requests.Session):
    """A session that leaves redirects to us; the library would parse their targets all the same.

    What leads to this very host goes to no proxy, whatever NO_PROXY says: it could not answer, and
    would be told what is meant for this host alone.
    """

    def merge_environment_settings(self, url: Any, *args: Any, **kwargs: Any) -> Any:
        settings = super().merge_environment_settings(url, *args, **kwargs)
        return {**settings, "proxies": {}} if on_loopback(url) else settings

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        return None


@dataclass(slots=True)
class _Body:
    """Reads a body; notices a stall, a drip and the guard's cut."""

    raw: Any
    guard: Guard
    limits: Limits
    where: str
    waited: float = 0.0
    arrived: int = 0

    def read(self, count: int) -> bytes:
        began = time.monotonic()
        try:
            data: bytes = self.raw.read1(count, decode_content=False)
        except _FAILURES as error:
            why = self.guard.why or reason(error, self.limits.stall)
            raise HttpError(f"{self.where}: {why}", transient=True) from error
        if self.guard.why:  # a cut looks like a regular end when the length was not announced
            raise HttpError(f"{self.where}: {self.guard.why}", transient=True)
        # Only time spent waiting counts: a slow disk on our side is not the server's fault.
        self._account(len(data), time.monotonic() - began)
        return data

    def _account(self, count: int, seconds: float) -> None:
        self.waited += seconds
        self.arrived += count
        if self.waited < self.limits.stall:
            return
        if count and self.arrived < self.limits.min_rate * self.waited:
            why = f"stalled: {human_bytes(self.arrived)} in {human_seconds(self.waited)}"
            raise HttpError(f"{self.where}: {why}", transient=True)
        self.waited, self.arrived = 0.0, 0


class Client:
    """The fetcher over the network; keeps connections open until it is closed.

    ``downgrade`` is told of a redirect from https to http, which is then followed; without it such
    a redirect is refused, as nothing else would vouch for the content.
    """

    def __init__(
        self, limits: Limits | None = None, *, downgrade: Callable[[str], None] | None = None
    ) -> None:
        self.limits = limits or Limits()
        self._downgrade = downgrade
        self._guard = Guard()
        self._session = _Session()
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(self._guard))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop all connections."""
        self._session.close()
        self._guard.release()

    @contextlib.contextmanager
    def get(
        self, url: str, *, within: float, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """See :class:`Fetcher`; answers other than 200 and 206 are raised as :class:`HttpError`."""
        self._guard.why = ""
        with self._guard.within(within, f"not done within {human_seconds(within)}"):
            response = self._follow(url, dict(headers or {}))
            try:
                yield self._answer(response)
            finally:
                response.close()

    def _follow(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        seen = [url]
        while True:
            response = self._ask(url, headers)
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not target:
                return response
            response.close()
            source, url = url, _joined(url, target)
            if problem := redirect_problem(url, seen, MAX_REDIRECTS):
                raise HttpError(f"{shown_url(source)}: {problem}")
            self._judge_downgrade(source, url)
            headers = _fit_for(url, source, headers)
            seen.append(url)

    def _judge_downgrade(self, source: str, target: str) -> None:
        if not is_downgrade(source, target):
            return
        told = f"{shown_url(source)} redirects to plain HTTP: {shown_url(target)}"
        if not self._downgrade:
            raise HttpError(f"{told}; refused, as no digest vouches for what would come")
        self._downgrade(told)

    def _ask(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        limits = self.limits
        try:
            with self._guard.within(
                limits.answer, f"no answer within {human_seconds(limits.answer)}"
            ):
                return self._session.get(
                    url,
                    headers=dict(headers),
                    stream=True,
                    allow_redirects=False,
                    timeout=(limits.connect, limits.stall),
                )
        except _FAILURES as error:
            why = self._guard.why or reason(error, limits.stall)
            passing = bool(self._guard.why) or is_passing(error)
            raise HttpError(f"{shown_url(url)}: {why}", transient=passing) from error

    def _answer(self, response: requests.Response) -> Answer:
        where, status = shown_url(response.url), response.status_code
        _refuse_failure(where, response)
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise HttpError(
                f"{where}: sends {printable(encoding)} although plain bytes were asked for"
            )
        start, total = _extent(where, response)
        tag = response.headers.get("ETag", "")
        strong = tag if tag and not tag.startswith("W/") else ""
        validator = strong or response.headers.get("Last-Modified", "")
        body = _Body(response.raw, self._guard, self.limits, where)
        return Answer(response.url, status, start, total, validator, body.read)


def _fit_for(target: str, source: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    """What another host may be sent: a token is for the host it was meant for."""
    if urlsplit(target)[:2] == urlsplit(source)[:2]:
        return headers
    return {name: value for name, value in headers.items() if name != "Authorization"}


def _joined(source: str, target: str) -> str:
    with contextlib.suppress(UnicodeError):  # header values arrive as if they were Latin-1
        target = target.encode("latin-1").decode()
    try:
        return urljoin(source, target)
    except ValueError:
        raise HttpError(f"{shown_url(source)}: redirects to a malformed URL") from None


def _refuse_failure(where: str, response: requests.Response) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    wait = retry_after(response.headers.get("Retry-After"))
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "which is not a known status"
    asked = f", try again in {human_seconds(wait)}" if wait is not None else ""
    passing = status in _PASSING or wait is not None
    text = f"{where}: answered {status} {phrase}{asked}"
    raise HttpError(text, transient=passing, retry_after=wait, status=status)


def _extent(where: str, response: requests.Response) -> tuple[int, int | None]:
    """Where the body begins within the whole, and how long the whole is."""
    if response.status_code == 206:
        extent = content_range(response.headers.get("Content-Range"))
        if not extent or not response.request.headers.get("Range"):
            text = f"{where}: sends a part without saying which, or without having been asked"
            raise HttpError(text, transient=True, status=206)
        return extent[0], extent[2]
    length = response.headers.get("Content-Length", "")
    return 0, int(
        length
    ) if length.isdecimal() and response.raw.length_remaining is not None else None


def get_bytes(url: str, maximum: int, deadline: float, *, fetcher: Fetcher | None = None) -> bytes:
    """A small document, whole; an error when it is longer than ``maximum`` bytes or late."""
    with contextlib.ExitStack() as stack:
        source = fetcher or stack.enter_context(Client())
        return whole(stack.enter_context(source.get(url, within=deadline)), maximum)


def open_range(url: str, *, fetcher: Fetcher | None = None, maximum: int = 64 << 20) -> HttpFile:
    """A remote file, seekable and read by ranges; at most ``maximum`` bytes are ever read of it.

    A server that ignores ranges is refused before its body is read.
    """
    from pipeline.inputs.fetch_ranges import HttpFile

    return HttpFile(url, fetcher or Client(), maximum=maximum)
