"""The guest plans: what they declare, in which order, and where their payloads come from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.answers.own_steps import own_step
from pipeline.answers.payloads import Resolved, resolve
from pipeline.answers.plan_rules import validate_plan
from pipeline.answers.planning import FromDriver, FromRepository, Plan
from pipeline.answers.plans import bootstrap_plan, provision_plan, recipe_identity
from pipeline.definitions.model import Image, Interpreter, Release, Step
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import canonical_json, sha256_bytes
from pipeline.foundation.units import Sha256
from tests.unit.answers import samples
from tests.unit.answers.artifacts import MadeUp, Nothing

WINLOGON = r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon"


def steps(plan: Resolved) -> dict[str, dict[str, Any]]:
    """The steps of a plan by their ids."""
    return {step["id"]: step for step in plan.plan["steps"]}


def with_steps(*own: Step, rehearsal: bool = False) -> Image:
    """An image with steps of its own."""
    return dataclasses.replace(samples.image(rehearsal=rehearsal), provision=own)


@pytest.fixture
def artifacts(tmp_path: Path) -> MadeUp:
    """Artifacts that are made up, and a script in the checkout."""
    (tmp_path / "own script.ps1").write_bytes(b"exit 0\n")
    (tmp_path / "data.txt").write_bytes(b"data")
    return MadeUp(tmp_path)


def test_ssh_opens_last_and_the_key_is_there_before() -> None:
    ids = [step.id for step in bootstrap_plan(samples.image()).steps]
    assert ids[-1] == "ssh-firewall"
    assert ids.index("sshd") < ids.index("authorized-keys") < ids.index("authorized-keys-acl")
    assert ids.index("autologon-password") < ids.index("ssh-firewall")


def test_server_2025_uses_its_own_ssh_server_and_needs_no_artifact() -> None:
    plan = bootstrap_plan(samples.image())
    assert plan.pins() == ()
    assert plan.repository_files() == ("templates/guest/logon-secret.ps1",)
    resolved = steps(resolve(plan, Nothing()))
    assert "openssh" not in resolved
    assert resolved["sshd"] == {
        "id": "sshd",
        "kind": "service",
        "name": "sshd",
        "start": "auto",
        "state": "running",
    }


def test_elsewhere_the_pinned_server_is_installed_first(artifacts: MadeUp) -> None:
    plan = bootstrap_plan(samples.image(Release.SERVER_2019, openssh="openssh-10"))
    assert plan.pins() == ("openssh-10",)
    resolved = resolve(plan, artifacts)
    first = resolved.plan["steps"][0]
    assert first["properties"] == {"ADDLOCAL": "Server"}
    assert first["payloads"] == [
        {"file": "openssh/openssh-10.msi", "sha256": sha256_bytes(b"openssh-10")}
    ]
    package = resolved.payloads["openssh/openssh-10.msi"]
    assert package == artifacts.root / "openssh-10.artifact"


def test_the_keys_of_administrators_belong_to_system_and_administrators_alone() -> None:
    resolved = steps(resolve(bootstrap_plan(samples.image()), Nothing()))
    assert resolved["authorized-keys-acl"]["path"] == resolved["authorized-keys"]["path"]
    assert resolved["authorized-keys-acl"]["entries"] == [
        {"identity": "S-1-5-18", "rights": "FullControl"},
        {"identity": "S-1-5-32-544", "rights": "FullControl"},
    ]
    assert resolved["ssh-firewall"]["name"] == "OpenSSH-Server-In-TCP"
    assert (resolved["ssh-firewall"]["port"], resolved["ssh-firewall"]["protocol"]) == (22, "TCP")


def test_the_automatic_logon_ends_and_its_password_goes() -> None:
    resolved = steps(resolve(bootstrap_plan(samples.image()), Nothing()))
    found = {
        step["name"]: step.get("value", step.get("ensure"))
        for step in resolved.values()
        if step["kind"] == "registry" and step["key"] == WINLOGON
    }
    assert found == {"AutoLogonCount": 0, "AutoAdminLogon": "0", "DefaultPassword": "absent"}
    assert resolved["autologon-count"]["type"] == "DWord"
    assert resolved["autologon-off"]["type"] == "String"
    secret = resolved["autologon-secret"]
    assert (secret["kind"], secret["payloads"][0]["file"]) == (
        "script",
        "autologon-secret/logon-secret.ps1",
    )


def test_the_stand_in_has_no_lsa_to_clean() -> None:
    ids = [step.id for step in bootstrap_plan(samples.image(rehearsal=True)).steps]
    assert "autologon-secret" not in ids
    assert "autologon-password" in ids


@pytest.mark.parametrize("release", list(Release))
def test_only_clients_are_kept_from_sleeping(release: Release) -> None:
    ids = {step.id for step in bootstrap_plan(samples.image(release)).steps}
    assert "hibernation-off" in ids
    assert ("sleep-off" in ids) == (release in (Release.WINDOWS_10, Release.WINDOWS_11))


def test_winfsp_then_the_program_then_the_service_that_needs_both(artifacts: MadeUp) -> None:
    resolved = resolve(provision_plan(samples.image()), artifacts)
    ids = list(steps(resolved))
    assert ids.index("driver-viofs") < ids.index("virtiofs-service")
    assert ids.index("winfsp") + 1 == ids.index("virtiofs-program")
    assert ids.index("virtiofs-program") + 1 == ids.index("virtiofs-service")
    service = steps(resolved)["virtiofs-service"]
    assert service["binary"] == steps(resolved)["virtiofs-program"]["path"]
    assert service["binary"].startswith("C:\\Program Files\\"), "not on a medium that goes away"
    assert service["depend"] == ["WinFsp.Launcher", "VirtioFsDrv"]
    assert (service["start"], service["state"]) == ("auto", "any")


def test_winfsp_is_installed_whole(artifacts: MadeUp) -> None:
    assert steps(resolve(provision_plan(samples.image()), artifacts))["winfsp"]["properties"] == {}


def test_a_driver_begins_with_its_inf_and_leaves_programs_out(artifacts: MadeUp) -> None:
    resolved = resolve(provision_plan(samples.image()), artifacts)
    files = [payload["file"] for payload in steps(resolved)["driver-viofs"]["payloads"]]
    assert files == ["driver-viofs/viofs.inf", "driver-viofs/viofs.cat", "driver-viofs/viofs.sys"]
    program = steps(resolved)["virtiofs-program"]["payloads"]
    assert program == [
        {"file": "virtiofs/virtiofs.exe", "sha256": sha256_bytes(b"virtio-win:virtiofs.exe")}
    ]


def test_a_folder_with_two_packages_becomes_two_steps(artifacts: MadeUp) -> None:
    resolved = steps(resolve(provision_plan(samples.image()), artifacts))
    assert resolved["driver-pvpanic"]["name"] == "pvpanic"
    assert resolved["driver-pvpanic-pci"]["name"] == "pvpanic-pci"


def test_own_steps_run_last_in_their_order() -> None:
    own = (Step("b", "reboot", when="always"), Step("a", "file", path="C:\\x", content="x"))
    ids = [step.id for step in provision_plan(with_steps(*own)).steps]
    assert ids[-3:] == ["b", "a", "restart"]


def test_an_own_step_may_not_take_a_name_of_ours() -> None:
    with pytest.raises(PipelineError, match="winfsp is taken"):
        provision_plan(with_steps(Step("winfsp", "reboot")))


OWN = [
    (
        Step("s", "script", file="own script.ps1", arguments=("-A", "1"), files=("data.txt",)),
        {"arguments": ["-A", "1"], "interpreter": "powershell"},
    ),
    (Step("m", "msi", pin="tool", properties={"A": "b"}), {"properties": {"A": "b"}}),
    (Step("f", "file", path="C:\\x y", file="data.txt"), {"path": "C:\\x y"}),
    (Step("c", "file", path="C:\\x", content=""), {"path": "C:\\x", "content": ""}),
    (Step("g", "file", path="C:\\x", ensure="absent"), {"path": "C:\\x", "ensure": "absent"}),
    (
        Step("r", "registry", key="HKLM:\\A\\B", name="n", value="t"),
        {"key": "HKLM:\\A\\B", "name": "n", "type": "String", "value": "t"},
    ),
    (
        Step("d", "registry", key="HKLM:\\A", name="n", type="DWord", value="10"),
        {"key": "HKLM:\\A", "name": "n", "type": "DWord", "value": 10},
    ),
    (
        Step("q", "registry", key="HKLM:\\A", name="n", type="MultiString", values=("a", "b")),
        {"key": "HKLM:\\A", "name": "n", "type": "MultiString", "value": ["a", "b"]},
    ),
    (
        Step("n", "registry", key="HKLM:\\A", name="n", ensure="absent"),
        {"key": "HKLM:\\A", "name": "n", "ensure": "absent"},
    ),
    (Step("u", "update", pin="fix", kb="KB5000001"), {"kb": "KB5000001"}),
    (Step("b", "reboot"), {"when": "pending"}),
    (
        Step("w", "service", name="w32time", start="demand", state="any"),
        {"name": "w32time", "start": "demand", "state": "any"},
    ),
    (
        Step("x", "service", name="x", binary="C:\\x.exe", depend=("a",), display_name="X"),
        {
            "name": "x",
            "start": "auto",
            "state": "running",
            "binary": "C:\\x.exe",
            "depend": ["a"],
            "display_name": "X",
        },
    ),
]


@pytest.mark.parametrize(("step", "keys"), OWN, ids=lambda value: getattr(value, "kind", ""))
def test_own_steps_become_steps_of_the_contract(
    step: Step, keys: dict[str, Any], artifacts: MadeUp
) -> None:
    resolved = resolve(Plan("own", (own_step(samples.image(), step),)), artifacts)
    (made,) = resolved.plan["steps"]
    assert {key: made[key] for key in made if key not in ("id", "kind", "payloads")} == keys
    assert validate_plan(resolved.json(), "own.json") == []


def test_files_beside_a_script_follow_it(artifacts: MadeUp) -> None:
    step = own_step(samples.image(), OWN[0][0])
    resolved = resolve(Plan("own", (step,)), artifacts)
    files = [payload["file"] for payload in resolved.plan["steps"][0]["payloads"]]
    assert files == ["s/own script.ps1", "s/data.txt"]


def test_a_stand_in_script_is_for_rehearsals(artifacts: MadeUp) -> None:
    step = Step("s", "script", file="x.py", interpreter=Interpreter.STAND_IN)
    with pytest.raises(PipelineError, match="rehearsal only"):
        own_step(samples.image(), step)
    assert own_step(samples.image(rehearsal=True), step).keys["interpreter"] == "stand-in"


def test_an_unknown_kind_and_a_bad_number_are_refused() -> None:
    with pytest.raises(PipelineError, match='"firewal" is not a kind'):
        own_step(samples.image(), Step("x", "firewal"))
    number = Step("x", "registry", key="HKLM:\\A", name="n", type="DWord", value="ten")
    with pytest.raises(PipelineError, match='"ten" is not a number'):
        own_step(samples.image(), number)


def test_a_file_that_is_not_what_its_definition_says_is_refused(artifacts: MadeUp) -> None:
    pinned = Step("f", "file", path="C:\\x", file="data.txt", sha256=Sha256("0" * 64))
    plan = Plan("own", (own_step(samples.image(), pinned),))
    with pytest.raises(PipelineError, match=sha256_bytes(b"data")) as caught:
        resolve(plan, artifacts)
    assert "0" * 64 in caught.value.message
    right = dataclasses.replace(pinned, sha256=Sha256(sha256_bytes(b"data")))
    assert resolve(Plan("own", (own_step(samples.image(), right),)), artifacts).payloads


def test_a_missing_file_is_named(artifacts: MadeUp) -> None:
    step = own_step(samples.image(), Step("f", "file", path="C:\\x", file="gone.txt"))
    with pytest.raises(PipelineError, match=r"gone\.txt"):
        resolve(Plan("own", (step,)), artifacts)


@pytest.mark.parametrize("name", sorted(samples.shipped()))
def test_plans_of_shipped_images_keep_the_contract(name: str, artifacts: MadeUp) -> None:
    image, _ = samples.shipped()[name]
    for path in provision_plan(image).repository_files():
        target = artifacts.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"x")
    for plan in (bootstrap_plan(image), provision_plan(image)):
        resolved = resolve(plan, artifacts)
        assert validate_plan(resolved.json(), f"{plan.name}.json") == []
        named = {p["file"] for step in resolved.plan["steps"] for p in step.get("payloads", [])}
        assert named == set(resolved.payloads)


def test_an_identity_needs_no_artifact_and_is_json() -> None:
    plan = provision_plan(samples.image())
    identity = recipe_identity(plan)
    assert json.loads(canonical_json(identity)) == identity
    assert plan.pins() == ("virtio-win", "winfsp")


@pytest.mark.parametrize(
    "change",
    [
        {"drivers": dataclasses.replace(samples.image().drivers, guest=("viofs",))},
        {"winfsp": "winfsp-2.1"},
        {"provision": (Step("r", "reboot"),)},
    ],
)
def test_whatever_changes_the_plan_changes_its_identity(change: dict[str, Any]) -> None:
    before = recipe_identity(provision_plan(samples.image()))
    after = recipe_identity(provision_plan(dataclasses.replace(samples.image(), **change)))
    assert before != after


def test_what_does_not_change_the_plan_leaves_its_identity() -> None:
    image = samples.image()
    other = dataclasses.replace(image, title="Another", host_name="another")
    for plan in (bootstrap_plan, provision_plan):
        assert recipe_identity(plan(image)) == recipe_identity(plan(other))


def test_every_source_is_told_in_the_identity() -> None:
    own = Step("s", "script", file="a/b.ps1", sha256=Sha256("1" * 64))
    plan = provision_plan(with_steps(own))
    assert plan.repository_files() == ("a/b.ps1",)
    assert FromRepository("a/b.ps1", Sha256("1" * 64)) in plan.sources()
    assert FromDriver("virtio-win", "viofs") in plan.sources()
    assert "1" * 64 in canonical_json(recipe_identity(plan)).decode()
