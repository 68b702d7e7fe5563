"""The shipped images' own bootstrap plans, as rendered, applied by the real agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.main import main
from tests.powershell.fake_machine import ADMINISTRATORS, SYSTEM, FakeMachine, Run

pytestmark = pytest.mark.powershell


def test_the_bootstrap_plan_makes_the_guest_reachable(machine: FakeMachine, tmp_path: Path) -> None:
    out = tmp_path / "rendered"
    main(["render", "windows-server-2025", "--out", str(out)])
    (machine.golden / "bootstrap.json").write_bytes(next(out.rglob("bootstrap.json")).read_bytes())
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
