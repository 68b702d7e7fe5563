"""An OCI registry as a store.

    <base>:catalog            the catalog: an artifact whose files lie within its manifest
    <base>/<image>:<version>  a containerDisk: one layer with /disk/disk.qcow2, owned by 107:107
    <base>/<image>:<version>.files   every other file of the version, an artifact on that image
    <base>/<image>:latest     the newest version
    <base>/layers:<name>      any other bundle, an artifact with a layer per file

Goes in: ``oci://registry/repository``, files. Comes out: blobs first, tags last. The disk is read
out of its layer by range, as its place in it is fixed: no archive is ever unpacked. Reads go
through the project's own HTTP client with its limits.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_bytes, sha256_file
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress
from pipeline.foundation.units import human_bytes
from pipeline.inputs.fetch_meter import Meter
from pipeline.inputs.fetch_types import HttpError, Limits, whole
from pipeline.inputs.http import Client
from pipeline.publishing.stores import oci_lease
from pipeline.publishing.stores import oci_manifest as manifests
from pipeline.publishing.stores.base import (
    DEADLINE,
    Source,
    Taken,
    TooLarge,
    Waiting,
    WritableStore,
    pieces,
)
from pipeline.publishing.stores.oci import PIECE, Pieces, Registry
from pipeline.publishing.stores.oci_claims import Claims
from pipeline.publishing.stores.oci_manifest import DiskLayer, Layer, Manifest
from pipeline.publishing.stores.oci_reading import Authorised, Inline, Within

CATALOG = "catalog"
LATEST = "latest"
FILES = ".files"
INLINE = 256 << 10
"""Bytes up to which small documents lie within their manifest: one request reads them."""
_PLACE = re.compile(r"oci://([A-Za-z0-9.\-\[\]:]+)/([a-z0-9]+(?:[._/-][a-z0-9]+)*)/?")
_MISSING = (404, 410)


class OciStore(WritableStore):
    """``oci://registry/repository``; plain HTTP on this host only."""

    def __init__(
        self, place: str, tell: Callable[[str], None], *, plain: bool, limits: Limits | None = None
    ) -> None:
        match = _PLACE.fullmatch(place)
        if not match:
            raise PipelineError(
                f"{place}: is not oci://registry/repository",
                hint="such as oci://ghcr.io/somebody/golden, without a tag",
            )
        self.title, self.remote = place, True
        self._base = match[2]
        self._plain = plain
        self.registry = Registry(match[1], plain=plain)
        self._client = Client(limits, downgrade=tell)
        self._fetcher = Authorised(self._client, self.registry)
        self._known: dict[str, Manifest | None] = {}

    def close(self) -> None:
        """Drop connections."""
        self._client.close()

    # Reading

    def source(self, key: str, name: str) -> Source:
        """See :class:`WritableStore`."""
        repository, tag = self._where(key)
        if key not in self._known:
            self._known[key] = self._manifest(repository, tag)
        if (layer := _layer(self._known[key], name)) is None and key:
            more = f"{key}{FILES}"
            if more not in self._known:
                self._known[more] = self._manifest(repository, f"{tag}{FILES}")
            layer = _layer(self._known[more], name)
        if layer is None:
            raise HttpError(f"{self.title}: has no {name} of {key or 'the catalog'}", status=404)
        url = f"{self.registry.url}/v2/{repository}/blobs/{layer.digest}"
        if layer.data is not None:
            return Source(url, Inline(layer.data))
        if layer.inside is not None:
            return Source(url, Within(self._fetcher, layer.offset, layer.inside))
        return Source(url, self._fetcher)

    def documents(self, key: str, names: Mapping[str, int]) -> dict[str, bytes | None]:
        """See :class:`WritableStore`; all from one manifest, as it is now."""
        self._forget(key)
        return super().documents(key, names)

    def _where(self, key: str) -> tuple[str, str]:
        if not key:
            return self._base, CATALOG
        folder, _, tag = key.rpartition("/")
        return f"{self._base}/{folder}" if folder else self._base, tag

    def _manifest(self, repository: str, reference: str) -> Manifest | None:
        url = f"{self.registry.url}/v2/{repository}/manifests/{reference}"
        try:
            with self._fetcher.get(
                url, within=DEADLINE, headers={"Accept": manifests.MANIFEST}
            ) as answer:
                return manifests.parse(whole(answer, manifests.LARGEST, TooLarge), url)
        except HttpError as error:
            if error.status in _MISSING:
                return None
            raise

    def _forget(self, key: str) -> None:
        for name in (key, f"{key}{FILES}"):
            self._known.pop(name, None)

    # Writing

    def has(self, key: str) -> bool:
        """See :class:`WritableStore`; a version's own tag comes last."""
        return self._manifest(*self._where(key)) is not None

    def push(
        self, key: str, files: Mapping[str, Path], progress: Progress, *, disk: str = ""
    ) -> None:
        """See :class:`WritableStore`."""
        self._forget(key)
        if self.has(key):
            self._refuse_other(key, files)
            return
        repository, tag = self._where(key)
        others = {name: path for name, path in files.items() if name != disk}
        image = self._push_disk(repository, files[disk], progress, key) if disk else None
        layers = [self._send(repository, name, path, progress) for name, path in others.items()]
        subject = manifests.descriptor(image) if image else None
        body = manifests.artifact(layers, _notes(key), subject)
        self._blob(repository, b"{}")
        self._put(repository, f"{tag}{FILES}" if image else tag, body)
        if image:
            self._put(repository, tag, image)
        self._forget(key)

    def _push_disk(self, repository: str, path: Path, progress: Progress, key: str) -> bytes:
        """The disk's layer and its image, by digest: nothing has a tag yet."""
        progress.phase(f"hashing {path.name}")
        made = DiskLayer.of(path)
        layer = made.layer()
        config = manifests.image_config(layer)
        self._blob(repository, config)
        self._upload(repository, layer, lambda at: made.pieces(at, PIECE), progress)
        image = manifests.image(layer, config, _notes(key))
        self._put(repository, f"sha256:{sha256_bytes(image)}", image)
        return image

    def _send(self, repository: str, name: str, path: Path, progress: Progress) -> Layer:
        layer = Layer(name, f"sha256:{sha256_file(path)}", path.stat().st_size)
        self._upload(repository, layer, lambda at: pieces(path, PIECE, at), progress)
        return layer

    def _upload(self, repository: str, layer: Layer, parts: Pieces, progress: Progress) -> None:
        progress.phase(f"uploading {layer.title}")
        meter = Meter(progress, 0, layer.size)

        def counted(start: int) -> Iterator[bytes]:
            at = start
            for data in parts(start):
                yield data
                at += len(data)
                meter.at(at)

        if not self.registry.upload(repository, layer.digest, layer.size, counted):
            progress.update(f"{layer.title} ({human_bytes(layer.size)}) is there already")

    def _blob(self, repository: str, data: bytes) -> None:
        digest = f"sha256:{sha256_bytes(data)}"
        self.registry.upload(repository, digest, len(data), lambda at: iter([data[at:]]))

    def _put(self, repository: str, reference: str, body: bytes) -> None:
        self.registry.put_manifest(repository, reference, body, manifests.MANIFEST)

    def _refuse_other(self, key: str, files: Mapping[str, Path]) -> None:
        repository, tag = self._where(key)
        there = [self._manifest(repository, name) for name in (tag, f"{tag}{FILES}")]
        for name, path in files.items():
            layer = next((found for one in there if (found := _layer(one, name))), None)
            size = path.stat().st_size
            same = layer is not None and size == (layer.inside or layer.size)
            small = layer is not None and layer.inside is None and size < 1 << 20
            if not same or (small and layer and layer.digest != f"sha256:{sha256_file(path)}"):
                raise Taken(f"{self.title}: has {key} already, with another {name}")

    def replace(self, key: str, documents: Mapping[str, bytes]) -> None:
        """See :class:`WritableStore`; one manifest, so all documents change at once."""
        repository, tag = self._where(key)
        inline = sum(map(len, documents.values())) <= INLINE
        layers = []
        for name, data in documents.items():
            self._blob(repository, data)
            digest = f"sha256:{sha256_bytes(data)}"
            layers.append(Layer(name, digest, len(data), data=data if inline else None))
        self._blob(repository, b"{}")
        self._put(repository, tag, manifests.artifact(layers, {}, None))
        self._forget(key)

    def point(self, key: str) -> None:
        """See :class:`WritableStore`: the tag ``latest``."""
        repository, tag = self._where(key)
        if found := self._manifest(repository, tag):
            self._put(repository, LATEST, found.body)

    def remove(self, key: str) -> None:
        """See :class:`WritableStore`; the registry's own collection frees the space."""
        repository, tag = self._where(key)
        for name in (tag, f"{tag}{FILES}"):
            if digest := self.registry.digest(repository, name, manifests.MANIFEST):
                self.registry.delete(repository, digest)
        self._forget(key)

    def lease(self, name: str, waiting: Waiting) -> contextlib.AbstractContextManager[None]:
        """See :class:`WritableStore`; renewed by a thread, so over connections of its own."""
        registry = Registry(self.registry.host, plain=self._plain)
        claims = Claims(registry, f"{self._base}/leases")
        where = sha256_bytes(self.title.encode())[:16]
        local = Workspace.default().cache / "leases" / where
        return oci_lease.lease(claims, name, waiting, local)


def _layer(manifest: Manifest | None, name: str) -> Layer | None:
    return manifest.layer(name) if manifest else None


def _notes(key: str) -> dict[str, str]:
    """Annotations that say what a bundle is."""
    image, _, version = key.rpartition("/")
    return {
        "org.opencontainers.image.title": image or key,
        "org.opencontainers.image.version": version,
    }
