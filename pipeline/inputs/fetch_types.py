"""What the HTTP modules say to each other, without any HTTP library.

Goes in: nothing. Comes out: the interface that other modules use and tests' simulators implement:
:class:`Fetcher`, its :class:`Answer`, its :class:`HttpError`, and the patience it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import human_bytes
from pipeline.inputs.fetch_urls import shown_url

CHUNK = 1 << 20


class HttpError(PipelineError):
    """A server refused, or a transfer broke.

    ``transient``: the same request may work later; ``retry_after``: seconds that the server asked
    to wait; ``status``: its answer, 0 when there was none.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        transient: bool = False,
        retry_after: float | None = None,
        status: int = 0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.transient = transient
        self.retry_after = retry_after
        self.status = status


class Mismatch(HttpError):
    """A file came whole, and it is another than its digest says."""


class OtherSize(HttpError):
    """What is offered has another length than the file that is wanted."""


class Undelivered(PipelineError):
    """No mirror delivered; ``said`` is what each of them answered."""

    def __init__(self, message: str, said: Sequence[HttpError], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.said = tuple(said)


@dataclass(frozen=True, slots=True)
class Limits:
    """Patience in seconds: to connect, for an answer, for bytes to go on; and bytes per second."""

    connect: float = 20.0
    answer: float = 60.0
    stall: float = 60.0
    min_rate: float = 1024.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer: where its bytes begin, how long the whole is, what identifies it."""

    url: str
    status: int
    start: int
    total: int | None
    validator: str
    read: Callable[[int], bytes]

    def chunks(self, limit: int) -> Iterator[bytes]:
        """The body as it arrives; never more than ``limit`` bytes are read."""
        left = limit
        while left and (data := self.read(min(CHUNK, left))):
            left -= len(data)
            yield data


class Fetcher(Protocol):
    """What other modules need of HTTP; tests put a simulator in its place."""

    def get(
        self, url: str, *, within: float, headers: Mapping[str, str] | None = None
    ) -> AbstractContextManager[Answer]:
        """Ask for ``url``; the block, body and all, may take ``within`` seconds."""


def whole(answer: Answer, maximum: int, too_long: type[HttpError] = HttpError) -> bytes:
    """The body of a small document; an error when it is longer than ``maximum``, or cut short."""
    data = b"".join(answer.chunks(maximum + 1))
    where = shown_url(answer.url)
    if len(data) > maximum:
        raise too_long(f"{where}: longer than the {human_bytes(maximum)} expected of it")
    if answer.total not in (None, len(data)):
        text = f"{where}: broke off at {len(data)} of {answer.total} bytes"
        raise HttpError(text, transient=True)
    return data
