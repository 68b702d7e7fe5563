"""golden doctor: each thing a host needs is used once, and what is missing names its package."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.main import main
from pipeline.foundation.errors import MissingRequirement, PipelineError
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.process import ProgramFailed
from pipeline.machine import examination, sidecars
from pipeline.machine.accelerator import Accelerator
from pipeline.machine.examination import DEVICES, NEEDED, WANTED, Look
from pipeline.machine.qemu import Qemu

LOOKS: dict[str, Look] = NEEDED | WANTED


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(ROOT, tmp_path / "output", tmp_path / "cache")


@pytest.fixture
def _nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(sidecars, "DESCRIPTORS", ())
    monkeypatch.setattr("pipeline.machine.firmware.folders", lambda: (tmp_path / "none",))


@pytest.mark.usefixtures("_nothing_installed")
@pytest.mark.parametrize(
    "name",
    ["qemu", "qemu features", "accelerator", "qemu-img", "uefi firmware", "virtiofsd", "setpriv",
     "secure boot firmware", "swtpm", "7z"],
)  # fmt: skip
def test_what_is_missing_names_the_package_of_each_distribution(
    workspace: Workspace, name: str
) -> None:
    with pytest.raises(MissingRequirement) as raised:
        LOOKS[name](workspace)
    for tool in ("apt-get install ", "dnf install ", "zypper install ", "pacman -S "):
        assert tool in raised.value.hint, raised.value.hint


def qemu(*devices: str) -> Qemu:
    return Qemu(Path("/q"), "6.2", frozenset(devices), frozenset(), "threads")


def test_a_qemu_without_a_device_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "ask_qemu", lambda _: qemu(*DEVICES))
    assert "all that a machine has" in LOOKS["qemu features"](workspace)
    with pytest.raises(MissingRequirement, match="vhost-user-fs-pci"):
        LOOKS["shared folders"](workspace)
    monkeypatch.setattr(examination, "ask_qemu", lambda _: qemu("VGA"))
    with pytest.raises(MissingRequirement, match="virtio-blk-pci, virtio-scsi-pci"):
        LOOKS["qemu features"](workspace)


def test_the_devices_asked_for_are_those_of_the_command_line() -> None:
    from pipeline.machine import command

    text = Path(command.__file__).read_text()
    assert all(name in text for name in DEVICES)


def test_the_accelerator_tells_its_probes_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "choose", lambda _: Accelerator("kvm", 0.08, "works"))
    assert LOOKS["accelerator"](workspace) == "kvm, probe 0.08 s (works)"
    assert LOOKS["kvm"](workspace) == "usable"
    monkeypatch.setattr(examination, "choose", lambda _: Accelerator("tcg", 0.1, "no /dev/kvm"))
    with pytest.raises(PipelineError, match="no /dev/kvm"):
        LOOKS["kvm"](workspace)


def test_a_qemu_img_without_zstd_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def old(argv: list[Any], *, deadline: float, hint: str) -> None:
        raise ProgramFailed("qemu-img failed: Invalid parameter 'zstd'", hint=hint)

    monkeypatch.setattr(examination, "find_program", lambda name, hint="": Path(f"/bin/{name}"))
    monkeypatch.setattr(examination, "run", old)
    with pytest.raises(PipelineError) as raised:
        LOOKS["qemu-img"](workspace)
    assert "without zstd" in raised.value.hint


def test_a_loopback_that_can_not_be_used_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "127.0.0.1" in LOOKS["ports"](workspace)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(PipelineError, match=r"no port of 127\.0\.0\.1 can be used"):
        LOOKS["ports"](workspace)


@pytest.mark.parametrize(("years", "sane"), [(0, True), (2, True), (-3, False), (20, False)])
def test_a_clock_that_can_not_be_right_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, years: int, sane: bool
) -> None:
    newest = max(path.stat().st_mtime for path in ROOT.iterdir() if path.is_file())
    monkeypatch.setattr(
        "pipeline.machine.examination.time.time", lambda: newest + 60 + years * 365 * 86400
    )
    if sane:
        assert LOOKS["clock"](workspace).endswith("UTC")
    else:
        with pytest.raises(PipelineError) as raised:
            LOOKS["clock"](workspace)
        assert "TLS" in raised.value.hint


def test_a_small_disk_and_little_memory_are_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "WINDOWS_DISK", 1 << 60)
    monkeypatch.setattr(examination, "WINDOWS_MEMORY", 1 << 60)
    with pytest.raises(PipelineError, match="a Windows image needs") as raised:
        LOOKS["disk for Windows"](workspace)
    assert "GOLDEN_OUTPUT" in raised.value.hint
    assert "free in" in LOOKS["disk"](workspace)  # no Windows, but a rehearsal
    with pytest.raises(PipelineError) as raised:
        LOOKS["memory"](workspace)
    assert raised.value.hint
    monkeypatch.setattr(examination, "WINDOWS_DISK", 1)
    assert "free in" in LOOKS["disk for Windows"](workspace)
    monkeypatch.setattr(examination, "SMALLEST_DISK", 1 << 60)
    with pytest.raises(PipelineError, match="the smallest image needs"):
        LOOKS["disk"](workspace)
    assert "disk" in examination.NEEDED  # nothing can be built then


def test_virtiofsd_is_told_with_its_sandbox(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    binary = tmp_path / "virtiofsd"
    binary.write_text('#!/bin/sh\ncase "$*" in *help*) echo --shared-dir ;; esac\n')
    binary.chmod(0o755)
    monkeypatch.setattr(examination, "virtiofsd_binary", lambda: binary)
    monkeypatch.delenv(sidecars.SANDBOX, raising=False)
    assert LOOKS["virtiofsd"](workspace) == f"{binary}, the Rust one, sandbox namespace"


def test_everything_that_is_asked_for_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines for this very host: each has a state, and those that are not ok say what to do."""
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path))
    monkeypatch.setenv("GOLDEN_ACCEL", "tcg")  # no probe: it takes a second
    code = main(["doctor", "--json"])
    lines = json.loads(capsys.readouterr().out)
    names = {line["name"] for line in lines}
    assert names >= {"qemu", "accelerator", "uefi firmware", "swtpm", "virtiofsd", "qemu-img"}
    assert names >= {"disk", "memory", "ports", "clock", "qemu features"}
    for line in lines:
        assert line["state"] in ("ok", "warning", "missing")
        assert line["state"] == "ok" or line["hint"]
    assert code == int(any(line["state"] == "missing" for line in lines))
