"""The bill of materials, by CycloneDX's own schema; and that it is the same at every making."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pipeline.inputs.drivers import Driver
from pipeline.publishing.bom import Contents, bom, cpe, serial
from tests.unit.publishing.samples import definitions, sample

DEFINED = definitions()
MANIFEST = sample("windows-11", DEFINED)
WINFSP = DEFINED.pins[DEFINED.images["windows-11"].winfsp]
CONTENTS = Contents(
    drivers=[
        Driver("viostor", "viostor.inf", "100.100.104.30200", {"viostor.inf": b"[Version]"}),
        Driver("viofs", "viofs.inf", "100.100.104.30201", {"viofs.inf": b"", "viofs.sys": b"MZ"}),
    ],
    packages={"winfsp": WINFSP},
    scripts={"firstboot.ps1": "a" * 64},
)


def document(contents: Contents = CONTENTS) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(bom(MANIFEST, contents))
    return made


def part(name: str) -> dict[str, Any]:
    (found,) = [c for c in document()["components"] if c["name"] == name]
    return dict(found)


@pytest.mark.parametrize("image", ["windows-11", "windows-server-2025", "rehearsal"])
def test_it_is_what_cyclonedx_says(image: str) -> None:
    made = bom(sample(image, DEFINED), CONTENTS).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made) is None


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert bom(MANIFEST, CONTENTS) == bom(MANIFEST, CONTENTS)
    assert document()["serialNumber"] == serial(MANIFEST).urn
    assert serial(MANIFEST) != serial(MANIFEST | {"version": "1.1-20261124.2"})
    assert document()["metadata"]["timestamp"].startswith("2026-11-24T10:30:00")


def test_windows_is_the_operating_system() -> None:
    windows = part(MANIFEST["windows"]["edition"])
    assert windows["type"] == "operating-system"
    assert windows["version"] == MANIFEST["windows"]["build"]
    assert windows["publisher"] == "Microsoft Corporation"
    build = MANIFEST["windows"]["build"]
    assert windows["cpe"] == f"cpe:2.3:o:microsoft:windows_11_25h2:10.0.{build}:*:*:*:*:*:x64:*"


def test_a_rehearsal_is_not_taken_for_windows() -> None:
    made = json.loads(bom(sample("rehearsal", DEFINED), CONTENTS))
    (system,) = [c for c in made["components"] if c["type"] == "operating-system"]
    assert not {"publisher", "cpe"} & set(system)


@pytest.mark.parametrize("name", sorted(set(DEFINED.images) - {"rehearsal", "rehearsal-bios"}))
def test_scanners_have_a_name_for_every_shipped_windows(name: str) -> None:
    assert cpe(sample(name, DEFINED)["windows"])


def test_drivers_have_the_versions_of_their_inf_and_the_digests_of_their_files() -> None:
    viofs = part("viofs")
    assert (viofs["type"], viofs["version"]) == ("device-driver", "100.100.104.30201")
    files = {c["name"]: c["hashes"][0]["content"] for c in viofs["components"]}
    assert set(files) == {"viofs.inf", "viofs.sys"}
    assert len(files["viofs.sys"]) == 64


def test_packages_have_digest_and_address() -> None:
    winfsp = part("winfsp")
    assert winfsp["hashes"][0]["content"] == WINFSP.sha256
    assert winfsp["externalReferences"][0]["url"] == WINFSP.urls[0]


def test_openssh_is_listed_whether_installed_or_brought_along() -> None:
    assert part("openssh")["version"] == MANIFEST["windows"]["build"]
    installed = Contents(packages={"openssh": WINFSP})
    (found,) = [c for c in document(installed)["components"] if c["name"] == "openssh"]
    assert found["version"] == WINFSP.version


def test_scripts_and_everything_else_hang_from_the_disk() -> None:
    made = document()
    assert part("firstboot.ps1")["hashes"][0]["content"] == "a" * 64
    root = made["metadata"]["component"]
    assert root["hashes"][0]["content"] == MANIFEST["disk"]["sha256"]
    (of_root,) = [d for d in made["dependencies"] if d["ref"] == root["bom-ref"]]
    assert set(of_root["dependsOn"]) == {c["bom-ref"] for c in made["components"]}
