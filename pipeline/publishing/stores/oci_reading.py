"""Reading from a registry: with a token where it asks for one, and a file within a layer.

Goes in: a fetcher. Comes out: a fetcher that answers the same questions about something inside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from pipeline.inputs.fetch_types import Answer, Fetcher, HttpError
from pipeline.inputs.fetch_urls import range_start
from pipeline.publishing.stores.oci import Registry

_TO_SKIP = 1 << 16


class Authorised:
    """A fetcher that logs in when the registry says so; a token is asked for once a repository."""

    def __init__(self, fetcher: Fetcher, registry: Registry) -> None:
        self._fetcher, self._registry = fetcher, registry
        self._headers: dict[str, dict[str, str]] = {}

    @contextlib.contextmanager
    def get(
        self, url: str, *, within: float, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """See :class:`pipeline.inputs.fetch_types.Fetcher`."""
        repository = url.partition("/manifests/")[0].partition("/blobs/")[0]
        with contextlib.ExitStack() as stack:
            known = self._headers.get(repository, {})
            try:
                asked = self._fetcher.get(url, within=within, headers={**(headers or {}), **known})
                answer = stack.enter_context(asked)
            except HttpError as error:
                if error.status != 401:
                    raise
                self._headers[repository] = known = self._registry.authorise(url)
                asked = self._fetcher.get(url, within=within, headers={**(headers or {}), **known})
                answer = stack.enter_context(asked)
            yield answer


class Inline:
    """A fetcher of what is at hand already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @contextlib.contextmanager
    def get(
        self,
        url: str,
        *,
        within: float,  # noqa: ARG002
        headers: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> Iterator[Answer]:
        """See :class:`pipeline.inputs.fetch_types.Fetcher`."""
        left = memoryview(self._data)

        def read(count: int) -> bytes:
            nonlocal left
            data, left = left[:count], left[count:]
            return bytes(data)

        yield Answer(url, 200, 0, len(self._data), "", read)


class Within:
    """A fetcher of the ``size`` bytes that lie ``offset`` bytes deep in what another fetches."""

    def __init__(self, fetcher: Fetcher, offset: int, size: int) -> None:
        self._fetcher, self._offset, self._size = fetcher, offset, size

    @contextlib.contextmanager
    def get(
        self, url: str, *, within: float, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """See :class:`pipeline.inputs.fetch_types.Fetcher`."""
        asked = dict(headers or {})
        first = range_start(asked)
        asked.pop("Range", None)
        last = self._offset + self._size - 1
        if self._size:
            asked["Range"] = f"bytes={self._offset + first}-{last}"
        with self._fetcher.get(url, within=within, headers=asked) as answer:
            yield self._inside(answer)

    def _inside(self, answer: Answer) -> Answer:
        start = answer.start - self._offset
        read = answer.read
        if start < 0:  # the server ignores ranges: what lies before is read and dropped
            read = _after(answer.read, -start)
            start = 0
        read = _at_most(read, self._size - start)
        status = 206 if start else 200
        return Answer(answer.url, status, start, self._size, answer.validator, read)


def _after(read: Callable[[int], bytes], skip: int) -> Callable[[int], bytes]:
    left = skip

    def rest(count: int) -> bytes:
        nonlocal left
        while left:
            data = read(min(left, _TO_SKIP))
            if not data:
                return b""
            left -= len(data)
        return read(count)

    return rest


def _at_most(read: Callable[[int], bytes], limit: int) -> Callable[[int], bytes]:
    left = limit

    def some(count: int) -> bytes:
        nonlocal left
        data = read(min(count, left)) if left else b""
        left -= len(data)
        return data

    return some
