"""What a file must begin with, judged on its first bytes as they arrive.

Goes in: the kind a pin promises and the head of the file. Comes out: nothing while it may still be
right, or a sentence part that names what came instead, such as a web page of a bot check.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from enum import Enum, auto

from pipeline.definitions.model import Kind
from pipeline.inputs.fetch_urls import printable

SECTOR = 2048
FIRST_DESCRIPTOR = 16 * SECTOR
# Descriptors that may stand before NSR02 or NSR03 in a UDF volume recognition sequence.
_SEQUENCE = (b"BEA01", b"BOOT2", b"CDW02", b"CD001", b"TEA01")
HEAD = FIRST_DESCRIPTOR + 32 * SECTOR

_STARTS = {
    Kind.MSI: (b"\xd0\xcf\x11\xe0",),
    Kind.MSU: (b"MSCF", b"MSWIM\0\0\0"),
}
_PROMISED = {
    Kind.ISO: "an ISO (neither CD001 nor a UDF descriptor at byte 32769)",
    Kind.MSI: "an MSI (it does not begin with D0 CF 11 E0)",
    Kind.MSU: "an MSU (it begins neither with MSCF nor with MSWIM)",
}
_KNOWN = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\xd0\xcf\x11\xe0", "an MSI or other OLE file"),
    (b"MSCF", "a cabinet"),
    (b"MSWIM\0\0\0", "a WIM"),
    (b"MZ", "a Windows program"),
    (b"%PDF-", "a PDF"),
    (b"{", "JSON text"),
    (b"<", "XML text"),
)
_PAGE = re.compile(
    rb"\s*(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*"
    rb"<(?:!doctype\s+html|html|head|body|script)",
    re.IGNORECASE | re.DOTALL,
)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
# A page is judged when its title can be told, or when this much of it has come.
_PAGE_ENOUGH = 4096
# Fewer bytes would not do to tell what came instead.
_START_ENOUGH = 16


class Verdict(Enum):
    """What the bytes seen so far say."""

    UNDECIDED = auto()
    RIGHT = auto()
    WRONG = auto()


def web_page(head: bytes) -> str:
    """``a web page titled "…"`` when the bytes are HTML, else nothing."""
    start = head[:_PAGE_ENOUGH]
    if not _PAGE.match(start):
        return ""
    title = _TITLE.search(start)
    if not title:
        return "a web page"
    words = " ".join(html.unescape(title[1].decode("utf-8", "replace")).split())
    return f'a web page titled "{printable(words[:80])}"'


def described(head: bytes) -> str:
    """What the bytes look like, for people."""
    if page := web_page(head):
        return f"{page} (a bot check or a sign-in)"
    for start, name in _KNOWN:
        if head.startswith(start):
            return name
    return "unknown data" if head else "an empty file"


def _iso(head: bytes) -> Verdict:
    for position in range(FIRST_DESCRIPTOR, HEAD, SECTOR):
        name = head[position + 1 : position + 6]
        if len(name) < 5:
            return Verdict.UNDECIDED
        if name in (b"NSR02", b"NSR03") or (name == b"CD001" and position == FIRST_DESCRIPTOR):
            return Verdict.RIGHT
        if name not in _SEQUENCE:
            return Verdict.WRONG
    return Verdict.WRONG


def _may_become_page(head: bytes) -> bool:
    short = len(head) < _PAGE_ENOUGH and not _TITLE.search(head)
    return short and head.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] in (b"", b"<")


def judge(kind: Kind, head: bytes) -> Verdict:
    """Whether a file of this kind can begin with ``head`` (which may still grow up to HEAD)."""
    if kind is Kind.FILE:
        return Verdict.RIGHT
    if _may_become_page(head):
        return Verdict.UNDECIDED
    if _PAGE.match(head[:_PAGE_ENOUGH]):
        return Verdict.WRONG
    if kind is Kind.ISO:
        return _iso(head)
    if any(head.startswith(start) for start in _STARTS[kind]):
        return Verdict.RIGHT
    return Verdict.UNDECIDED if len(head) < _START_ENOUGH else Verdict.WRONG


@dataclass(slots=True)
class Sniffer:
    """Judges a stream as it arrives; keeps no more than its head."""

    kind: Kind
    _head: bytearray = field(default_factory=bytearray)
    _verdict: Verdict = Verdict.UNDECIDED

    def feed(self, data: bytes) -> str:
        """Take the next bytes; returns what is wrong, or nothing."""
        if self._verdict is Verdict.RIGHT:
            return ""
        self._head += data[: HEAD - len(self._head)]
        self._verdict = judge(self.kind, bytes(self._head))
        return self._complaint() if self._verdict is Verdict.WRONG else ""

    def finish(self) -> str:
        """The stream has ended; returns what is wrong, or nothing."""
        return "" if self._verdict is Verdict.RIGHT or self.kind is Kind.FILE else self._complaint()

    def _complaint(self) -> str:
        return f"{described(bytes(self._head))} instead of {_PROMISED[self.kind]}"
