"""A remote file as a seekable binary stream, over HTTP range requests.

Goes in: a URL whose server honours ranges. Comes out: ``read``, ``seek``, ``tell`` and ``size``, so
that a directory or a header in the middle of an 8 GB file costs a few small reads. Blocks are kept,
and the bytes read in total are limited: a reader led astray does not download the whole.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import human_bytes
from pipeline.inputs.fetch_types import Answer, Fetcher, HttpError
from pipeline.inputs.fetch_urls import shown_url

BLOCK = 64 << 10
KEPT_BLOCKS = 256
ATTEMPTS = 3
WITHIN = 60.0
LONGEST_WAIT = 20.0

T = TypeVar("T")


def patiently(request: Callable[[], T], pause: float = 0.5) -> T:
    """Repeat a request that fails for a passing reason; waits as long as the server asks."""
    for attempt in range(ATTEMPTS):
        try:
            return request()
        except HttpError as error:
            wait = max(pause * 2**attempt, error.retry_after or 0.0)
            if not error.transient or attempt + 1 == ATTEMPTS or wait > LONGEST_WAIT:
                raise
        time.sleep(wait)
    raise AssertionError("unreachable")


class HttpFile(io.RawIOBase):
    """See the module; made by :func:`pipeline.inputs.http.open_range`."""

    def __init__(
        self, url: str, fetcher: Fetcher, *, maximum: int = 64 << 20, block: int = BLOCK
    ) -> None:
        super().__init__()
        self.url = url
        self.transferred = 0
        self._fetcher, self._maximum, self._block = fetcher, maximum, block
        self._position = 0
        self._validator = ""
        self._size: int | None = None
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        try:
            self._load(0, 0)
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Length of the remote file in bytes."""
        return self._size or 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is requested until the next read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("seek before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer``, short only at the end of the file."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self.size - self._position))
        done = 0
        while done < count:
            number, inside = divmod(self._position, self._block)
            last = (self._position + count - done - 1) // self._block
            data = self._block_data(number, last)[inside : inside + count - done]
            view[done : done + len(data)] = data
            done += len(data)
            self._position += len(data)
        return count

    def close(self) -> None:
        """Drop the connection."""
        closing = getattr(self._fetcher, "close", None)
        if not self.closed and closing:
            closing()
        super().close()

    def _block_data(self, number: int, last: int) -> bytes:
        if number not in self._blocks:
            run = min(last, number + KEPT_BLOCKS // 4)
            missing = next((n for n in range(number, run + 1) if n in self._blocks), run + 1)
            self._load(number, missing - 1)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _load(self, first: int, last: int) -> None:
        start, end = first * self._block, (last + 1) * self._block - 1
        if self._size is not None:
            end = min(end, self._size - 1)
        if self.transferred + end - start + 1 > self._maximum:
            text = f"{shown_url(self.url)}: reading it in place took more than"
            raise PipelineError(
                f"{text} {human_bytes(self._maximum)}",
                hint="download it first, then read the local file",
            )
        data = patiently(lambda: self._request(start, end))
        for number in range(first, last + 1):
            at = (number - first) * self._block
            self._blocks[number] = data[at : at + self._block]
        while len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)

    def _request(self, start: int, end: int) -> bytes:
        headers = {"Range": f"bytes={start}-{end}"}
        if self._validator:
            headers["If-Range"] = self._validator
        with contextlib.ExitStack() as stack:
            answer = stack.enter_context(
                self._fetcher.get(self.url, within=WITHIN, headers=headers)
            )
            total = self._judge(answer, start)
            wanted = min(end, total - 1) - start + 1
            data = b"".join(answer.chunks(wanted))
        self.transferred += len(data)
        if len(data) != wanted:
            raise HttpError(f"{shown_url(self.url)}: broke off within a range", transient=True)
        return data

    def _judge(self, answer: Answer, start: int) -> int:
        """Refuse an answer that is no part of the file as first seen; return the file's size."""
        where = shown_url(self.url)
        if answer.status != 206:
            changed = f"{where}: changed while it was being read"
            ignored = f"{where}: its server ignores byte ranges, so it can't be read in place"
            raise HttpError(
                changed if self._size is not None else ignored,
                hint="download it first, then read the local file",
            )
        if answer.start != start or answer.total is None:
            raise HttpError(f"{where}: sends another range than the one asked for")
        if self._size is None:
            self._size, self._validator = answer.total, answer.validator
        if (answer.total, answer.validator) != (self._size, self._validator):
            raise HttpError(f"{where}: changed while it was being read")
        return self._size
