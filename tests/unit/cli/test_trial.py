"""``golden trial``: one file to send back, after a success and after a failure, without secrets."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from pipeline.answers.credentials import Credentials
from pipeline.answers.disc import write_disc
from pipeline.answers.passwords import encode
from pipeline.cli import trial
from pipeline.cli.main import main
from pipeline.foundation.paths import Workspace
from pipeline.machine.examination import Look

IMAGE = "windows-server-2025"
SECRET = Credentials.generate("ssh-ed25519 AAAA").password


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An output folder as a build leaves it, in a path with blanks."""
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "all the output"))
    monkeypatch.setenv("GOLDEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir("/")
    looks: dict[str, Look] = {"KVM": lambda _: "none here"}
    monkeypatch.setattr("pipeline.cli.doctor.NEEDED", looks)
    monkeypatch.setattr("pipeline.cli.doctor.WANTED", {})
    made = Workspace.default()
    install = made.stage(IMAGE, "install")
    _write(install / "receipt.json", '{"stage": "install"}')
    _write(install / "evidence/com1.log", "GOLDEN pass windowsPE\n")
    _write(install / "disk.qcow2", "gigabytes")
    _write(install / "build-key", "-----BEGIN OPENSSH PRIVATE KEY-----")
    return made


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _read(report: Path) -> dict[str, str]:
    with tarfile.open(report) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read().decode() for name, file in files.items() if file}


def _builds(monkeypatch: pytest.MonkeyPatch, works: bool, *files: tuple[Path, str]) -> None:
    def build(_: Workspace, image: str) -> tuple[bool, str]:
        assert image == IMAGE
        for path, text in files:
            _write(path, text)
        return works, "" if works else "it says why"

    monkeypatch.setattr(trial, "build_and_listen", build)


def test_a_success_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = workspace.published / IMAGE / "26100.1-20260101.1"
    _builds(
        monkeypatch, True, (version / "manifest.json", "{}"), (version / "disk.qcow2", "gigabytes")
    )
    assert main(["trial", IMAGE]) == 0
    report = workspace.output / f"trial-{IMAGE}.tar.gz"
    assert str(report) in capsys.readouterr().out
    files = _read(report)
    assert set(files) == {
        "host.json",
        "result.json",
        "held-back.json",
        "build/install/receipt.json",
        "build/install/evidence/com1.log",
        f"version/{version.name}/manifest.json",
    }
    result = json.loads(files["result.json"])
    assert result == {"image": IMAGE, "built": True, "said": "", "earlier": False}
    assert json.loads(files["host.json"])[0]["found"] == "none here"


def test_a_failure_is_told_and_so_is_what_it_means(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old, new = (workspace.failures(IMAGE) / name for name in ("install-1", "install-2"))
    _write(old / "com1.log", "of another day")
    _builds(monkeypatch, False, (new / "com1.log", "GOLDEN step bootstrap 1/2 openssh failed\n"))
    report = tmp_path / "to send.tar.gz"
    assert main(["trial", IMAGE, "--report", str(report)]) == 1
    files = _read(report)
    assert "failures/install-2/com1.log" in files
    assert "openssh failed" in files["failures/install-2/reading.txt"]
    assert not any(name.startswith("failures/install-1") for name in files)
    result = json.loads(files["result.json"])
    assert (result["built"], result["said"]) == (False, "it says why")


@pytest.mark.parametrize("form", ["plain", "utf-16", "encoded", "key"])
def test_a_file_with_a_secret_stays_here_and_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    value = encode(SECRET, "Password")
    answers = f"<unattend><Password><Value>{value}</Value></Password></unattend>"
    disc = workspace.stage(IMAGE, "cidata") / "cidata.iso"
    disc.parent.mkdir(parents=True)
    write_disc(disc, "GOLDEN", {"autounattend.xml": answers.encode()})
    text = {
        "plain": SECRET.encode(),
        "utf-16": SECRET.encode("utf-16-le"),
        "encoded": value.encode(),
        "key": b"-----BEGIN OPENSSH PRIVATE KEY-----",
    }[form]
    log = workspace.stage(IMAGE, "install") / "evidence" / "setupact.log"
    log.write_bytes(b"it says " + text + b" to everybody")
    _builds(monkeypatch, True)
    assert main(["trial", IMAGE]) == 0
    files = _read(workspace.output / f"trial-{IMAGE}.tar.gz")
    assert json.loads(files["held-back.json"]) == ["build/install/evidence/setupact.log"]
    assert "build/install/evidence/setupact.log" not in files


FAILURE, VERSION = "install-20260101-101112", "26100.1-20260101.1"


@pytest.mark.parametrize(
    ("order", "code", "words"),
    [
        ([], 1, "no build of windows-server-2025 has come to an end here"),
        ([FAILURE], 1, f"the last build of windows-server-2025 failed: {FAILURE}"),
        ([VERSION], 0, f"the last build of windows-server-2025 made {VERSION}"),
        ([VERSION, FAILURE], 1, f"failed: {FAILURE}"),
        ([FAILURE, VERSION], 0, f"made {VERSION}"),
    ],
)
def test_without_building_it_is_told_how_the_last_build_went(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    order: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.setattr(trial, "build_and_listen", lambda *_: pytest.fail("it must not build"))
    for moment, name in enumerate(order):
        place = workspace.failures(IMAGE) if name == FAILURE else workspace.published / IMAGE
        _write(place / name / "manifest.json", "{}")
        os.utime(place / name, (moment, moment))
    assert main(["trial", IMAGE, "--no-build"]) == code
    assert words in capsys.readouterr().out
    files = _read(workspace.output / f"trial-{IMAGE}.tar.gz")
    result = json.loads(files["result.json"])
    assert (result["built"], result["earlier"]) == (code == 0, True)
    assert words in result["said"]
    failed = order[-1:] == [FAILURE]
    assert any(name.startswith(f"failures/{FAILURE}/") for name in files) is failed


def test_an_image_that_does_not_exist_is_said_before_anything_is_built(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trial", "windows-12"]) == 2
    assert "there is no image 'windows-12'" in capsys.readouterr().err


def test_what_fails_before_any_machine_is_told_too(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task graph itself, as far as it comes without Microsoft's licence."""
    monkeypatch.setenv("GOLDEN_ACCEPT_EULA", "0")  # whatever the settings of this checkout say
    assert main(["trial", IMAGE]) == 1
    said = json.loads(_read(workspace.output / f"trial-{IMAGE}.tar.gz")["result.json"])["said"]
    assert "licence terms have to be accepted once" in said
    assert "accept_eula: true" in said
