"""The digest of a file that nobody has published one for: downloaded once, hashed as it comes.

Goes in: a pin as it will be, but for its digest. Comes out: its SHA-256 and size; the file lies in
the cache under that digest, so that the build does not fetch it again. As no digest vouches for
what comes, only the first address is asked, never over plain HTTP, and a download is gone on with
only when the server says that the file is still the same.
"""

from __future__ import annotations

import time
from dataclasses import replace

from pipeline.definitions.model import Pin
from pipeline.foundation.files import sha256_bytes
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress
from pipeline.foundation.units import Sha256
from pipeline.inputs import fetch_records as records
from pipeline.inputs.fetch_mirrors import Download, Policy, refuse_without_room
from pipeline.inputs.fetch_part import Part
from pipeline.inputs.fetch_types import Fetcher

_PATIENT = Policy()


class _Measurement(Download):
    """A download that takes the digest as it is."""

    def _headers(self, url: str) -> dict[str, str]:
        if self.part.size and not (self.part.comes_from(url) and self.part.validator):
            self.part.restart()
        return super()._headers(url)

    def _verify(self, url: str) -> None:
        if complaint := self.part.finish():
            self._wrong(url, complaint)


def measure(
    pin: Pin, workspace: Workspace, progress: Progress, fetcher: Fetcher, policy: Policy = _PATIENT
) -> Pin:
    """The pin with the digest and the size of what its first address gives."""
    source = replace(pin, urls=pin.urls[:1], sha256=None)
    name = f"measure-{sha256_bytes(source.urls[0].encode())[:32]}"
    with lock(workspace.partial / f"{name}.lock"), Part(workspace.partial, name, pin.kind) as part:
        part.take_up(progress, pin.size)
        refuse_without_room(part, pin.size)
        began = time.monotonic()
        url = _Measurement(source, part, fetcher, progress, policy).run()
        made = replace(pin, sha256=Sha256(part.digest()), size=part.size)
        _keep(made, part, workspace, url, time.monotonic() - began)
    return made


def _keep(pin: Pin, part: Part, workspace: Workspace, url: str, seconds: float) -> None:
    """Give the file its place in the cache, vouched for by a record written first."""
    record = records.Record.of(pin, part.flush(), url, seconds)
    records.write_record(pin, workspace, record)
    part.path.replace(records.location(pin, workspace))
    part.remove()
