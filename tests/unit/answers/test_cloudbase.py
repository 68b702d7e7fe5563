"""cloudbase-init as first boot: its steps, its configuration, and Setup's part."""

from __future__ import annotations

import configparser
import dataclasses
from pathlib import Path

import pytest

from pipeline.answers import cloudbase
from pipeline.answers.credentials import Credentials
from pipeline.answers.payloads import resolve
from pipeline.answers.plan_rules import validate_plan
from pipeline.answers.plans import bootstrap_plan, provision_plan
from pipeline.answers.render import render
from pipeline.answers.validate import validate
from pipeline.definitions.model import FirstBoot, Image, Release, Step
from pipeline.foundation.files import canonical_json
from tests.unit.answers import samples
from tests.unit.answers.artifacts import MadeUp

CHOSEN = {"first_boot": FirstBoot.CLOUDBASE_INIT, "cloudbase_init": "cloudbase-init"}


def image(release: Release = Release.SERVER_2025) -> Image:
    """An image whose first boot is cloudbase-init's."""
    return dataclasses.replace(samples.image(release), **CHOSEN)  # type: ignore[arg-type]


def configuration(text: str) -> configparser.ConfigParser:
    read = configparser.ConfigParser(interpolation=None)
    read.read_string(text)
    return read


def test_the_package_comes_before_its_configuration_and_before_own_steps() -> None:
    own = Step("mine", "reboot")
    made = dataclasses.replace(image(), provision=(own,))
    ids = [step.id for step in provision_plan(made).steps]
    assert ids[ids.index("cloudbase-init") :] == [
        "cloudbase-init",
        "cloudbase-init-service",
        "cloudbase-init-conf",
        "cloudbase-init-unattend",
        "cloudbase-init-keys",
        "mine",
        "restart",
    ]
    assert "cloudbase-init" in provision_plan(made).pins()


def test_nothing_of_it_without_being_chosen() -> None:
    assert not [s for s in provision_plan(samples.image()).steps if "cloudbase" in s.id]
    assert "cloudbase" not in samples.answers()["unattend-oobe.xml"].lower()


def test_its_plan_is_one_that_the_agent_understands(tmp_path: Path) -> None:
    plan = resolve(provision_plan(image()), MadeUp(tmp_path))
    assert validate_plan(canonical_json(plan.plan), "plan.json") == []
    steps = {step["id"]: step for step in plan.plan["steps"]}
    assert steps["cloudbase-init"]["properties"] == {"RUN_SERVICE_AS_LOCAL_SYSTEM": "1"}
    assert steps["cloudbase-init-service"]["start"] == "demand"


def test_it_looks_for_a_disc_and_asks_no_network() -> None:
    for text in (cloudbase.main(image()), cloudbase.unattend(image())):
        assert text.isascii()
        assert text.count("\n") == text.count("\r\n")
        read = configuration(text)
        services = read["DEFAULT"]["metadata_services"].split(",")
        assert [name.rpartition(".")[2] for name in services] == ["NoCloudConfigDriveService"]
        assert read["DEFAULT"]["check_latest_version"] == "false"
        assert read["config_drive"]["locations"].split(",") == ["cdrom", "hdd", "partition"]
        assert "http" not in text.lower()


def test_it_sets_no_password_and_opens_nothing() -> None:
    plugins = configuration(cloudbase.main(image()))["DEFAULT"]["plugins"].lower()
    for word in ("password", "winrm", "licens", "rdp"):
        assert word not in plugins
    assert configuration(cloudbase.main(image()))["DEFAULT"]["username"] == "golden"


def test_keys_are_brought_where_sshd_looks_after_they_were_written() -> None:
    plugins = configuration(cloudbase.main(image()))["DEFAULT"]["plugins"].split(",")
    names = [name.rpartition(".")[2] for name in plugins]
    assert names.index("SetUserSSHPublicKeysPlugin") < names.index("UserDataPlugin")
    assert names[-1] == "LocalScriptsPlugin"
    assert cloudbase.KEYS_SCRIPT.endswith('firstboot.ps1" -CloudbaseKeys\r\n')


def test_setups_part_sets_the_host_name_alone_and_restarts_nothing() -> None:
    read = configuration(cloudbase.unattend(image()))["DEFAULT"]
    assert read["plugins"].rpartition(".")[2] == "SetHostNamePlugin"
    assert (read["allow_reboot"], read["stop_service_on_exit"]) == ("false", "false")


@pytest.mark.parametrize("release", list(Release))
def test_the_answer_file_of_first_boot_is_flawless(release: Release) -> None:
    made = image(release)
    files = render(made, samples.FACTS, Credentials.placeholder(), samples.TEMPLATES)
    for name, data in files.items():
        assert validate(data, name) == []
    sealed, setup = files["unattend-oobe.xml"].decode(), files["autounattend.xml"].decode()
    assert sealed.count("cloudbase-init-unattend.conf") == 1
    assert sealed.count("<WillReboot>OnRequest</WillReboot>") == 1
    assert "cloudbase" not in setup
    assert len(cloudbase.SPECIALIZE) <= 259


def test_the_build_itself_is_the_same() -> None:
    assert bootstrap_plan(image()) == bootstrap_plan(samples.image())
