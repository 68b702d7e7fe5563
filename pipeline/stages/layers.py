"""Layers: installed and provisioned disks that hosts share, each under its stage's id.

    layers/<stage>-<id>/{layer.json, layer.json.sig, layer.tar.zst}     in the store ``layers:``

Goes in: a stage that is not current here. Comes out: its product from the store, verified, as if it
had been made here; or, once it was made here, its product in the store. While one host makes a
layer, a lease in the store keeps others from making it too: they wait and then pull it.

A layer holds what its stage's folder holds, the build's key included, which opens nothing that was
sealed: who can read the store can log in to unsealed guests of that build. Nothing in it is
believed: the id must be that of the inputs, and every file must be what the receipt says. That it
was a build host that made it only a signature says: with ``signing_key`` in the settings a layer
must be signed by that key.

A layer is refused when it is bad, and passed over when this host could not find out: a network that
fails and a full disk say nothing about it. Only a bad one is ever replaced.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_file, write_json
from pipeline.foundation.progress import Progress
from pipeline.foundation.units import human_bytes
from pipeline.machine import image as qemu_img
from pipeline.machine.image import require_space
from pipeline.stages.build import Build
from pipeline.stages.layer import (
    ARCHIVE,
    DOCUMENT,
    LARGEST_DOCUMENT,
    SIGNATURE,
    Layer,
    LayerRefused,
)
from pipeline.stages.plan import Examined
from pipeline.stages.receipts import Output, Receipt

__all__ = ["ARCHIVE", "DISK", "DOCUMENT", "LAYERED", "SIGNATURE", "Layer", "LayerRefused"]

LAYERED = ("install", "provision")
"""The stages worth sharing, the lower one first: a disk, and the layer on top of it."""
DISK = "disk.qcow2"
# A folder on a share answers with the system's own errors.
_FAILURES = (PipelineError, OSError)
_GONE = (404, 410)
# What this process knows of layers by their keys: those that turned out to be bad when they were
# pulled, and those that no other host makes or replaces meanwhile.
_bad: dict[str, Layer] = {}
_held: set[str] = set()


def place(build: Build, stage: str) -> str:
    """The store to share this stage's product in; empty when it is not to be shared."""
    return build.settings.layers or "" if stage in LAYERED else ""


def _key(item: Examined) -> str:
    return f"layers/{item.stage.name}-{item.id}"


def _key_of(receipt: Receipt) -> str:
    return f"layers/{receipt.stage}-{receipt.id}"


@contextlib.contextmanager
def _opened(build: Build, progress: Progress) -> Iterator[Any]:
    """The store, whose libraries are imported only now."""
    from pipeline.publishing.stores.base import writable
    from pipeline.publishing.stores.opening import open_store

    with open_store(str(build.settings.layers), build.workspace.root, progress.event) as store:
        yield writable(store)


@contextlib.contextmanager
def alone(build: Build, item: Examined, progress: Progress) -> Iterator[None]:
    """Hold the stage in the store: no other host makes this layer meanwhile."""
    if not place(build, item.stage.name):
        yield
        return

    def waiting(holder: str) -> None:
        progress.event(f"waiting: {item.stage.name} is being made for all by {holder}")

    from pipeline.publishing.licence import MustStay

    with contextlib.ExitStack() as stack:
        try:
            _require_may_leave(build)
            store = stack.enter_context(_opened(build, progress))
            stack.enter_context(store.lease(_key(item), waiting))
            _held.add(_key(item))
            stack.callback(_held.discard, _key(item))
        except MustStay:
            raise
        except _FAILURES as error:
            _passed_over(build, error, progress)
        yield


def _passed_over(build: Build, error: Exception, progress: Progress) -> None:
    """Sharing saves time; where it fails, the time is spent and the image still comes out."""
    progress.event(f"layers in {build.settings.layers} are passed over: {_told(error)}")


def _told(error: Exception) -> str:
    return error.message if isinstance(error, PipelineError) else str(error)


def _require_may_leave(build: Build) -> None:
    """Before the work, not after it: a layer holds the same Windows as a version."""
    from pipeline.publishing.licence import require_may_leave
    from pipeline.publishing.stores.opening import on_loopback

    store = str(build.settings.layers)
    if not (build.image.rehearsal and on_loopback(store)):
        require_may_leave(build.image, build.settings, store)


def find(build: Build, item: Examined, progress: Progress) -> Layer | None:
    """The layer in the store, if one is there and good here; a bad one is said and passed over."""
    if not place(build, item.stage.name):
        return None
    try:
        with _opened(build, progress) as store:
            layer = _described(build, item, store)
    except LayerRefused as error:
        progress.event(f"refused {_key(item)}: {error.message}")
        return None
    except _FAILURES as error:
        _passed_over(build, error, progress)
        return None
    if layer is None or build.rebuild or item.stage.worn(build, layer.receipt):
        return None
    return layer if fits(build, item, layer) else None


def fits(build: Build, item: Examined, layer: Layer) -> bool:
    """Whether the disks that it was made on are the ones here, where some are here already."""
    for name in item.stage.disks:
        here = build.receipt(name)
        made_on = layer.receipt.parents.get(name)
        if here and here.id == item.inputs[name] and here.run != made_on:
            return False
    return True


def _described(build: Build, item: Examined, store: Any) -> Layer | None:
    """The layer as the store has it now; raises :class:`LayerRefused` for a bad one."""
    from pipeline.publishing.stores.base import Odd

    try:
        names = {DOCUMENT: LARGEST_DOCUMENT, SIGNATURE: LARGEST_DOCUMENT}
        found = store.documents(_key(item), names)
    except Odd as error:
        raise LayerRefused(error.message) from error
    if (data := found[DOCUMENT]) is None:
        return None
    _require_signed(build, data, found[SIGNATURE])
    return Layer.of(data, item.stage.name, item.id)


def _require_signed(build: Build, data: bytes, signature: bytes | None) -> None:
    """Hosts that share a signing key believe only one another."""
    if not build.settings.signing_key:
        return
    from pipeline.publishing import signature as signatures

    with tempfile.TemporaryDirectory(prefix="golden-layer-") as name:
        folder = Path(name)
        (folder / DOCUMENT).write_bytes(data)
        if signature is not None:
            (folder / SIGNATURE).write_bytes(signature)
        key = signatures.ensure_key(build.workspace, build.settings)
        allowed = folder / "allowed_signers"
        line = signatures.allowed_signers_line(signatures.public_key(key))
        allowed.write_text(f"{line}\n")
        try:
            signatures.verify(folder / DOCUMENT, folder / SIGNATURE, allowed)
        except (
            signatures.NotSigned,
            signatures.SignatureWrong,
            signatures.SignedByAnother,
        ) as error:
            raise LayerRefused(error.message) from error


def pull(build: Build, item: Examined, layer: Layer, progress: Progress) -> Path | None:
    """Bring a layer into a folder beside the stage's; ``None`` when that does not succeed.

    The caller gives the folder its name. What came of a transfer that broke stays in the cache, and
    the next one goes on there.
    """
    folder = build.workspace.build(build.image.name) / f".{item.stage.name}.pulled"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    size = human_bytes(layer.archive.size)
    progress.phase(f"pulling {item.stage.name} from {place(build, item.stage.name)} ({size})")
    try:
        _bring(build, item, layer, folder, progress)
    except _FAILURES as error:
        shutil.rmtree(folder, ignore_errors=True)
        if _speaks_against_it(error):
            _bad[_key(item)] = layer
            progress.event(f"refused {_key(item)}: {_told(error)}")
        else:
            progress.event(f"{_key(item)} could not be pulled: {_told(error)}")
        return None
    return folder


def _speaks_against_it(error: Exception) -> bool:
    """Whether it is the layer that is bad, and not the network, the store or this host."""
    from pipeline.inputs.fetch_types import HttpError, Mismatch, OtherSize, Undelivered
    from pipeline.publishing.archive import ArchiveRefused
    from pipeline.publishing.stores.base import Odd

    kinds = (LayerRefused, ArchiveRefused, Mismatch, OtherSize, Odd)
    said = error.said if isinstance(error, Undelivered) else (error,)
    return any(
        isinstance(one, kinds) or (isinstance(one, HttpError) and one.status in _GONE)
        for one in said
    )


def _bring(build: Build, item: Examined, layer: Layer, folder: Path, progress: Progress) -> None:
    from pipeline.publishing.archive import Member, unpack
    from pipeline.publishing.stores.base import Blob

    outputs = layer.receipt.outputs
    needed = layer.archive.size + sum(output.size for output in outputs)
    require_space(folder, needed, f"the layer of {item.stage.name}")
    blob = Blob(ARCHIVE, layer.archive.sha256, layer.archive.size)
    archive = folder / ARCHIVE
    with _opened(build, progress) as store:
        store.get(_key(item), blob, archive, build.workspace.partial, progress)
    unpack(archive, [Member(o.path, o.size, o.sha256) for o in outputs], folder)
    archive.unlink()
    _refuse_other_files(folder / DISK, item)
    # Here the disk stands on nothing but the layer below it.
    parents = {n: run for n, run in layer.receipt.parents.items() if n in item.stage.disks}
    replace(layer.receipt, parents=parents).save(folder / "receipt.json")


def _refuse_other_files(disk: Path, item: Examined) -> None:
    """A disk image can name other files of the host as its own content."""
    expected = [f"../{name}/{DISK}" for name in item.stage.disks]
    if (found := qemu_img.names_files(disk)) != expected:
        raise LayerRefused(f"{DISK} refers to {found}, expected {expected}")


def push(build: Build, item: Examined, progress: Progress) -> None:
    """Share what was just made here; hold :func:`alone`. One that is there and is bad goes away.

    A store that fails takes nothing from the build: its product is here, and good.
    """
    stage, receipt = item.stage, build.receipt(item.stage.name)
    if receipt is None or not place(build, stage.name):
        return
    try:
        with _opened(build, progress) as store:
            for name in stage.disks:
                _share_below(build, name, store, progress)
            with _packed(build, receipt, progress) as files:
                _put(build, item, files, store, progress)
    except _FAILURES as error:
        progress.event(f"{stage.name} was not shared: {_told(error)}")


def _put(
    build: Build, item: Examined, files: Mapping[str, Path], store: Any, progress: Progress
) -> None:
    """Let the layer appear, and take the place of a bad one; the store is looked at once more.

    Hours ago it may not have answered, and without a lease others may have been quicker.
    """
    key = _key(item)
    if _stays(build, item, store):
        progress.event(f"{key} stays as it is in {build.settings.layers}: nothing is wrong with it")
        return
    if key in _held:
        store.remove(key)
    store.push(key, files, progress)


def _stays(build: Build, item: Examined, store: Any) -> bool:
    """Whether the store has a layer for the stage that this host would take."""
    try:
        layer = _described(build, item, store)
    except LayerRefused:
        return False
    if layer is None or layer == _bad.get(_key(item)):
        return False
    return fits(build, item, layer) and not item.stage.worn(build, layer.receipt)


def _share_below(build: Build, name: str, store: Any, progress: Progress) -> None:
    """A layer is of use only with the very disk that it was made on; nothing is replaced here."""
    receipt = build.receipt(name)
    if receipt is None:
        return
    shared = _run_of(store.read(_key_of(receipt), DOCUMENT, LARGEST_DOCUMENT))
    if shared is None:
        with _packed(build, receipt, progress) as files:
            store.push(_key_of(receipt), files, progress)
    elif shared != receipt.run:
        raise LayerRefused(f"it stands on another {name} than the one that is shared")


def _run_of(data: bytes | None) -> str | None:
    try:
        run: str = json.loads(data or b"{}")["receipt"]["run"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return run


@contextlib.contextmanager
def _packed(build: Build, receipt: Receipt, progress: Progress) -> Iterator[Mapping[str, Path]]:
    """The files of a layer, made of a product that lies here."""
    from pipeline.publishing.archive import Member, pack

    folder, name = build.workspace.build(build.image.name), receipt.stage
    require_space(folder, sum(o.size for o in receipt.outputs), "packing a layer")
    with tempfile.TemporaryDirectory(prefix=f".{name}.share-", dir=folder) as parts:
        files = {ARCHIVE: Path(parts) / ARCHIVE, DOCUMENT: Path(parts) / DOCUMENT}
        progress.phase(f"sharing {name} in {build.settings.layers}")
        members = [Member(o.path, o.size, o.sha256) for o in receipt.outputs]
        pack(build.folder(name), members, files[ARCHIVE])
        size, digest = files[ARCHIVE].stat().st_size, sha256_file(files[ARCHIVE])
        write_json(files[DOCUMENT], Layer(Output(ARCHIVE, size, digest), receipt).data())
        yield files | _signature(build, files[DOCUMENT])


def _signature(build: Build, document: Path) -> dict[str, Path]:
    from pipeline.publishing import signature as signatures

    key = signatures.ensure_key(build.workspace, build.settings)
    return {SIGNATURE: signatures.sign(document, key)}
