"""Artifacts: fetched once, verified while they arrive, never again.

Goes in: a pin (URLs, or a file on this host). Comes out: the path of the verified file, in the
cache by its digest or in place, and a receipt. Nothing unverified ever has the final name; two
processes that want the same artifact share one download.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.definitions.model import Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import CHUNK
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress
from pipeline.foundation.units import human_bytes
from pipeline.inputs import fetch_records as records
from pipeline.inputs.fetch_meter import Meter
from pipeline.inputs.fetch_mirrors import Download, Policy, refuse_without_room
from pipeline.inputs.fetch_part import Part
from pipeline.inputs.fetch_records import Record
from pipeline.inputs.fetch_types import Fetcher, Limits
from pipeline.inputs.magic import Sniffer

__all__ = ["Limits", "Policy", "fetch", "purge", "verified"]

_PATIENT = Policy()
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def verified(pin: Pin, workspace: Workspace) -> Path | None:
    """The verified artifact if it is there; reads nothing of it."""
    if pin.sha256 is None or not (pin.urls or pin.file):
        return None
    known = records.valid_record(pin, workspace)
    return records.location(pin, workspace) if known else None


def fetch(
    pin: Pin,
    workspace: Workspace,
    progress: Progress,
    *,
    policy: Policy = _PATIENT,
    fetcher: Fetcher | None = None,
) -> Path:
    """The verified artifact, from the cache, its mirrors or this host's disk; leaves a receipt."""
    _refuse_unfetchable(pin)
    with _disk_sentences(pin, workspace):
        record = records.valid_record(pin, workspace)
        if not record:
            record = _alone(pin, workspace, progress, policy, fetcher)
        _refuse_contradiction(pin, record)
        records.write_receipt(pin, workspace, record)
    return records.location(pin, workspace)


def purge(pin: Pin, workspace: Workspace) -> None:
    """Forget the artifact and everything kept of it; a user's own file is left alone."""
    if pin.sha256 is None or not (pin.urls or pin.file):
        return
    with lock(_lock(pin, workspace)):
        records.record_path(pin, workspace).unlink(missing_ok=True)
        if pin.file is None:
            shutil.rmtree(records.folder(pin, workspace), ignore_errors=True)
            with Part(workspace.partial, pin.sha256, pin.kind) as part:
                part.remove()
        workspace.fetch_receipt(pin.name).unlink(missing_ok=True)


def _lock(pin: Pin, workspace: Workspace) -> Path:
    """In the cache and not in the workspace, as workspaces may share one cache."""
    return workspace.partial / f"{pin.sha256}.lock"


def _refuse_unfetchable(pin: Pin) -> None:
    if pin.made:
        raise PipelineError(f"{pin.name}: is made by the rehearsal ({pin.made}), not fetched")
    if not (pin.urls or pin.file):
        raise PipelineError(f"{pin.name}: the pin names neither a URL nor a file")
    if pin.sha256 is None:
        raise PipelineError(
            f"{pin.name}: the pin has no SHA-256, so nothing could be verified",
            hint="take the digest from the publisher, or from two sources that agree",
        )


def _refuse_contradiction(pin: Pin, record: Record) -> None:
    if pin.size not in (None, record.size):
        raise PipelineError(
            f"{pin.name}: the pin says {pin.size} bytes, but the file with its SHA-256 has "
            f"{record.size}",
            hint="correct the size in the pin",
        )


def _alone(
    pin: Pin, workspace: Workspace, progress: Progress, policy: Policy, fetcher: Fetcher | None
) -> Record:
    """Obtain the artifact, unless another process did so while we waited for its lock."""
    with lock(_lock(pin, workspace), lambda who: progress.event(f"{who} fetches {pin.name}")):
        record = records.valid_record(pin, workspace)
        return record or _obtain(pin, workspace, progress, policy, fetcher)


def _obtain(
    pin: Pin, workspace: Workspace, progress: Progress, policy: Policy, fetcher: Fetcher | None
) -> Record:
    began = time.monotonic()
    if pin.file is not None:
        return _hash_in_place(pin, workspace, progress, began)
    if record := _from_cache(pin, workspace, progress, began):
        return record
    with contextlib.ExitStack() as stack:
        part = stack.enter_context(Part(workspace.partial, str(pin.sha256), pin.kind))
        part.take_up(progress, pin.size)
        refuse_without_room(part, pin.size)
        source = fetcher or stack.enter_context(_client(policy, progress))
        url = Download(pin, part, source, progress, policy).run()
        record = Record.of(pin, part.flush(), url, time.monotonic() - began)
        # The record comes first: size and time survive the rename, and whoever sees the final name
        # finds it vouched for, whenever this process ends.
        records.write_record(pin, workspace, record)
        part.path.replace(records.location(pin, workspace))
        part.remove()
    rate = human_bytes(record.size / max(record.seconds, 0.001))
    progress.done(f"{pin.name} {pin.version}: {human_bytes(record.size)} verified, {rate}/s")
    return record


def _client(policy: Policy, progress: Progress) -> contextlib.AbstractContextManager[Fetcher]:
    from pipeline.inputs.http import Client

    # A redirect to plain HTTP is followed, and said: the digest vouches for the content.
    return Client(policy.limits, downgrade=progress.event)


def _from_cache(pin: Pin, workspace: Workspace, progress: Progress, began: float) -> Record | None:
    """What the cache holds already: under another name, or copied here without its times."""
    path = records.location(pin, workspace)
    if not path.exists():
        return _from_sibling(pin, workspace)
    progress.phase(f"checking {path.name}, which has no valid record")
    digest, state = _hash(path, progress)
    if digest != pin.sha256:
        progress.event(f"{path.name} in the cache was damaged; it is fetched again")
        path.unlink()
        return None
    record = Record.of(pin, state, "cache", time.monotonic() - began)
    records.write_record(pin, workspace, record)
    return record


def _from_sibling(pin: Pin, workspace: Workspace) -> Record | None:
    for note in records.folder(pin, workspace).glob(".*.verified.json"):
        record = records.read_record(note)
        sibling = note.with_name(note.name.removeprefix(".").removesuffix(".verified.json"))
        if record and record.describes(sibling, in_place=False):
            records.write_record(pin, workspace, record)
            with contextlib.suppress(OSError):  # a filesystem without hard links
                os.link(sibling, records.location(pin, workspace))
                return record
    return None


def _hash(path: Path, progress: Progress) -> tuple[str, os.stat_result]:
    """Digest and state of a file that does not change meanwhile."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        before = os.fstat(stream.fileno())
        meter, done = Meter(progress, 0, before.st_size), 0
        while data := stream.read(CHUNK):
            digest.update(data)
            done += len(data)
            meter.at(done)
        after = os.fstat(stream.fileno())
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, done):
        raise PipelineError(f"{path}: changed while it was being read", hint="run again")
    return digest.hexdigest(), after


def _hash_in_place(pin: Pin, workspace: Workspace, progress: Progress, began: float) -> Record:
    path = records.location(pin, workspace)
    _refuse_wrong_file(pin, path)
    progress.phase(f"checking {path}")
    digest, state = _hash(path, progress)
    if digest != pin.sha256:
        raise PipelineError(
            f"{path}: its SHA-256 ({state.st_size} bytes) is\n    {digest}, the pin {pin.name} "
            f"says\n    {pin.sha256}",
            hint="usual causes: another edition, language or release than was pinned, or a copy "
            "cut short; get the file again, or correct the pin",
        )
    record = Record.of(pin, state, "", time.monotonic() - began)
    records.write_record(pin, workspace, record)
    progress.done(f"{pin.name} {pin.version}: {human_bytes(record.size)} verified in place")
    return record


def _refuse_wrong_file(pin: Pin, path: Path) -> None:
    if not path.is_file():
        raise PipelineError(
            f"{path}: is not a file on this host (pin {pin.name})",
            hint="put the medium there, or correct the path in the pin",
        )
    size = path.stat().st_size
    if pin.size not in (None, size):
        raise PipelineError(
            f"{path}: has {size} bytes, the pin {pin.name} says {pin.size}",
            hint="the copy was cut short, or it is another file than was pinned",
        )
    sniffer = Sniffer(pin.kind)
    with path.open("rb") as stream:
        complaint = sniffer.feed(stream.read(CHUNK)) or sniffer.finish()
    if complaint:
        raise PipelineError(f"{path}: is {complaint}", hint=f"correct the path of pin {pin.name}")


@contextlib.contextmanager
def _disk_sentences(pin: Pin, workspace: Workspace) -> Iterator[None]:
    """Turn the disk's failures into sentences; the partial file stays for the next run."""
    try:
        yield
    except OSError as error:
        where = error.filename or workspace.partial
        if error.errno not in _FULL:
            text = f"{where}: {error.strerror or error} (while fetching {pin.name})"
            raise PipelineError(text) from error
        raise PipelineError(
            f"the disk under {where} became full while {pin.name} was being fetched",
            hint="free some space and run again: what has arrived is kept",
        ) from error
