"""Manifests of shipped images, as publishing makes them."""

from __future__ import annotations

import datetime
from typing import Any

from pipeline.definitions.loader import load
from pipeline.definitions.model import Definitions
from pipeline.foundation.paths import Workspace
from pipeline.publishing.manifest import Built, Disk, manifest

BUILD_ID = "5" * 64
MOMENT = datetime.datetime(2026, 11, 24, 10, 30, tzinfo=datetime.UTC)
DISK = Disk(size=5_000, virtual_size=(64 << 30) + 1, sha256="d" * 64)
BUILT = Built(
    build_id=BUILD_ID,
    stages={"install": "1" * 64, "seal": "2" * 64},
    tools={"qemu": "10.0.2", "python": "3.11.2", "accelerator": "kvm"},
    timings={"install": 900.5},
    checks={"passed": 48, "failed": 0},
)


def definitions() -> Definitions:
    return load(Workspace.default(), {})


def sample(name: str, made: Definitions | None = None) -> dict[str, Any]:
    """The manifest of a version of a shipped image, without building anything."""
    made = made or definitions()
    image = made.images[name]
    medium = made.pins[image.media]
    assert medium.media is not None
    pins = [medium, made.pins[image.winfsp]]
    identities = {
        pin.name: f"sha256:{pin.sha256}" if pin.sha256 else f"recipe:{'e' * 64}" for pin in pins
    }
    version = f"{medium.media.build}-20261124.1"
    return manifest(image, medium.media, pins, identities, DISK, BUILT, version, MOMENT)
