"""What is right is read: by the field's type, with defaults, and without anything heavy."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pipeline.definitions.model import Firmware, Interpreter, Kind, Locale, Publish, Release
from pipeline.foundation.paths import ROOT
from pipeline.foundation.process import run
from pipeline.foundation.units import Sha256, Size


def test_the_field_decides_the_type_not_yaml(shop: Any) -> None:
    shop.edit(shop.pins, '"1111111111111111', "1111111111111111")
    shop.edit(shop.pins, '1111111111111111"\n  size: 5000', "1111111111111111\n  size: 5000")
    pins = shop.load().pins
    assert pins["win"].version == "1.10"
    assert pins["virtio-win"].version == "no"
    assert pins["win"].sha256 == Sha256("1" * 64)
    assert pins["win"].size == 5000
    assert pins["win"].media is not None
    assert pins["win"].media.build == "26200.6584"


def test_a_digest_is_kept_in_lower_case(shop: Any) -> None:
    assert shop.load().pins["virtio-win"].sha256 == "abcdef" + "1" * 58


def test_an_image(shop: Any) -> None:
    image = shop.load().images["win11"]
    assert image.name == "win11"
    assert image.release is Release.WINDOWS_11
    assert image.machine.firmware is Firmware.UEFI
    assert image.machine.memory == Size.parse("4G")
    assert isinstance(image.machine.memory, Size)
    assert (image.machine.tpm, image.machine.secure_boot) == (True, False)
    assert image.locale == Locale()
    assert image.publish == Publish(keep=2)
    assert image.drivers.setup == ("viostor", "vioscsi", "NetKVM")


def test_steps(shop: Any) -> None:
    steps = {step.id: step for step in shop.load().images["win11"].provision}
    assert list(steps) == ["tool", "greet", "note", "setting", "update", "restart", "spooler"]
    assert steps["tool"].properties == {"ADDLOCAL": "All"}
    assert steps["greet"].arguments == ("-Name", "two words")
    assert steps["greet"].interpreter is Interpreter.POWERSHELL
    assert steps["setting"].value == "1"
    assert steps["restart"].when == "pending"
    assert (steps["spooler"].start, steps["spooler"].state) == ("disabled", "stopped")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("openssh: openssh\n", ""),
        ("openssh: openssh\n", "openssh:\n"),
        ("openssh: openssh\n", "openssh: ~\n"),
    ],
)
def test_openssh_may_be_left_out(shop: Any, old: str, new: str) -> None:
    shop.edit(shop.image, old, new)
    assert shop.load().images["win11"].openssh is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("content: hello", "ensure: absent"),
        ("content: hello", "pin: winfsp"),
        ("value: 1", "ensure: absent"),
        ("type: DWord\n    value: 1", "type: MultiString\n    values: [a, a]"),
        ("type: DWord\n    value: 1", "type: QWord\n    value: 18446744073709551615"),
        ("type: DWord\n    value: 1", 'value: ""'),
        ("state: stopped", r"binary: C:\Tools\spooler.exe" + "\n    depend: [RpcSs]"),
        ("kind: reboot", "kind: reboot\n    when: always"),
        ("user: golden", "user: Jürgen M"),
        ("host_name: builder", "host_name: 1-2"),
        ("time_zone: UTC", "time_zone: W. Europe Standard Time"),
        ("firmware: uefi", "firmware: &f uefi"),
    ],
)
def test_also_right(shop: Any, old: str, new: str) -> None:
    shop.edit(shop.image, old, new)
    assert shop.problems() == []


def test_a_long_file_is_not_taken_for_a_deep_one(shop: Any) -> None:
    steps = "".join(f"  - {{id: again-{count}, kind: reboot}}\n" for count in range(150))
    shop.edit(shop.image, "publish:\n", f"{steps}publish:\n")
    assert len(shop.load().images["win11"].provision) == 157


def test_a_payload_with_its_digest(shop: Any) -> None:
    digest = "acfa97b8895d4a834cb41405dace677e7c059764024621f44052bdcab04c8977"
    old = "file: scripts/greet.ps1"
    shop.edit(shop.image, old, f"{old}\n    sha256: {digest}")
    assert shop.load().images["win11"].provision[1].sha256 == digest


def test_a_rehearsal_may_be_small_and_run_stand_in_scripts(shop: Any) -> None:
    shop.edit(shop.image, "media: win\n", "media: stand-in\nrehearsal: true\n")
    shop.edit(shop.image, "edition: Windows 11 Enterprise Evaluation", "edition: Windows Rehearsal")
    shop.edit(shop.image, "memory: 4G\n  disk: 64G", "memory: 512M\n  disk: 2G")
    shop.edit(shop.image, "arguments: [-Name", "interpreter: stand-in\n    arguments: [-Name")
    assert shop.load().images["win11"].rehearsal


def test_a_local_file_is_a_pin(shop: Any) -> None:
    pin = shop.load().pins["winfsp"]
    assert (pin.kind, pin.file, pin.urls) == (Kind.MSI, "/srv/media/winfsp.msi", ())


def test_settings_by_default_name_only_images_that_exist(shop: Any) -> None:
    assert shop.load().settings.build == ()
    shop.write("images/windows-server-2025.yaml", (shop.root / shop.image).read_text())
    assert shop.load().settings.build == ("windows-server-2025",)


def test_settings_from_the_file(shop: Any) -> None:
    text = "build: [win11]\naccept_eula: true\nrebuild_before_expiry_days: 7\n"
    shop.write("golden.yaml", text)
    settings = shop.load().settings
    assert settings.build == ("win11",)
    assert settings.accept_eula
    assert settings.rebuild_before_expiry_days == 7


@pytest.mark.parametrize("text", ["", "# all left out\n", "\ufeffaccept_eula: false\n"])
def test_settings_may_be_empty(shop: Any, text: str) -> None:
    shop.write("golden.yaml", text)
    assert not shop.load().settings.accept_eula


def test_the_environment_wins(shop: Any) -> None:
    shop.write("golden.yaml", "build: []\naccept_eula: true\n")
    settings = shop.load({"GOLDEN_ACCEPT_EULA": "0", "GOLDEN_IMAGES": "win11, "}).settings
    assert settings.build == ("win11",)
    assert not settings.accept_eula


@pytest.mark.parametrize(
    ("text", "variable", "accepted"),
    [
        ("", "1", True),
        ("accept_eula: false\n", "1", True),
        ("accept_eula: true\n", "1", True),
        ("accept_eula: true\n", "0", False),
        ("accept_eula: true\n", "", True),
        ("", "0", False),
        ("", "", False),
    ],
)
def test_the_environment_accepts_the_licence_terms_or_does_not(
    shop: Any, text: str, variable: str, accepted: bool
) -> None:
    shop.write("golden.yaml", text)
    environ = {"GOLDEN_ACCEPT_EULA": variable}
    assert shop.load(environ).settings.accept_eula is accepted


def test_the_environment_accepts_the_licence_terms_without_any_file(shop: Any) -> None:
    assert not (shop.root / "golden.yaml").exists()
    assert shop.load({"GOLDEN_ACCEPT_EULA": "1"}).settings.accept_eula


def test_the_environment_names_the_key_that_signs_and_the_layers(shop: Any) -> None:
    shop.write("golden.yaml", "signing_key: keys/own\nlayers: here\n")
    assert shop.load().settings.signing_key == "keys/own"
    given = {"GOLDEN_SIGNING_KEY": "/run/secrets/key", "GOLDEN_LAYERS": "oci://a.example/layers"}
    settings = shop.load(given).settings
    assert (settings.signing_key, settings.layers) == (*given.values(),)
    assert shop.load({"GOLDEN_SIGNING_KEY": ""}).settings.signing_key == "keys/own"


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, pipeline.definitions.loader; print(' '.join(sys.modules))"
    done = run([sys.executable, "-c", code], deadline=60, env={"PYTHONPATH": str(ROOT)})
    heavy = {"requests", "lxml", "asyncssh", "pycdlib", "rich", "asyncio", "jsonschema", "difflib"}
    assert heavy.isdisjoint(done.output.split())
