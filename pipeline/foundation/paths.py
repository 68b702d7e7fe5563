"""Every path of the project, computed in one place.

All are absolute, from the checkout's root: nothing depends on the working directory. What a task
graph compares is made relative by :func:`shown`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def shown(path: Path) -> str:
    """The path as people and the task graph see it: relative to the root where it lies below it."""
    return os.fspath(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else os.fspath(path)


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where things lie: ``root`` holds the sources, ``output`` what is produced from them."""

    root: Path
    output: Path
    cache: Path

    @classmethod
    def default(cls) -> Workspace:
        """The checkout, with ``GOLDEN_OUTPUT`` and ``GOLDEN_CACHE`` from the environment obeyed."""
        output = Path(os.environ.get("GOLDEN_OUTPUT") or ROOT / "output").absolute()
        cache = Path(os.environ.get("GOLDEN_CACHE") or output / "cache").absolute()
        return cls(ROOT, output, cache)

    @property
    def images(self) -> Path:
        """Image definitions, one YAML each."""
        return self.root / "images"

    @property
    def checksums(self) -> Path:
        """Pins."""
        return self.root / "checksums"

    @property
    def templates(self) -> Path:
        """Answer files, guest scripts, consumer files."""
        return self.root / "templates"

    @property
    def artifacts(self) -> Path:
        """Verified artifacts, one folder per SHA-256."""
        return self.cache / "sha256"

    @property
    def partial(self) -> Path:
        """Downloads under way; nothing here is verified."""
        return self.cache / "partial"

    @property
    def rehearsal(self) -> Path:
        """What the rehearsal made: packages, medium, drivers."""
        return self.cache / "rehearsal"

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.output / "locks"

    @property
    def published(self) -> Path:
        """Published versions and their catalog."""
        return self.output / "publish"

    @property
    def catalog(self) -> Path:
        """The list of what is published."""
        return self.published / "index.json"

    @property
    def pulled(self) -> Path:
        """Pulled versions, in the layout of a store: ``<image>/<version>/``."""
        return self.cache / "images"

    @property
    def trust(self) -> Path:
        """What is remembered of each store: whose signature is trusted, the last catalog seen."""
        return self.cache / "trust"

    @property
    def instances(self) -> Path:
        """Running copies of images, one folder each."""
        return self.output / "instances"

    @property
    def keys(self) -> Path:
        """Keys that this host signs with; never published."""
        return self.output / "keys"

    def build(self, image: str) -> Path:
        """Everything that is built for one image."""
        return self.output / "build" / image

    def asked(self, image: str) -> Path:
        """When the rebuild of the image that somebody asked for began; there until it is done."""
        return self.build(image) / "asked.json"

    def stage(self, image: str, stage: str) -> Path:
        """The folder of one stage of one image."""
        return self.build(image) / stage

    def receipt(self, image: str, stage: str) -> Path:
        """The receipt of one stage of one image."""
        return self.stage(image, stage) / "receipt.json"

    def fetch_receipt(self, pin: str) -> Path:
        """The receipt of one verified artifact."""
        return self.output / "fetch" / f"{pin}.json"

    def failures(self, image: str) -> Path:
        """Evidence of failed runs of one image."""
        return self.output / "failures" / image
