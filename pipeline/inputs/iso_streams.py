"""Seekable streams that an open disc image is read through.

Goes in: a stream, and where in it something lies. Comes out: a stream of just that
(:class:`Extents`), or one that reads in large blocks (:class:`Blocks`).
"""

from __future__ import annotations

import bisect
import io
import os
from collections import OrderedDict
from typing import Any

BLOCK = 256 << 10
BLOCKS_KEPT = 32


class Extents(io.RawIOBase):
    """A file as a stream: the byte ranges that hold it, one after the other.

    Streams of one image share its file position, so they belong to one thread.
    """

    def __init__(self, image: Any, extents: list[tuple[int, int]], length: int) -> None:
        super().__init__()
        self._image = image
        self._extents = extents
        self._starts: list[int] = []
        start = 0
        for _, size in extents:
            self._starts.append(start)
            start += size
        self._length = min(start, length)
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; beyond the end is allowed, as in files."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer from the extent at the position; at most to that extent's end."""
        view = memoryview(buffer).cast("B")
        if self._position >= self._length or not len(view):
            return 0
        number = bisect.bisect_right(self._starts, self._position) - 1
        offset, size = self._extents[number]
        inside = self._position - self._starts[number]
        count = min(len(view), size - inside, self._length - self._position)
        self._image.seek(offset + inside)
        data = self._image.read(count)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


class Blocks(io.RawIOBase):
    """A stream read in large aligned blocks that are kept for a while.

    Reading a directory tree means a thousand reads of 2 KiB side by side: over HTTP they become a
    dozen requests.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self._length: int = stream.seek(0, os.SEEK_END)
        self._position = 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def _block(self, number: int) -> bytes:
        if number not in self._kept:
            self._stream.seek(number * BLOCK)
            wanted = min(BLOCK, self._length - number * BLOCK)
            self._kept[number] = _read_exactly(self._stream, wanted)
            if len(self._kept) > BLOCKS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer from the block at the position."""
        view = memoryview(buffer).cast("B")
        if self._position >= self._length:
            return 0
        number, inside = divmod(self._position, BLOCK)
        data = self._block(number)[inside : inside + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def _read_exactly(stream: Any, count: int) -> bytes:
    """Read ``count`` bytes from a stream that may give fewer at a time; less only at its end."""
    parts: list[bytes] = []
    while count > 0 and (part := stream.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
