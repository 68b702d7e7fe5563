"""One artifact from its mirrors: which to ask, when to go on, when to start over, when to give up.

Goes in: a pin with URLs and a digest, its partial file, a fetcher, a policy. Comes out: the partial
file complete and of the right digest, and the URL that completed it; or one error that lists what
each mirror said.

    each mirror:  ask (Range and If-Range when there is a part) -> judge the answer -> receive
                  -> whole? -> digest?    a passing failure: wait, ask again, go on from the part
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass

from pipeline.definitions.model import Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.progress import Progress
from pipeline.foundation.units import human_bytes, human_seconds
from pipeline.inputs.fetch_meter import Meter
from pipeline.inputs.fetch_part import Part
from pipeline.inputs.fetch_types import (
    Answer,
    Fetcher,
    HttpError,
    Limits,
    Mismatch,
    OtherSize,
    Undelivered,
)
from pipeline.inputs.fetch_urls import shown_url

_LONGEST_BACKOFF = 60.0
_OTHER_RANGE = (206, 416)


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a download is; seconds and bytes.

    ``retries``: passing failures in a row that one mirror is forgiven; a transfer that brought
    ``worthwhile`` bytes starts the count again. ``longest_wait``: a server that asks for more is
    left for the next mirror. ``max_bytes`` holds for pins without a size.
    """

    total: float = 6 * 3600.0
    retries: int = 5
    backoff: float = 1.0
    longest_wait: float = 900.0
    max_bytes: int = 16 << 30
    worthwhile: int = 1 << 20
    limits: Limits = Limits()


def refuse_without_room(part: Part, whole: int | None) -> None:
    """A full disk is found before the transfer, not hours into it."""
    free = shutil.disk_usage(part.path.parent).free
    if whole is not None and whole - part.size > free:
        raise PipelineError(
            f"not enough room in {part.path.parent}: {human_bytes(whole - part.size)} are still to "
            f"come and {human_bytes(free)} are free",
            hint="free some space, or put the cache elsewhere with GOLDEN_CACHE",
        )


class Download:
    """One artifact's way from its mirrors into its partial file.

    ``authority`` is what says which size and digest are right, for the sentences.
    """

    authority = "the pin"

    def __init__(
        self, pin: Pin, part: Part, fetcher: Fetcher, progress: Progress, policy: Policy
    ) -> None:
        self.pin, self.part, self.fetcher = pin, part, fetcher
        self.progress, self.policy = progress, policy
        self.end = time.monotonic() + policy.total
        self._may_start_over = True

    def run(self) -> str:
        """Complete the part; returns the URL that did, as it may be shown."""
        said: list[HttpError] = []
        for url in self.pin.urls:
            try:
                self._mirror(url)
            except HttpError as error:
                said.append(error)
                more = "; the next mirror is asked" if len(said) < len(self.pin.urls) else ""
                self.progress.event(f"{error.message}{more}")
            else:
                return shown_url(url)
        raise self._nobody(said)

    def _nobody(self, said: list[HttpError]) -> Undelivered:
        lines = "".join(f"\n  {error.message}" for error in said)
        hints = [error.hint for error in said if error.hint]
        kept = f"{human_bytes(self.part.size)} are kept: run again to go on from there"
        hint = hints[0] if hints else kept if self.part.size else "check the network and the URLs"
        return Undelivered(
            f"{self.pin.name} {self.pin.version}: no mirror delivered it{lines}", said, hint=hint
        )

    def _mirror(self, url: str) -> None:
        failures, best = 0, self.part.size
        while True:
            try:
                self._transfer(url)
                self._verify(url)
            except HttpError as error:
                if error.status in _OTHER_RANGE and self.part.size:
                    self.part.restart()
                    error.transient = True  # without a range it may well answer
                gained = self.part.size - best >= self.policy.worthwhile
                failures, best = (1 if gained else failures + 1), max(best, self.part.size)
                self._pause(error, failures)
            else:
                return

    def _pause(self, error: HttpError, failures: int) -> None:
        """Wait before the same mirror is asked again; raises when it should not be."""
        if not error.transient or failures > self.policy.retries:
            raise error
        backoff = min(self.policy.backoff * 2 ** (failures - 1), _LONGEST_BACKOFF)
        wait = max(backoff, error.retry_after or 0.0)
        if wait > min(self.policy.longest_wait, self.end - time.monotonic()):
            raise error
        self.progress.event(f"{error.message}; asked again in {human_seconds(wait)}")
        time.sleep(wait)

    def _whole(self) -> int | None:
        return self.pin.size if self.pin.size is not None else self.part.total

    def _transfer(self, url: str) -> None:
        if self.part.size and self.part.size == self._whole():
            return  # an earlier run was ended between the last byte and the rename
        left = self.end - time.monotonic()
        if left <= 0:
            raise HttpError(f"{shown_url(url)}: not asked, as the time was up")
        with self.fetcher.get(url, within=left, headers=self._headers(url)) as answer:
            self._judge(url, answer)
            self._receive(url, answer)
        whole = self._whole()
        if whole is not None and self.part.size < whole:
            text = f"broke off at {self.part.size} of {whole} bytes"
            raise HttpError(f"{shown_url(url)}: {text}", transient=True)

    def _headers(self, url: str) -> dict[str, str]:
        part = self.part
        if not part.size:
            return {}
        asked = {"Range": f"bytes={part.size}-"}
        if part.comes_from(url) and part.validator:
            return asked | {"If-Range": part.validator}
        # Another mirror, or a server that names no version: the same length is a promise good
        # enough to go on, since the digest is still to come and a misfit then starts over.
        return asked if self._whole() is not None else {}

    def _judge(self, url: str, answer: Answer) -> None:
        """Refuse an answer that can't be the artifact, or can't continue the part."""
        where, size = shown_url(url), self.pin.size
        if size is not None and answer.total not in (None, size):
            raise OtherSize(
                f"{where}: offers {answer.total} bytes, {self.authority} says {size}",
                hint="the file behind the URL was replaced, or it is another one than was pinned",
            )
        if size is None and (answer.total or 0) > self.policy.max_bytes:
            text = f"{answer.total} bytes, more than {human_bytes(self.policy.max_bytes)}"
            raise HttpError(f"{where}: offers {text}", hint="give the pin a size")
        if answer.status == 206:
            self._continue(url, answer)
            return
        if self.part.size:
            self.progress.event(f"{where}: starts over; it ignores ranges or has a changed file")
        self.part.restart()
        self._adopt(url, answer, answer.total)

    def _continue(self, url: str, answer: Answer) -> None:
        part = self.part
        changed = part.comes_from(url) and answer.validator != part.validator
        whole = self._whole() if self._whole() is not None else answer.total
        if answer.start != part.size or changed or answer.total not in (None, whole):
            text = f"{shown_url(url)}: its file changed, or it sends another range than asked for"
            raise HttpError(text, transient=True, status=206)
        part.resumed = True
        self.progress.event(f"{shown_url(url)}: resumed at {human_bytes(part.size)}")
        self._adopt(url, answer, whole)

    def _adopt(self, url: str, answer: Answer, whole: int | None) -> None:
        refuse_without_room(self.part, whole if self.pin.size is None else self.pin.size)
        self.part.belongs_to(url, answer.validator, whole)

    def _receive(self, url: str, answer: Answer) -> None:
        part, whole = self.part, self._whole()
        most = self.policy.max_bytes if whole is None else whole
        self.progress.phase(f"downloading {self.pin.name} {self.pin.version}")
        meter = Meter(self.progress, part.size, whole)
        for data in answer.chunks(most - part.size):
            if complaint := part.write(data):
                self._wrong(url, complaint)
            meter.at(part.size)
        if whole is None and part.size >= most:
            part.restart()
            raise HttpError(f"{shown_url(url)}: sends more than {human_bytes(most)}")

    def _wrong(self, url: str, complaint: str) -> None:
        self._start_over_once(url, complaint)
        hint = "open the URL by hand; a mirror may serve it without the check"
        raise HttpError(
            f"{shown_url(url)}: sent {complaint}", hint=hint if "page" in complaint else ""
        )

    def _start_over_once(self, url: str, found: str) -> None:
        """Drop the part; what was put together from pieces is once more fetched whole."""
        resumed = self.part.resumed
        self.part.restart()
        if resumed and self._may_start_over:
            self._may_start_over = False
            text = f"{shown_url(url)}: the resumed file is {found}; it is fetched whole"
            raise HttpError(text, transient=True)

    def _verify(self, url: str) -> None:
        part, pin = self.part, self.pin
        if complaint := part.finish():
            self._wrong(url, complaint)
        digest = part.digest()
        if digest == pin.sha256:
            return
        size = part.size
        self._start_over_once(url, "not the pinned one")
        raise Mismatch(
            f"{shown_url(url)}: its SHA-256 ({size} bytes) is\n    {digest}, "
            f"{self.authority} says\n    {pin.sha256}",
            hint=mismatch_hint(pin),
        )


def mismatch_hint(pin: Pin) -> str:
    """What usually makes a digest differ, and what to do."""
    short = "" if pin.size is not None else "the transfer was cut short, "
    look = f" ({pin.upstream})" if pin.upstream else ""
    return (
        "usual causes: the publisher replaced the file under the same name (an archived virtio-win "
        "ISO once was, silently), an evaluation link rolled forward to a newer build, "
        f"{short}a proxy changed it; compare with the publisher{look}, then correct the pin "
        f"{pin.name}"
    )
