"""The images and pins that ship: complete, consistent, and as safe as they are meant to be."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from pipeline.definitions.loader import load
from pipeline.definitions.model import Image, Kind, Pin, Release
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.units import Size

DEFINITIONS = load(Workspace(ROOT, ROOT / "output", ROOT / "output" / "cache"), {})
IMAGES, PINS = DEFINITIONS.images, DEFINITIONS.pins
WINDOWS = [image for image in IMAGES.values() if not image.rehearsal]
FETCHED = [pin for pin in PINS.values() if pin.urls]
CLIENTS = {"windows-10", "windows-11", "windows-11-ltsc"}
SERVERS = {f"windows-server-{year}{core}" for year in (2019, 2022, 2025) for core in ("", "-core")}


def test_the_images_that_ship() -> None:
    assert set(IMAGES) == CLIENTS | SERVERS | {"rehearsal", "rehearsal-bios"}
    assert DEFINITIONS.settings.build[0] in IMAGES
    assert not DEFINITIONS.settings.accept_eula


@pytest.mark.parametrize("image", WINDOWS, ids=lambda image: image.name)
def test_windows_images_use_the_safe_defaults(image: Image) -> None:
    used = [PINS[name] for name in (image.media, image.drivers.pin, image.winfsp)]
    assert [pin.warning for pin in used] == [None, None, None]
    assert PINS[image.drivers.pin].version == "0.1.302"
    assert PINS[image.winfsp].version == "2.2.26215"
    assert not image.publish.i_may_redistribute


@pytest.mark.parametrize("image", WINDOWS, ids=lambda image: image.name)
def test_only_server_2025_brings_an_ssh_server(image: Image) -> None:
    assert (image.openssh is None) == (image.release is Release.SERVER_2025)


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_core_images_install_core_editions(name: str) -> None:
    assert IMAGES[name].edition.endswith("CORE") == name.endswith("-core")


@pytest.mark.parametrize("name", ["windows-11", "windows-11-ltsc"])
def test_windows_11_gets_what_it_asks_for(name: str) -> None:
    machine = IMAGES[name].machine
    assert (machine.tpm, machine.secure_boot) == (True, True)
    assert machine.disk == Size.parse("64G")


@pytest.mark.parametrize("pin", FETCHED, ids=lambda pin: pin.name)
def test_addresses_name_the_version_they_give(pin: Pin) -> None:
    for url in pin.urls:
        if "/SERVER_EVAL_" in url:
            continue  # the one address without a version
        assert pin.version.replace(".", "_") in url.replace(".", "_")
        assert not re.search("/(latest|stable)-", url)


def test_each_digest_stands_for_one_pin() -> None:
    digests = [pin.sha256 for pin in FETCHED]
    assert None not in digests
    assert len(set(digests)) == len(digests)


def test_each_medium_says_what_it_holds() -> None:
    """Only then can an image of it be rendered and checked without the medium."""
    media = [pin for pin in FETCHED if pin.kind is Kind.ISO and pin.name.startswith("windows")]
    assert {PINS[image.media].name for image in WINDOWS} <= {pin.name for pin in media}
    for pin in media:
        facts = pin.media
        assert facts is not None, pin.name
        assert facts.editions, pin.name
        assert facts.build, pin.name
        assert facts.architecture == "amd64"
        assert facts.language == "en-US"


def test_media_facts() -> None:
    media = {pin.name: pin.media for pin in FETCHED if pin.media}
    assert {facts.evaluation_days for name, facts in media.items() if "server" in name} == {180}
    assert {facts.evaluation_days for name, facts in media.items() if "server" not in name} == {90}
    assert all(facts.build == PINS[name].version for name, facts in media.items())


@pytest.mark.parametrize("name", ["winfsp-2.1", "winfsp-2.0"])
def test_the_old_winfsp_warns(name: str) -> None:
    warning = PINS[name].warning or ""
    assert "CVE-2026-3006" in warning
    assert "CVE-2026-7162" in warning


def test_virtio_win_has_mirrors_and_its_bad_release_warns() -> None:
    assert len(PINS["virtio-win"].urls) == 3
    assert PINS["virtio-win-0.1.285"].warning


def test_the_rehearsal_is_made_here() -> None:
    made = {pin.made: pin.kind for pin in PINS.values() if pin.made}
    assert made == {
        "windows": Kind.ISO,
        "drivers": Kind.ISO,
        "winfsp": Kind.MSI,
        "openssh": Kind.MSI,
    }
    assert {image.name for image in IMAGES.values() if image.rehearsal} == {
        "rehearsal",
        "rehearsal-bios",
    }


def test_both_rehearsals_differ_in_firmware_alone() -> None:
    one, two = IMAGES["rehearsal"], IMAGES["rehearsal-bios"]
    assert one.provision == two.provision
    assert (one.machine.firmware, two.machine.firmware) == ("uefi", "bios")
    assert one.machine.disk == two.machine.disk


def test_the_stand_in_script_greets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_C", str(tmp_path))
    runpy.run_path(str(ROOT / "images" / "rehearsal" / "hello.py"))
    assert (tmp_path / "Golden" / "hello.txt").read_text() == "Hello from the rehearsal.\n"
