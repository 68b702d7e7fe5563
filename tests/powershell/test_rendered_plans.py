"""The shipped images' own bootstrap plans, as rendered, applied by the real agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.answers.payloads import resolve
from pipeline.answers.plans import bootstrap_plan
from tests.powershell.fake_machine import ADMINISTRATORS, SYSTEM, FakeMachine, Run
from tests.unit.answers import samples
from tests.unit.answers.artifacts import Nothing

pytestmark = pytest.mark.powershell


class Quiet(Nothing):
    """Scripts of the checkout do nothing: what they start would meet no doubles."""

    def __init__(self, folder: Path) -> None:
        self.script = folder / "quiet.ps1"
        self.script.write_text("exit 0\n")

    def repository(self, path: str) -> Path:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        assert path == "templates/guest/logon-secret.ps1"  # test_logon_secret.py runs it
        return self.script


def test_the_bootstrap_plan_makes_the_guest_reachable(machine: FakeMachine, tmp_path: Path) -> None:
    image, _ = samples.shipped()["windows-server-2025"]
    plan = resolve(bootstrap_plan(image), Quiet(tmp_path))
    for name, content in plan.payloads.items():
        machine.payload(name, content if isinstance(content, bytes) else content.read_bytes())
    (machine.golden / "bootstrap.json").write_bytes(plan.json())
    arguments = ["-Plan", "C:\\ProgramData\\golden\\bootstrap.json"]
    modes = ("Apply", "Test")
    applied, tested = machine.run(*[Run("agent.ps1", ["-Mode", m, *arguments]) for m in modes])
    assert applied.exit == 0, applied.text
    assert (tested.exit, set(tested.states.values())) == (0, {"ok"})
    assert applied.state["services"]["sshd"]["state"] == "Running"
    assert applied.state["firewall"]["OpenSSH-Server-In-TCP"]["LocalPort"] == "22"
    keys = machine.c / "ProgramData/ssh/administrators_authorized_keys"
    assert keys.read_text().startswith("ssh-ed25519 ")
    sids = {rule["sid"] for rule in applied.state["acl"][str(keys)]["rules"]}
    assert sids == {SYSTEM, ADMINISTRATORS}
