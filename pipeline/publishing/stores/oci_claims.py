"""Claims on a lease, as tags of an OCI registry.

Goes in: claims. Comes out: the same, read back: a manifest without files whose annotations say who
and until when.
"""

from __future__ import annotations

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_bytes
from pipeline.publishing.stores import oci_manifest as manifests
from pipeline.publishing.stores.oci import Registry
from pipeline.publishing.stores.oci_lease import Claim

_NOTHING = b"{}"


class Claims:
    """The claims in one repository."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self._registry, self._repository = registry, repository

    def write(self, claim: Claim) -> None:
        """Put a claim up, or renew it."""
        digest = f"sha256:{sha256_bytes(_NOTHING)}"
        size = len(_NOTHING)
        self._registry.upload(self._repository, digest, size, lambda at: iter([_NOTHING[at:]]))
        # The tag is in it as well: equal manifests are one, and would be deleted as one.
        notes = {"tag": claim.tag, "holder": claim.holder, "until": f"{claim.until:.1f}"}
        empty = manifests.Layer("", digest, size, form=manifests.EMPTY)
        body = manifests.artifact([empty], notes, None)
        self._registry.put_manifest(self._repository, claim.tag, body, manifests.MANIFEST)

    def read(self, prefix: str) -> list[Claim]:
        """Every claim whose tag starts so."""
        tags = [tag for tag in self._registry.tags(self._repository) if tag.startswith(prefix)]
        return [claim for tag in tags if (claim := self._one(tag))]

    def _one(self, tag: str) -> Claim | None:
        url = f"{self._registry.url}/v2/{self._repository}/manifests/{tag}"
        accept = {"Accept": manifests.MANIFEST}
        response = self._registry.ask("GET", url, ok=(200, 404), headers=accept)
        if response.status_code == 404:  # withdrawn meanwhile
            return None
        notes = manifests.parse(response.content, url).annotations
        try:
            return Claim(tag, notes.get("holder", "somebody"), float(notes.get("until", "0")))
        except ValueError:
            return None

    def withdraw(self, tag: str) -> None:
        """Take a claim down; where nothing may be deleted it is made to have ended."""
        digest = self._registry.digest(self._repository, tag, manifests.MANIFEST)
        try:
            if digest:
                self._registry.delete(self._repository, digest)
        except PipelineError:
            self.write(Claim(tag, "nobody", 0.0))
