"""The documents of an OCI registry as plain data: what is written, what is read with suspicion.

Goes in: digests and sizes of files, or the bytes of a manifest somebody sent. Comes out: manifests,
the one tar layer of a containerDisk, and where in it the disk lies.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.foundation.files import canonical_json, sha256_bytes
from pipeline.publishing.stores.base import Odd

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
TAR = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
FILE = "application/vnd.golden-windows.file.v1"
ARTIFACT = "application/vnd.golden-windows.files.v1"
TITLE = "org.opencontainers.image.title"
OFFSET = "golden-windows.offset"
SIZE = "golden-windows.size"
LARGEST = 4 << 20
"""Bytes of a manifest; registries refuse longer ones."""
_OWNER = 107  # qemu's user and group in KubeVirt's containers
_END = 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob of a manifest: a file, or a layer in which a file lies ``offset`` bytes deep."""

    title: str
    digest: str
    size: int
    offset: int = 0
    inside: int | None = None
    """The size of the file within the layer; None: it is the whole blob."""
    form: str = FILE
    data: bytes | None = None
    """The content itself, for what is small."""

    def descriptor(self) -> dict[str, Any]:
        """The layer as a manifest names it."""
        notes = {TITLE: self.title}
        if self.inside is not None:
            notes |= {OFFSET: str(self.offset), SIZE: str(self.inside)}
        inline = {} if self.data is None else {"data": base64.b64encode(self.data).decode()}
        head = {"mediaType": self.form, "digest": self.digest, "size": self.size}
        return head | inline | {"annotations": notes}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as it was read."""

    body: bytes
    layers: Sequence[Layer]
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What the manifest is called."""
        return f"sha256:{sha256_bytes(self.body)}"

    def layer(self, title: str) -> Layer | None:
        """The layer of a file."""
        return next((layer for layer in self.layers if layer.title == title), None)


def parse(body: bytes, where: str) -> Manifest:
    """What is in a manifest; raises :class:`Odd` when it is none, or names what no manifest may."""
    try:
        document = json.loads(body)
        notes = document.get("annotations") or {}
        layers = [_layer(item) for item in document["layers"]]
        return Manifest(body, layers, {str(k): str(v) for k, v in notes.items()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Odd(f"{where}: is not a manifest of an image or artifact") from None


def _layer(item: Mapping[str, Any]) -> Layer:
    digest, size = item["digest"], item["size"]
    if not _DIGEST.fullmatch(digest) or not isinstance(size, int) or size < 0:
        raise ValueError(digest)
    notes = item.get("annotations") or {}
    inside = int(notes[SIZE]) if SIZE in notes else None
    offset = int(notes.get(OFFSET, 0))
    if offset < 0 or (inside is not None and not 0 <= inside <= size - offset):
        raise ValueError(offset)
    data = _inline(item.get("data"), digest)
    return Layer(str(notes.get(TITLE, "")), digest, size, offset, inside, item["mediaType"], data)


def _inline(text: object, digest: str) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("data") from None
    if f"sha256:{sha256_bytes(data)}" != digest:
        raise ValueError("data")
    return data


def artifact(
    layers: Sequence[Layer], annotations: Mapping[str, str], subject: Mapping[str, Any] | None
) -> bytes:
    """The manifest of an artifact, a layer per file; ``subject`` is the image it belongs to."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": {"mediaType": EMPTY, "digest": f"sha256:{sha256_bytes(b'{}')}", "size": 2},
        "layers": [layer.descriptor() for layer in layers],
        "annotations": dict(annotations),
    }
    if subject:
        document["subject"] = dict(subject)
    return canonical_json(document)


def descriptor(body: bytes) -> dict[str, Any]:
    """A manifest as another one names it."""
    digest = f"sha256:{sha256_bytes(body)}"
    return {"mediaType": MANIFEST, "digest": digest, "size": len(body)}


def image(layer: Layer, config: bytes, annotations: Mapping[str, str]) -> bytes:
    """The manifest of a containerDisk."""
    digest = f"sha256:{sha256_bytes(config)}"
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": IMAGE_CONFIG, "digest": digest, "size": len(config)},
        "layers": [layer.descriptor()],
        "annotations": dict(annotations),
    }
    return canonical_json(document)


def image_config(layer: Layer) -> bytes:
    """What container engines want to know of an image; the layer is its own uncompressed form."""
    rootfs = {"type": "layers", "diff_ids": [layer.digest]}
    return canonical_json({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs})


@dataclass(frozen=True, slots=True)
class DiskLayer:
    """A tar with ``/disk/<name>`` alone, made while it is read: the disk is never copied."""

    path: Path
    head: bytes
    tail: bytes

    @classmethod
    def of(cls, path: Path) -> DiskLayer:
        """The layer around a disk; it is the same for the same disk."""
        size = path.stat().st_size
        folder = tarfile.TarInfo("disk")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o555
        file = tarfile.TarInfo(f"disk/{path.name}")
        file.size, file.mode = size, 0o440
        for entry in (folder, file):
            entry.uid = entry.gid = _OWNER
        head = b"".join(entry.tobuf(tarfile.PAX_FORMAT) for entry in (folder, file))
        return cls(path, head, b"\0" * (-size % 512 + _END))

    @property
    def size(self) -> int:
        """The size of the layer."""
        return len(self.head) + self.path.stat().st_size + len(self.tail)

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """The layer from ``start`` on; every piece but the last is ``length`` bytes long."""
        held = b""
        for data in self._parts(start):
            held += data
            while len(held) >= length:
                yield held[:length]
                held = held[length:]
        if held:
            yield held

    def _parts(self, start: int) -> Iterator[bytes]:
        yield self.head[start:]
        with self.path.open("rb") as stream:
            at = max(0, start - len(self.head))
            stream.seek(at)
            while data := stream.read(1 << 20):
                yield data
        end = len(self.head) + self.path.stat().st_size
        yield self.tail[max(0, start - end) :]

    def layer(self) -> Layer:
        """The layer as a manifest names it; reads the disk once."""
        digest = hashlib.sha256()
        for data in self.pieces(0, 1 << 20):
            digest.update(data)
        return Layer(
            title=self.path.name,
            digest=f"sha256:{digest.hexdigest()}",
            size=self.size,
            offset=len(self.head),
            inside=self.path.stat().st_size,
            form=TAR,
        )
