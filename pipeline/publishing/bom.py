"""The bill of materials of a published disk, in CycloneDX.

Goes in: the manifest, and what was put into the disk. Comes out: ``bom.cdx.json``: Windows, drivers
with the versions of their ``.inf``, WinFsp, OpenSSH, scripts, each with its digest where it has
one. The same inputs give the same bytes: the serial number comes from the build id and the version,
the time is that of the build.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.definitions.model import Pin
from pipeline.foundation.files import sha256_bytes

if TYPE_CHECKING:
    from cyclonedx.model.component import Component, ComponentType

    from pipeline.inputs.drivers import Driver

NAME = "bom.cdx.json"
_SPACE = uuid.UUID("5a5f3f6c-6d0d-5b1e-9c47-7c4d5a0f2b11")
_PREFIX = "golden-windows"
# The names under which vulnerabilities of Windows are recorded, by release and build.
_PRODUCTS = {
    ("2k19", "17763"): "windows_server_2019",
    ("2k22", "20348"): "windows_server_2022",
    ("2k25", "26100"): "windows_server_2025",
    ("w10", "19044"): "windows_10_21h2",
    ("w10", "19045"): "windows_10_22h2",
    ("w11", "22631"): "windows_11_23h2",
    ("w11", "26100"): "windows_11_24h2",
    ("w11", "26200"): "windows_11_25h2",
}


@dataclass(frozen=True, slots=True)
class Contents:
    """What was put into the disk besides Windows.

    ``packages`` maps what something is called to its pin (``winfsp``, ``openssh``, updates, …);
    ``scripts`` maps the files that the project wrote or ran there to their SHA-256.
    """

    drivers: Sequence[Driver] = ()
    packages: Mapping[str, Pin] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)


def serial(manifest: Mapping[str, Any]) -> uuid.UUID:
    """The document's serial number: another one for each version, the same at every making."""
    return uuid.uuid5(_SPACE, f"{manifest['build_id']}/{manifest['version']}")


def bom(manifest: Mapping[str, Any], contents: Contents) -> bytes:
    """The document, as JSON."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.output.json import JsonV1Dot6

    root = _disk(manifest)
    parts = [
        _windows(manifest),
        *map(_driver, contents.drivers),
        *(_package(name, pin) for name, pin in sorted(contents.packages.items())),
        *_openssh_of_windows(manifest, contents),
        *(_script(name, digest) for name, digest in sorted(contents.scripts.items())),
    ]
    built = datetime.datetime.fromisoformat(manifest["built_at"])
    metadata = BomMetaData(component=root, timestamp=built, tools=_tools(manifest))
    document = Bom(serial_number=serial(manifest), metadata=metadata, components=parts)
    document.register_dependency(root, parts)
    return (JsonV1Dot6(document).output_as_string(indent=2) + "\n").encode()


def _component(
    kind: ComponentType,
    name: str,
    version: str,
    sha256: str = "",
    properties: Mapping[str, str] | None = None,
    **more: Any,
) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component

    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else []
    named = [Property(name=f"{_PREFIX}:{k}", value=v) for k, v in (properties or {}).items()]
    more.setdefault("bom_ref", f"{kind.value}/{name}@{version}")
    return Component(
        type=kind, name=name, version=version or None, hashes=hashes, properties=named, **more
    )


def _disk(manifest: Mapping[str, Any]) -> Component:
    from cyclonedx.model.component import ComponentType

    return _component(
        ComponentType.PLATFORM,
        manifest["image"],
        manifest["version"],
        manifest["disk"]["sha256"],
        {"build-id": manifest["build_id"], "rehearsal": str(manifest["rehearsal"]).lower()},
        description=manifest["title"],
    )


def _windows(manifest: Mapping[str, Any]) -> Component:
    from cyclonedx.model.component import ComponentType

    windows = manifest["windows"]
    facts = {name: windows[name] for name in ("architecture", "language", "release")}
    who = {} if manifest["rehearsal"] else {"publisher": "Microsoft Corporation"}
    known = cpe(windows) if who else None
    return _component(
        ComponentType.OPERATING_SYSTEM,
        windows["edition"],
        windows["build"],
        properties=facts,
        cpe=known,
        **who,
    )


def cpe(windows: Mapping[str, str]) -> str | None:
    """What scanners look Windows up by; None for a build that they have no name for."""
    product = _PRODUCTS.get((windows["release"], windows["build"].partition(".")[0]))
    processor = {"amd64": "x64", "arm64": "arm64"}.get(windows["architecture"], "*")
    if product is None:
        return None
    return f"cpe:2.3:o:microsoft:{product}:10.0.{windows['build']}:*:*:*:*:*:{processor}:*"


def _driver(driver: Driver) -> Component:
    from cyclonedx.model.component import ComponentType

    files = [
        _component(
            ComponentType.FILE, name, "", sha256_bytes(data), bom_ref=f"{driver.name}/{name}"
        )
        for name, data in sorted(driver.files.items())
    ]
    return _component(
        ComponentType.DEVICE_DRIVER,
        driver.name,
        driver.version,
        properties={"inf": driver.inf},
        components=files,
    )


def _package(name: str, pin: Pin) -> Component:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
    from cyclonedx.model.component import ComponentType

    kind = ExternalReferenceType.DISTRIBUTION
    where = [ExternalReference(type=kind, url=XsUri(url)) for url in pin.urls]
    digest = pin.sha256 or ""
    return _component(
        ComponentType.APPLICATION,
        name,
        pin.version,
        digest,
        {"pin": pin.name},
        external_references=where,
    )


def _openssh_of_windows(manifest: Mapping[str, Any], contents: Contents) -> Iterator[Component]:
    """Where no package was installed, the server is the one that this Windows brings along."""
    from cyclonedx.model.component import ComponentType

    if "openssh" not in contents.packages:
        yield _component(
            ComponentType.APPLICATION,
            "openssh",
            manifest["windows"]["build"],
            properties={"part-of": manifest["windows"]["edition"]},
        )


def _script(name: str, sha256: str) -> Component:
    from cyclonedx.model.component import ComponentType

    return _component(ComponentType.FILE, name, "", sha256, bom_ref=f"script/{name}")


def _tools(manifest: Mapping[str, Any]) -> Any:
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository

    tools = sorted(manifest["tools"].items())
    return ToolRepository(
        components=[
            _component(ComponentType.APPLICATION, name, version, bom_ref=f"tool/{name}")
            for name, version in tools
            if name != "accelerator"  # which is no program
        ]
    )
