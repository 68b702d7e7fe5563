"""Values with a unit, parsed once and never passed on as bare text."""

from __future__ import annotations

import re

_SIZE = re.compile(r"([1-9][0-9]*)([KMGT])")
_FACTOR = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Size(int):
    """A number of bytes, written with a binary unit: ``64G`` is 64 GiB."""

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``64G``; raises :class:`ValueError` with what was expected."""
        match = _SIZE.fullmatch(text)
        if not match:
            raise ValueError('a size such as "64G" (K, M, G or T, binary)')
        return cls(int(match[1]) * _FACTOR[match[2]])

    def __str__(self) -> str:
        for unit in "TGMK":
            if self and self % _FACTOR[unit] == 0:
                return f"{int(self) // _FACTOR[unit]}{unit}"
        return f"{int(self)}"


class Sha256(str):
    """A SHA-256 digest in lower-case hexadecimal."""

    @classmethod
    def parse(cls, text: str) -> Sha256:
        """Read a digest; raises :class:`ValueError` with what was expected."""
        if not _SHA256.fullmatch(text.lower()):
            raise ValueError("a SHA-256 digest: 64 hexadecimal digits")
        return cls(text.lower())


def human_bytes(count: float) -> str:
    """``1.4 GiB`` for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def human_seconds(seconds: float) -> str:
    """``1:05`` for people; below ten seconds ``3.2 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
