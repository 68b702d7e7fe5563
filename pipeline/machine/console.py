"""What the guest's serial port says, as lines, partial lines and beacons.

Goes in: bytes, cut anywhere. Comes out: text without terminal control sequences, so that firmware
menus, boot loaders and Windows look alike. A line ends at a newline, a carriage return or where the
cursor jumps; empty lines are dropped. A prompt ends with none of these: it shows as ``partial``.
"""

from __future__ import annotations

import asyncio
import codecs
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from pipeline.foundation.waiting import Timeout

BEACON = "GOLDEN "
FIRST_BOOT_READY = rf"^{BEACON}firstboot ready"
"""A sealed machine has started, and obeyed its disc as far as it could."""
KEPT_LINES = 20_000
LONGEST_LINE = 4096
LONGEST_SEQUENCE = 256

_JUMP = "ABEFGHdfJ"  # cursor moves and clears: what follows stands elsewhere on the screen
_CSI = re.compile(r"\[[0-?]*[ -/]*([@-~])")
_STRING = re.compile(r"[\]PX^_].*?(?:\x07|\x1b\\)", re.DOTALL)
_SHORT = re.compile(r"[ -/]*[0-Z\\`-~]")
# A prompt of the firmware has no end of line, so the first beacon after it stands on the same one.
_GLUED = re.compile(r"(?=GOLDEN (?:pass|step|plan|seal|firstboot) )")
_STRINGS = ("]", "P", "X", "^", "_")


class Escapes:
    """Removes terminal control sequences from text that comes in pieces."""

    def __init__(self) -> None:
        self._held = ""

    def clean(self, text: str) -> str:
        """``text`` without sequences; one that is not complete yet is held back."""
        out: list[str] = []
        for character in text:
            if self._held:
                out.append(self._continue(character))
            elif character == "\x1b":
                self._held = character
            else:
                out.append(character)
        return "".join(out)

    def _continue(self, character: str) -> str:
        if character < " " and self._held[1:2] not in _STRINGS:
            # A control character inside a sequence: it was cut off; an escape starts a new one.
            self._held = "\x1b" if character == "\x1b" else ""
            return "" if self._held else character
        self._held += character
        body = self._held[1:]
        if csi := _CSI.fullmatch(body):
            self._held = ""
            return "\n" if csi[1] in _JUMP else ""
        reset = body == "c"
        if reset or _STRING.fullmatch(body) or _is_short(body) or len(body) > LONGEST_SEQUENCE:
            self._held = ""
            return "\n" if reset else ""
        return ""


def _is_short(body: str) -> bool:
    return body[0] != "[" and body[0] not in _STRINGS and bool(_SHORT.fullmatch(body))


@dataclass(frozen=True, slots=True)
class Beacon:
    """A line that starts with ``GOLDEN``; ``words`` are what follows."""

    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The words as one string."""
        return " ".join(self.words)


def parse_beacon(line: str) -> Beacon | None:
    """The beacon in ``line``, if it is one."""
    return Beacon(tuple(line.split()[1:])) if line.startswith(BEACON) else None


# OVMF names the entry that it starts, SeaBIOS the kind of drive; its last dot may come after what
# the boot sector says.
_BOOTS = re.compile(r'BdsDxe: starting \w+ "([^"]+)"|^Booting from ([A-Za-z/ ]+)\.\.')
_CD = re.compile(r"DVD|CD-?ROM", re.IGNORECASE)


def parse_boot(line: str) -> str:
    """What the firmware boots, in words, when ``line`` says that; else nothing."""
    if not (found := _BOOTS.search(line)):
        return ""
    name = str(found[1] or found[2]).strip()
    return f"the firmware boots {'the CD' if _CD.search(name) else 'a disk'} ({name})"


class Console:
    """The history of a serial port, and waiting for what it will say."""

    def __init__(self, on_line: Callable[[str], None] = lambda _: None) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.partial = ""
        self.count = 0  # of all complete lines, also those no longer kept
        self.received = 0  # bytes
        self.closed = False
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._escapes = Escapes()
        self._on_line = on_line
        self._send: Callable[[bytes], None] | None = None
        self._changed = asyncio.Event()

    def feed(self, data: bytes) -> None:
        """Take what the port said."""
        self.received += len(data)
        for character in self._escapes.clean(self._decode(data)):
            if character in "\r\n":
                self._end_line()
            elif character == "\t" or character.isprintable():
                self.partial += character
                if len(self.partial) >= LONGEST_LINE:
                    self._end_line()
        self._wake()

    def connect(self, send: Callable[[bytes], None]) -> None:
        """Say how bytes get to the port."""
        self._send = send

    def send(self, data: bytes) -> None:
        """Say something to the port, as somebody at a terminal would; nothing once it is gone."""
        if self._send and not self.closed:
            self._send(data)

    def close(self) -> None:
        """The port is gone; what is left of a line becomes one, and nobody waits any longer."""
        self._end_line()
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _end_line(self) -> None:
        line, self.partial = self.partial.rstrip(), ""
        parts = [line] if line.startswith(BEACON) else _GLUED.split(line, maxsplit=1)
        for part in filter(None, parts):
            self._add(part)

    def _add(self, line: str) -> None:
        self.lines.append(line)
        self.count += 1
        self._on_line(line)

    @property
    def beacons(self) -> tuple[Beacon, ...]:
        """All beacons so far."""
        found = (parse_beacon(line) for line in self.lines)
        return tuple(beacon for beacon in found if beacon)

    def numbered(self, mark: int) -> list[tuple[int, str]]:
        """The complete lines after the first ``mark`` ones, then the partial one, with numbers.

        A beacon counts once it is complete: half of its reason would be misleading.
        """
        skip = max(0, len(self.lines) - (self.count - mark))
        partial = self.partial and not self.partial.startswith(BEACON)
        tail = [self.partial] if partial else []
        first = self.count - len(self.lines) + skip
        return list(enumerate([*islice(self.lines, skip, None), *tail], first))

    def since(self, mark: int) -> list[str]:
        """The complete lines after the first ``mark`` ones, then the partial one."""
        return [line for _, line in self.numbered(mark)]

    async def changes(self) -> AsyncIterator[None]:
        """Once now and then after each arrival, until the port closes."""
        while True:
            changed = self._changed
            yield
            if self.closed:
                return
            await changed.wait()

    async def wait_for(self, pattern: str, deadline: float, *, since: int = 0) -> re.Match[str]:
        """The first match in a line (also a partial one) after the first ``since`` lines.

        ``since=console.count`` asks for new lines only. Raises :class:`Timeout` with the last line.
        """
        wanted, mark = re.compile(pattern), since
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                async for _ in self.changes():
                    for line in self.since(mark):
                        if match := wanted.search(line):
                            return match
                    mark = self.count
        last = (self.since(0) or [""])[-1]
        how = "the port was closed" if self.closed else f"not within {deadline:g} s"
        raise Timeout(f"{pattern!r} on the console: {how}; last line: {last!r}")
