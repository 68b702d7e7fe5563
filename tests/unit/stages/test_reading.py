"""Evidence that is read: what failed, the last beacon, the lines that tell most, what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.cli import main as cli
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.machine.faults import Fault
from pipeline.stages.reading import NOTE, newest, note_failure, note_phases, read_evidence, took
from pipeline.stages.signs import SIGNS, explain

CONSOLE = (
    b"\x1b[2J\x1b[01;01HBdsDxe: starting Boot0001\r\nGOLDEN pass windowsPE\r\n"
    b"GOLDEN pass specialize\r\nreboot: Restarting system\r\n"
)
EVENT = '1700000000.000 <- {"timestamp":{},"event":"RESET","data":{"guest":true}}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "output" / "failures" / "win" / "install-20260101-101112"
    (made / "guest-logs").mkdir(parents=True)
    (made / "com1.log").write_bytes(CONSOLE)
    (made / "qmp.log").write_text(EVENT * 3 + "1700000000.000 -> nonsense\n")
    (made / "qemu.log").write_text("qemu-system-x86_64: warning: something harmless\n")
    (made / "0000-firmware.png").write_bytes(b"1")
    (made / "0001-specialize.png").write_bytes(b"2")
    return made


def log(folder: Path, name: str, text: str, encoding: str = "utf-8") -> None:
    (folder / "guest-logs" / name).write_text(text, encoding=encoding)


def test_what_the_user_was_told_is_kept_and_read(folder: Path) -> None:
    error = PipelineError("win: nothing has moved", hint="look at the screen")
    error.fault = Fault.WAITS  # type: ignore[attr-defined]
    note_failure(folder, "win", "install", error)
    reading = read_evidence(folder)
    assert (reading.image, reading.stage, reading.fault) == ("win", "install", Fault.WAITS.value)
    assert reading.message == "win: nothing has moved"
    assert reading.hint == "look at the screen"
    assert reading.at == "20260101 101112"


def test_the_phase_and_the_time_of_those_before_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note_phases(folder, "specialize", {"firmware": 3.5, "windowsPE": 61.0, "specialize": 90.0})
    reading = read_evidence(folder)
    assert (reading.phase, reading.timings["windowsPE"]) == ("specialize", 61.0)
    assert cli.main(["diagnose", str(folder)]) == 0
    assert "specialize (firmware 3.5 s, windowsPE 1:01, specialize 1:30)" in capsys.readouterr().out


def test_of_several_machines_the_longest_phase_counts(tmp_path: Path) -> None:
    for part, seconds in (("nocloud", 20.0), ("lima", 30.0)):
        (tmp_path / part).mkdir()
        note_phases(tmp_path / part, "power off", {"boot": seconds, part: 1.0})
    assert took(tmp_path) == {"boot": 30.0, "nocloud": 1.0, "lima": 1.0}
    assert took(tmp_path / "none") == {}


def test_a_run_that_was_interrupted_hides_no_failure(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path / "output", tmp_path / "cache")
    later = folder.parent / "install-20260101-111213"
    later.mkdir()
    note_failure(later, "win", "install", KeyboardInterrupt())
    os.utime(folder, ns=(1, 1))
    assert read_evidence(later).message == "interrupted"
    assert newest(workspace) == folder
    note_failure(folder, "win", "install", KeyboardInterrupt())
    os.utime(folder, ns=(1, 1))
    assert newest(workspace) == later


def test_a_bug_is_named_by_its_kind(folder: Path) -> None:
    note_failure(folder, "win", "install", KeyError("x"))
    assert read_evidence(folder).fault == "KeyError"


def test_console_events_and_screen_are_read(folder: Path) -> None:
    reading = read_evidence(folder)
    assert reading.beacon == "GOLDEN pass specialize"
    assert reading.last_lines[-1] == "reboot: Restarting system"
    assert reading.last_lines[0] == "BdsDxe: starting Boot0001"
    assert reading.events == {"RESET": 3}
    assert reading.screen == "0001-specialize.png"
    assert reading.findings == ()
    assert reading.telling == ""


KNOWN = {
    "Windows could not parse or process the unattend answer file for pass [specialize].": "lint",
    "2026-01-01 10:00:00, Error [0x0f0082] SYSPRP Package Microsoft.X_1.0_x64 was installed for a "
    "user, but not provisioned for all users.": "remove that package",
    "Error IBS CallBack_ImageSelect: No images are available[gle=0x00000490]": "golden media",
    "A media driver your computer needs is missing.": "$WinPEDriver$",
    "Error [DISM] hr:0x80070490": "lines before",
    "Error CSI Failed 0x80070570": "SHA-256",
    "GOLDEN step bootstrap 3/9 sshd failed": "its log",
    "MSI (s) (A0:B0): Note: Action ended. Return value 3.": "its log",
    "Kernel panic - not syncing: Attempted to kill init!": "com1.log",
    "BdsDxe: No bootable option or device was found.": "boot loader",
    "qemu-system-x86_64: write: No space left on device": "free space",
    "Could not access KVM kernel module: Permission denied": "golden doctor",
    "Could not set up host forwarding rule 'tcp:127.0.0.1:22-:22'": "another port",
    'qemu-system-x86_64: Failed to get "write" lock': "end that machine",
    "Windows could not complete the installation. To install Windows": "setuperr.log",
    "STOP: 0x0000007b INACCESSIBLE_BOOT_DEVICE": "viostor",
    "virtiofsd: unshare(CLONE_NEWPID|CLONE_NEWNS): Operation not permitted": "SANDBOX",
}


@pytest.mark.parametrize("line", KNOWN, ids=lambda line: line[:40])
def test_known_lines_are_explained_with_what_to_do(folder: Path, line: str) -> None:
    log(folder, "some.log", f"harmless\n{line}\nharmless too\n")
    (finding,) = read_evidence(folder).findings
    assert finding.line == line[:240]
    assert finding.file == "guest-logs/some.log"
    assert KNOWN[line] in finding.remedy
    assert finding.meaning


def test_harmless_lines_are_not() -> None:
    for line in (
        "2026-01-01 10:00:00, Info SYSPRP Waiting for sysprep",
        "GOLDEN step provision 1/3 winfsp ok",
        "Info [0x0606cc] IBS Processing image 1 of 4",
        "Action ended 10:00: InstallFinalize. Return value 1.",
        "CBS Exec: 0x00000000",
    ):
        assert explain(line) is None, line


def test_the_most_telling_line_comes_first_and_each_meaning_once(folder: Path) -> None:
    package = "SYSPRP Package A_1 was installed for a user, but not provisioned for all users."
    log(folder, "a.log", "hr 0x80070490\n" * 50 + "step\n")
    log(folder, "z.log", f"{package}\n{package}\n")
    findings = read_evidence(folder).findings
    assert [finding.file for finding in findings] == ["guest-logs/z.log", "guest-logs/a.log"]
    assert read_evidence(folder).telling == f"guest-logs/z.log: {package}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-8-sig"])
def test_windows_writes_its_logs_in_many_ways(folder: Path, encoding: str) -> None:
    log(folder, "setuperr.log", "Fehler: No images are available\r\n", encoding)
    assert read_evidence(folder).telling.endswith("No images are available")


def test_only_the_end_of_a_large_log_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stages.reading.LARGEST", 1000)
    log(folder, "CBS.log", "hr 0x80070490\n" + "x\n" * 1000 + "hr 0x8007000d\n")
    assert [f.line for f in read_evidence(folder).findings] == ["hr 0x8007000d"]


def test_every_sign_has_a_meaning_and_a_remedy_and_is_reached() -> None:
    assert len({sign.pattern.pattern for sign in SIGNS}) == len(SIGNS)
    assert all(sign.meaning and sign.remedy for sign in SIGNS)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="there is no folder"):
        read_evidence(tmp_path / "no")
    workspace = Workspace(tmp_path, tmp_path / "output", tmp_path / "cache")
    with pytest.raises(PipelineError, match="nothing has failed"):
        newest(workspace)


def test_damaged_notes_and_empty_folders_are_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / NOTE).write_text("{")
    reading = read_evidence(tmp_path)
    assert (reading.image, reading.beacon, reading.last_lines) == ("", "", ())


# The command


@pytest.fixture
def _output(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "output"))
    older = folder.parent / "install-20250101-101112"
    older.mkdir()
    os.utime(older, ns=(1, 1))


@pytest.mark.usefixtures("_output")
def test_the_newest_failure_is_one_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note_failure(folder, "win", "install", PipelineError("win: boot loop", hint="see com1.log"))
    log(folder, "setuperr.log", "No images are available\n")
    assert cli.main(["diagnose"]) == 0
    said = capsys.readouterr().out
    for text in (
        "install-20260101-101112",
        "install:win",
        "win: boot loop",
        "GOLDEN pass specialize",
        "3 RESET",
        "0001-specialize.png",
        "guest-logs/setuperr.log: No images are available",
        "golden media",
    ):
        assert text in said
    assert len(said.splitlines()) < 40


@pytest.mark.usefixtures("_output")
def test_the_reading_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", "--json", str(folder)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["beacon"] == "GOLDEN pass specialize"
    assert said["events"] == {"RESET": 3}


def test_no_failure_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path))
    assert cli.main(["diagnose"]) == 1
    assert "nothing has failed" in capsys.readouterr().err
