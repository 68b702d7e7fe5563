"""How a published disk came to be: SLSA provenance, as a statement of in-toto.

Goes in: the manifest, the image's definition, its pins, and the key that signs. Comes out:
``provenance.json``, without a host's name or path. It carries no signature of its own: like every
file of a version it is listed in ``SHA256SUMS``, which is signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.definitions.identity import identity
from pipeline.definitions.model import Image, Pin

NAME = "provenance.json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:golden-windows:build:1"
# What a rehearsal's artifact is known by: the digest of the recipe that it is made from.
RECIPE = "goldenWindowsRecipe"


def provenance(
    manifest: Mapping[str, Any],
    image: Image,
    pins: Iterable[Pin],
    signer: str,
    files: Mapping[str, str],
) -> dict[str, Any]:
    """The statement; ``signer`` is the key's fingerprint, ``files`` are by-products' digests."""
    return {
        "_type": STATEMENT,
        "subject": [_descriptor(manifest["disk"]["file"], manifest["disk"]["sha256"])],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": _definition(manifest, image, pins),
            "runDetails": {
                "builder": {
                    "id": f"urn:golden-windows:builder:{signer}",
                    "version": dict(manifest["tools"]),
                },
                "metadata": {
                    "invocationId": f"{manifest['build_id']}/{manifest['version']}",
                    "finishedOn": manifest["built_at"],
                },
                "byproducts": [_descriptor(name, files[name]) for name in sorted(files)],
            },
        },
    }


def _definition(manifest: Mapping[str, Any], image: Image, pins: Iterable[Pin]) -> dict[str, Any]:
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {"image": identity(image)},
        "internalParameters": {
            "buildId": manifest["build_id"],
            "stages": dict(manifest["stages"]),
        },
        "resolvedDependencies": [_dependency(pin, manifest["inputs"]) for pin in pins],
    }


def _descriptor(name: str, sha256: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256}}


def _dependency(pin: Pin, inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A pin; a file of the build host has no address that may be told."""
    kind, _, value = inputs[pin.name]["identity"].partition(":")
    return {
        "name": pin.name,
        "digest": {RECIPE if kind == "recipe" else kind: value},
        **({"uri": pin.urls[0]} if pin.urls else {}),
        "annotations": {"version": pin.version},
    }
