"""Answer files: what they say for each release, firmware and machine."""

from __future__ import annotations

import dataclasses
import re
import shutil
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from pipeline.answers.credentials import Credentials
from pipeline.answers.render import LETTERS, labconfig, render, sources
from pipeline.answers.validate import validate
from pipeline.definitions.model import (
    Edition,
    Firmware,
    Image,
    Locale,
    Machine,
    MediaFacts,
    Release,
)
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import Size
from tests.unit.answers import samples

NS = {"u": "urn:schemas-microsoft-com:unattend"}
SERVERS = [Release.SERVER_2019, Release.SERVER_2022, Release.SERVER_2025]
CLIENTS = [Release.WINDOWS_10, Release.WINDOWS_11]


def values(xml: str, path: str) -> list[str]:
    """The texts at an XPath whose names are those of answer files."""
    steps = "/".join(
        step if step in ("", ".", "..", "*") else f"u:{step}" for step in path.split("/")
    )
    found = etree.fromstring(xml.encode()).xpath(steps, namespaces=NS)
    assert isinstance(found, list)
    return [str(getattr(item, "text", item)) for item in found]


def autounattend(image: Image | None = None, facts: MediaFacts = samples.FACTS) -> str:
    """The answer file for Setup."""
    return samples.answers(image, facts)["autounattend.xml"]


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize("firmware", list(Firmware))
@pytest.mark.parametrize("given_tpm", [True, False])
def test_every_combination_is_flawless(
    release: Release, firmware: Firmware, given_tpm: bool
) -> None:
    machine = Machine(firmware=firmware, tpm=given_tpm, secure_boot=given_tpm)
    for name, text in samples.answers(samples.image(release, machine)).items():
        assert validate(text.encode(), name) == []


@pytest.mark.parametrize("image", sorted(samples.shipped()))
def test_every_shipped_image_is_flawless(image: str) -> None:
    for name, data in samples.rendered(image).items():
        assert validate(data, name) == []


def test_the_edition_is_chosen_by_name_and_escaped() -> None:
    xml = autounattend()
    assert values(xml, "//MetaData/Key") == ["/IMAGE/NAME"]
    assert values(xml, "//MetaData/Value") == [samples.EDITION]
    assert "Sample &amp; Co" in xml


@pytest.mark.parametrize("release", list(Release))
def test_there_is_no_key_and_no_question_for_one(release: Release) -> None:
    xml = autounattend(samples.image(release))
    assert values(xml, "//ProductKey/Key") == []
    assert values(xml, "//ProductKey/WillShowUI") == ["Never"]


def test_uefi_has_esp_msr_and_windows_last() -> None:
    xml = autounattend()
    assert values(xml, "//CreatePartition/Type") == ["EFI", "MSR", "Primary"]
    assert values(xml, "//CreatePartition/Size") == ["260", "16"]
    assert values(xml, "//CreatePartition/Extend") == ["true"]
    assert values(xml, "//ModifyPartition/Format") == ["FAT32", "NTFS"]
    assert values(xml, "//InstallTo/PartitionID") == ["3"]


def test_bios_has_an_active_system_partition_and_windows_last() -> None:
    xml = autounattend(samples.image(machine=Machine(firmware=Firmware.BIOS)))
    assert values(xml, "//CreatePartition/Type") == ["Primary", "Primary"]
    assert values(xml, "//CreatePartition/Size") == ["500"]
    assert values(xml, "//ModifyPartition/Active") == ["true"]
    assert values(xml, "//ModifyPartition/Format") == ["NTFS", "NTFS"]
    assert values(xml, "//InstallTo/PartitionID") == ["2"]


def test_no_partition_is_given_a_letter() -> None:
    assert values(autounattend(), "//ModifyPartition/Letter") == []


def test_language_comes_from_the_medium_and_region_from_the_image() -> None:
    facts = dataclasses.replace(samples.FACTS, language="de-DE")
    locale = Locale("fr-FR", "040c:0000040c", "Romance Standard Time")
    xml = autounattend(dataclasses.replace(samples.image(), locale=locale), facts)
    assert set(values(xml, "//UILanguage")) == {"de-DE"}
    assert set(values(xml, "//UserLocale")) == {"fr-FR"}
    assert set(values(xml, "//InputLocale")) == {"040c:0000040c"}
    assert values(xml, "//TimeZone") == ["Romance Standard Time"]


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (Machine(tpm=True, secure_boot=True), []),
        (Machine(tpm=True), ["BypassSecureBootCheck", "BypassCPUCheck"]),
        (Machine(secure_boot=True), ["BypassTPMCheck", "BypassCPUCheck"]),
        (
            Machine(memory=Size.parse("2G"), disk=Size.parse("40G")),
            [
                "BypassTPMCheck",
                "BypassSecureBootCheck",
                "BypassCPUCheck",
                "BypassRAMCheck",
                "BypassStorageCheck",
            ],
        ),
    ],
)
def test_checks_of_windows_11_are_passed_over_only_where_needed(
    machine: Machine, expected: list[str]
) -> None:
    image = samples.image(Release.WINDOWS_11, machine)
    assert labconfig(image) == expected
    assert re.findall(r"LabConfig /v (\w+)", autounattend(image)) == expected


@pytest.mark.parametrize("release", [*SERVERS, Release.WINDOWS_10])
def test_no_other_release_passes_checks_over(release: Release) -> None:
    assert "LabConfig" not in autounattend(samples.image(release))


@pytest.mark.parametrize("release", CLIENTS)
def test_clients_are_not_encrypted_and_have_no_administrator(release: Release) -> None:
    for text in samples.answers(samples.image(release)).values():
        assert values(text, "//PreventDeviceEncryption") == ["true"]
        assert values(text, "//HideOnlineAccountScreens") == ["true"]
        assert values(text, "//AdministratorPassword") == []
        assert ("BypassNRO" in text) == (release is Release.WINDOWS_11)


@pytest.mark.parametrize("release", SERVERS)
def test_servers_have_an_administrator_and_no_settings_of_clients(release: Release) -> None:
    xml = autounattend(samples.image(release))
    assert len(values(xml, "//AdministratorPassword/Value")) == 1
    for setting in ("PreventDeviceEncryption", "HideOnlineAccountScreens", "BypassNRO"):
        assert setting not in xml


def test_there_is_exactly_one_automatic_logon() -> None:
    xml = autounattend()
    assert values(xml, "//AutoLogon/LogonCount") == ["1"]
    assert values(xml, "//AutoLogon/Username") == values(xml, "//LocalAccount/Name") == ["golden"]
    assert set(values(xml, "//PlainText")) == {"false"}


def test_every_pass_announces_itself_first() -> None:
    xml = autounattend()
    commands = values(xml, "//RunSynchronousCommand/Path") + values(xml, "//CommandLine")
    beacons = [command for command in commands if "GOLDEN pass" in command]
    assert beacons == [
        f"cmd /c echo GOLDEN pass {name}> COM1"
        for name in ("windowsPE", "specialize", "oobeSystem")
    ]
    assert values(xml, "//CommandLine")[0] == beacons[2]


def test_the_agent_is_looked_for_on_every_letter() -> None:
    command = values(autounattend(), "//CommandLine")[1]
    match = re.fullmatch(
        r"cmd\.exe /d /c for %d in \(([A-Z ]+)\) do if exist %d:\\golden\\agent\.ps1 "
        r"powershell\.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass "
        r"-File %d:\\golden\\agent\.ps1 -Mode Apply -Plan %d:\\golden\\bootstrap\.json "
        r"& if errorlevel 2 if not errorlevel 3 "  # the agent itself had nothing to name
        r"echo GOLDEN plan bootstrap failed: not understood> COM1",
        command,
    )
    assert match, command
    assert match[1].split() == [*string.ascii_uppercase[3:], "C"]
    assert len(command) <= 1024


def test_drivers_are_looked_for_on_every_letter() -> None:
    paths = values(autounattend(), "//PathAndCredentials/Path")
    assert paths == [f"{letter}:\\$WinPEDriver$" for letter in LETTERS]


def test_setup_asks_nothing_and_fetches_nothing() -> None:
    xml = autounattend()
    assert values(xml, "//DynamicUpdate/Enable") == ["false"]
    assert values(xml, "//AcceptEula") == ["true"]
    assert len(values(xml, "//SetupUILanguage/UILanguage")) == 1


def test_a_clone_gets_a_name_of_its_own_and_keeps_its_drivers() -> None:
    xml = samples.answers()["unattend-oobe.xml"]
    assert values(xml, "//ComputerName") == ["*"]
    assert values(xml, "//DoNotCleanUpNonPresentDevices") == ["true"]
    assert values(xml, "//SkipMachineOOBE") == values(xml, "//SkipUserOOBE") == ["true"]
    assert "SkipRearm" not in xml, "an evaluation's clock would run from the build"


def test_an_edition_that_the_medium_lacks_lists_those_it_has() -> None:
    facts = dataclasses.replace(samples.FACTS, editions=(Edition(1, "A"), Edition(2, "B")))
    with pytest.raises(PipelineError, match="Windows Sample & Co") as caught:
        autounattend(facts=facts)
    assert "A; B" in caught.value.hint


def test_a_user_called_like_the_machine_is_refused() -> None:
    with pytest.raises(PipelineError, match="both"):
        autounattend(dataclasses.replace(samples.image(), host_name="GOLDEN"))


@pytest.mark.parametrize(("found", "written"), [("x86_64", "amd64"), ("arm64", "arm64")])
def test_components_are_those_of_the_architecture(found: str, written: str) -> None:
    xml = autounattend(facts=dataclasses.replace(samples.FACTS, architecture=found))
    assert set(re.findall(r'processorArchitecture="(\w+)"', xml)) == {written}


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(PipelineError, match="mips"):
        autounattend(facts=dataclasses.replace(samples.FACTS, architecture="mips"))


HOSTS = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,13}[A-Za-z0-9]", fullmatch=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HOSTS.filter(lambda name: name.lower() != "golden"))
def test_any_proper_host_name_renders_a_flawless_file(name: str) -> None:
    xml = autounattend(dataclasses.replace(samples.image(), host_name=name))
    assert values(xml, "//ComputerName") == [name]
    assert validate(xml.encode(), "autounattend.xml") == []


@settings(max_examples=15, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Co", "Cn")), min_size=1, max_size=30))
def test_any_edition_name_arrives_as_it_is(name: str) -> None:
    facts = dataclasses.replace(samples.FACTS, editions=(Edition(1, name),))
    xml = autounattend(dataclasses.replace(samples.image(), edition=name), facts)
    assert values(xml, "//MetaData/Value") == [name]


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    """A copy of the templates to change."""
    folder = tmp_path / "with spaces"
    shutil.copytree(samples.TEMPLATES / "answer", folder / "answer")
    return folder


def render_from(templates: Path) -> dict[str, bytes]:
    """The sample image from other templates."""
    return render(samples.image(), samples.FACTS, Credentials.placeholder(), templates)


def test_comments_and_layout_of_templates_change_nothing(templates: Path) -> None:
    before = render_from(templates)
    for path in sources(templates):
        text = path.read_text()
        if "<CreatePartitions>" in text or "<OOBE>" in text:
            text = text.replace("<OOBE>", "<!-- a note -->\n\n   <OOBE>")
            text = text.replace(
                "<CreatePartitions>", "{# a note #}\n<!-- a note --><CreatePartitions>"
            )
        path.write_text(text + "{# the end #}\n")
    assert render_from(templates) == before


def test_a_change_of_content_changes_the_file(templates: Path) -> None:
    before = render_from(templates)
    path = templates / "answer" / "disk-uefi.xml.j2"
    path.write_text(path.read_text().replace("260)", "300)"))
    after = render_from(templates)
    assert after["autounattend.xml"] != before["autounattend.xml"]
    assert after["unattend-oobe.xml"] == before["unattend-oobe.xml"]


def test_every_template_is_a_source(templates: Path) -> None:
    assert [path.name for path in sources(templates)] == sorted(
        path.name for path in (templates / "answer").iterdir()
    )


@pytest.mark.parametrize(
    "variable",
    [
        "architecture",
        "client",
        "computer_name",
        "facts",
        "image",
        "labconfig",
        "letters",
        "user_password",
        "administrator_password",
        "windows_partition",
    ],
)
def test_a_missing_variable_stops_rendering(
    templates: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jinja2 import UndefinedError

    from pipeline.answers import render as module

    values_of = module._values

    def without(image: Image, facts: MediaFacts, credentials: Credentials) -> dict[str, object]:
        found = values_of(image, facts, credentials)
        found.pop(variable, None)
        return found

    monkeypatch.setattr(module, "_values", without)
    if variable == "computer_name":  # set by the file that includes the part
        path = templates / "answer" / "autounattend.xml.j2"
        path.write_text(path.read_text().replace("computer_name = image.host_name", "other = 1"))
    image = samples.image(Release.SERVER_2025)
    if variable == "labconfig":
        image = samples.image(Release.WINDOWS_11)
    with pytest.raises(UndefinedError):
        render(image, samples.FACTS, Credentials.placeholder(), templates)


def test_a_template_that_renders_no_xml_is_named(templates: Path) -> None:
    path = templates / "answer" / "autounattend.xml.j2"
    path.write_text(path.read_text().replace("</unattend>", ""))
    with pytest.raises(PipelineError, match=r"autounattend\.xml"):
        render_from(templates)
