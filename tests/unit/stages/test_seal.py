"""The host's half of sealing: its guest's last word is believed, sysprep's log is brought."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.guest.powershell import windows_path
from pipeline.guest.ssh import FOLDER
from pipeline.machine.shutdown import Ending
from pipeline.stages import seal
from pipeline.stages.build import Build
from tests.unit.stages import stand_ins
from tests.unit.stages.stand_ins import IMAGE, Booted, Rack, installed, run_alone, said, write

APP = "Package Foo was installed for a user, but not provisioned for all users"
LOG = f"2026-11-23 10:15:00, Error SYSPRP {APP}\r\n".encode()
FAILED = "GOLDEN seal failed sysprep ended with exit code 1"
SYSPREPS = "/C:/Windows/System32/Sysprep/Panther/setuperr.log"  # docs/guest-contract.md, Seal


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return installed(tmp_path)


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Booted:
    """A guest whose seal script has handed generalising to its task."""
    made = Booted(stand_ins.nocloud(tmp_path / "guest"))
    made.play.answer = lambda _: said("seal", {"caches": "changed", "generalise": "ok"})
    Rack({"": made}).serve(seal, monkeypatch)
    return made


def failure(build: Build) -> tuple[PipelineError, Path]:
    """What is told, and the folder that the error names."""
    with pytest.raises(PipelineError) as raised:
        run_alone(build, "seal")
    assert build.receipt("seal") is None
    assert not build.folder("seal").exists()
    evidence = raised.value.evidence
    assert evidence is not None
    return raised.value, evidence


def test_a_guest_that_is_generalised_and_powers_off_is_sealed(build: Build, guest: Booted) -> None:
    guest.says = ("GOLDEN seal generalising", "GOLDEN seal generalised")
    run_alone(build, "seal")
    assert (build.folder("seal") / "disk.qcow2").exists()
    (command,) = guest.play.commands
    config = windows_path(f"{FOLDER}/seal.json")
    assert command.endswith(rf"-File C:\ProgramData\golden\seal.ps1 -Config {config}")
    assert json.loads(guest.play.at(f"{FOLDER}/seal.json").read_text())["user"] == "golden"


def test_when_sysprep_fails_its_log_lies_where_the_error_says(build: Build, guest: Booted) -> None:
    guest.says = ("GOLDEN seal generalising", FAILED)
    write(guest.play, SYSPREPS, LOG)
    error, evidence = failure(build)
    assert error.message == f"{IMAGE}: sealing failed sysprep ended with exit code 1"
    assert "setuperr.log is sysprep's own account" in error.hint
    assert (evidence / "setuperr.log").read_bytes() == LOG
    assert APP in str(error)  # the most telling line is told, too


def test_a_log_that_is_not_there_hides_no_reason(build: Build, guest: Booted) -> None:
    guest.says = (FAILED,)
    error, evidence = failure(build)
    assert error.message == f"{IMAGE}: sealing failed sysprep ended with exit code 1"
    assert not (evidence / "setuperr.log").exists()


def cut_off(guest: Booted) -> None:
    guest.ending = Ending("host-signal", 0, "SIGTERM")


def refuses(guest: Booted) -> None:
    code, out, _ = said("seal", {"caches": "failed"})
    end = out.replace(b'"done"', b'"failed"')
    guest.play.answer = lambda _: (code or 1, end, b"")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (cut_off, "the sealed guest ended with host-signal"),
        (refuses, r"plan seal: step caches \(file\) failed: caches failed"),
    ],
)
def test_a_guest_that_did_not_seal_itself_is_not_believed(
    build: Build, guest: Booted, change: Callable[[Booted], None], told: str
) -> None:
    guest.says = ("GOLDEN seal generalised",)
    change(guest)
    error, _ = failure(build)
    with pytest.raises(PipelineError, match=told):
        raise error
