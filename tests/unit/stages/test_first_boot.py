"""What the choice of first boot means to sealing and proving."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.definitions.loader import load
from pipeline.definitions.model import FirstBoot
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.guest.checks import Result
from pipeline.stages import clone, inputs, prove
from pipeline.stages.build import Build, Work


@pytest.fixture
def build(tmp_path: Path) -> Build:
    workspace = Workspace(ROOT, tmp_path / "output", tmp_path / "cache")
    return Build.of("windows-server-2025", load(workspace, {}), workspace)


@pytest.fixture
def cloudbase(build: Build) -> Build:
    chosen = replace(
        build.image, first_boot=FirstBoot.CLOUDBASE_INIT, cloudbase_init="cloudbase-init"
    )
    return replace(build, image=chosen)


def test_our_own_first_boot_is_what_one_gets(build: Build) -> None:
    assert inputs.seal_scripts(build) == ("seal.ps1", "firstboot.ps1", "SetupComplete.cmd")
    assert inputs.seal_config(build)["first_boot"] == {
        "service": "golden",
        "files": ["firstboot.ps1", "SetupComplete.cmd"],
    }


def test_cloudbase_init_is_sealed_in_with_its_own_end_of_setup(cloudbase: Build) -> None:
    assert inputs.seal_config(cloudbase)["first_boot"] == {
        "service": "cloudbase-init",
        "files": ["firstboot.ps1", "cloudbase-complete.cmd"],
    }
    for name in inputs.seal_scripts(cloudbase):
        assert (ROOT / "templates" / "guest" / name).is_file()


def test_the_choice_provisions_and_seals_anew_and_never_reinstalls(
    build: Build, cloudbase: Build
) -> None:
    ids = {"cidata": "0", "install": "1", "provision": "2"}
    for stage in (inputs.cidata, inputs.install):
        assert stage(build, ids) == stage(cloudbase, ids)
    for stage in (inputs.provision, inputs.seal):
        assert stage(build, ids) != stage(cloudbase, ids)


def test_the_package_is_a_pin_that_the_image_uses(cloudbase: Build) -> None:
    assert "cloudbase-init" in {pin.name for pin in cloudbase.used_pins}


@pytest.mark.parametrize(
    ("service", "parts"),
    [
        (FirstBoot.GOLDEN, ["nocloud", "lima", "no-disc"]),
        (FirstBoot.CLOUDBASE_INIT, ["nocloud"]),
    ],
)
def test_only_what_the_service_knows_is_proven(
    monkeypatch: pytest.MonkeyPatch, service: FirstBoot, parts: list[str]
) -> None:
    def part(name: str) -> Any:
        async def run(_: Work) -> list[Result]:
            return [Result(name, "x", True, "", 0.0)]

        return run

    names = {"_nocloud": "nocloud", "_lima": "lima", "_without_disc": "no-disc"}
    for function, name in names.items():
        monkeypatch.setattr(prove, function, part(name))
    work = SimpleNamespace(build=SimpleNamespace(image=SimpleNamespace(first_boot=service)))
    results = asyncio.run(prove._prove(cast(Work, work)))
    assert [result.group for result in results] == parts


def test_our_record_alone_is_not_asked_for() -> None:
    assert set(clone.CHECKS) - set(clone.SHARED_CHECKS) == {clone.first_boot}
