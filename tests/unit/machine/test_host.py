"""What is found out about the host: accelerator, features, firmware, sidecars; and remembered."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.definitions.model import Firmware
from pipeline.foundation.errors import MissingRequirement, PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import ProgramFailed
from pipeline.foundation.units import Size
from pipeline.machine import accelerator, qemu, sidecars
from pipeline.machine.accelerator import EXIT_CODE, boot_sector, choose
from pipeline.machine.boot import check_share
from pipeline.machine.firmware import find_firmware
from pipeline.machine.remember import remembered
from pipeline.machine.sidecars import virtiofsd_arguments, virtiofsd_binary
from pipeline.machine.spec import MachineSpec, Share


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "root", tmp_path / "output", tmp_path / "cache")


class Probe:
    """QEMU's double: how long each accelerator takes, or how it fails."""

    def __init__(self, tcg: float, kvm: float | str) -> None:
        self.answers = {"tcg": tcg, "kvm": kvm}
        self.asked: list[tuple[str, float]] = []

    def __call__(self, binary: Path, name: str, disk: Path, deadline: float) -> float:
        assert disk.stat().st_size == 1 << 20
        self.asked.append((name, deadline))
        answer = self.answers[name]
        if isinstance(answer, str):
            raise ProgramFailed(f"qemu failed: {answer}\n    last words\n  command: x")
        if answer > deadline:
            raise ProgramFailed(f"qemu failed: not done within {deadline:g} s")
        return answer


def _host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, probe: Probe, kvm: bool = True) -> None:
    binary = tmp_path / "qemu"
    binary.write_text("one")
    monkeypatch.delenv("GOLDEN_ACCEL", raising=False)
    monkeypatch.setattr(accelerator, "_probe", probe)
    monkeypatch.setattr(accelerator, "qemu_binary", lambda: binary)
    monkeypatch.setattr("os.access", lambda path, mode: kvm)


@pytest.mark.parametrize(
    ("kvm", "chosen", "why"),
    [
        (0.08, "kvm", "0.08 s"),
        (3.3, "tcg", "not done within 1.21 s"),
        ("exit code 1", "tcg", "exit code 1: last words"),
        ("killed by SIGABRT", "tcg", "SIGABRT"),
    ],
)
def test_kvm_is_taken_only_when_it_works_and_is_not_slower(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kvm: float | str,
    chosen: str,
    why: str,
) -> None:
    _host(monkeypatch, tmp_path, Probe(0.14, kvm))
    found = choose(workspace)
    assert found.name == chosen
    assert why in found.note


def test_without_access_kvm_is_not_even_tried(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Probe(0.14, 0.1)
    _host(monkeypatch, tmp_path, probe, kvm=False)
    assert choose(workspace).name == "tcg"
    assert [name for name, _ in probe.asked] == ["tcg"]


def test_the_answer_is_kept_until_qemu_or_the_access_changes(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Probe(0.14, 0.1)
    _host(monkeypatch, tmp_path, probe)
    first = choose(workspace)
    assert choose(workspace) == first
    assert len(probe.asked) == 2
    os.utime(tmp_path / "qemu", ns=(1, 1))
    choose(workspace)
    assert len(probe.asked) == 4
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert choose(workspace).name == "tcg"


def test_the_override_is_obeyed_and_said(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Probe(0.14, 0.1)
    _host(monkeypatch, tmp_path, probe)
    monkeypatch.setenv("GOLDEN_ACCEL", "tcg")
    assert choose(workspace).note == "chosen by GOLDEN_ACCEL"
    assert not probe.asked
    monkeypatch.setenv("GOLDEN_ACCEL", "hvf")
    with pytest.raises(PipelineError, match="expected kvm or tcg"):
        choose(workspace)


def test_the_boot_sector_is_one() -> None:
    sector = boot_sector()[:512]
    assert sector[510:] == b"\x55\xaa"
    assert sector[0] == 0xFA  # cli
    assert bytes([0xB0, EXIT_CODE >> 1]) in sector  # mov al, the value that isa-debug-exit takes


def test_a_memory_that_was_cut_short_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text('{"key": {"a": 1}')
    assert remembered(path, {"a": 1}, lambda: {"n": 1}) == {"n": 1}
    assert remembered(path, {"a": 1}, lambda: {"n": 2}) == {"n": 1}
    assert remembered(path, {"a": 2}, lambda: {"n": 3}) == {"n": 3}


def test_features_come_from_what_qemu_prints(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    binary = tmp_path / "qemu"
    binary.touch()
    said = {
        "-version": "QEMU emulator version 8.2.1 (Debian)\n",
        "-device": 'name "virtio-blk-pci", bus PCI\nname "tpm-crb"\n',
        "-machine": "q35 options:\n  hpet=<bool> - x\n  smm=<OnOffAuto> - y\n",
    }
    monkeypatch.setattr(qemu, "qemu_binary", lambda: binary)
    monkeypatch.setattr(qemu, "_ask", lambda where, option, *rest: said[option])
    monkeypatch.setattr(qemu, "_aio", lambda: "threads")
    found = qemu.ask_qemu(workspace)
    assert found.version == "8.2.1"
    assert found.devices == {"virtio-blk-pci", "tpm-crb"}
    assert found.properties == {"hpet", "smm"}
    found.require("tpm-crb", "any")
    with pytest.raises(MissingRequirement, match="has no device vhost-user-fs-pci"):
        found.require("vhost-user-fs-pci", "qemu-system-x86")


# Firmware descriptors


def _descriptor(folder: Path, name: str, **changes: Any) -> None:
    folder.mkdir(exist_ok=True)
    stem = folder / name.removesuffix(".json")
    stem.with_suffix(".code").touch()
    stem.with_suffix(".vars").touch()
    value = {
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": f"{stem}.code", "format": "raw"},
            "nvram-template": {"filename": f"{stem}.vars", "format": "raw"},
        },
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
        "features": [],
    }
    (folder / name).write_text(json.dumps(value | changes))


SECURE = ["secure-boot", "requires-smm", "enrolled-keys"]


def test_firmware_is_chosen_by_needs_in_order_of_names(tmp_path: Path) -> None:
    _descriptor(tmp_path / "a", "40-secure.json", features=SECURE)
    _descriptor(tmp_path / "a", "50-unenrolled.json", features=SECURE[:2])
    _descriptor(tmp_path / "a", "60-plain.json")
    _descriptor(tmp_path / "a", "70-plain.json")
    plain = find_firmware(False, [tmp_path / "a"])
    secure = find_firmware(True, [tmp_path / "a"])
    assert plain.code.name == "60-plain.code"
    assert secure.code.name == "40-secure.code"
    assert secure.smm
    assert secure.enrolled_keys


def test_the_nearer_folder_replaces_a_name_and_an_empty_file_masks_it(tmp_path: Path) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    _descriptor(far, "60-plain.json")
    _descriptor(near, "60-plain.json")
    assert find_firmware(False, [far, near]).code.parent == near
    (near / "60-plain.json").write_text("")
    with pytest.raises(MissingRequirement, match="without Secure Boot"):
        find_firmware(False, [far, near])


@pytest.mark.parametrize(
    "changes",
    [
        {"interface-types": ["bios"]},
        {"targets": [{"architecture": "aarch64", "machines": ["pc-q35-*"]}]},
        {"targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*"]}]},
        {"mapping": {"device": "memory", "filename": "/x"}},
        {"features": SECURE},
    ],
)
def test_firmware_that_does_not_fit_is_passed_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    _descriptor(tmp_path / "a", "10-wrong.json", **changes)
    with pytest.raises(MissingRequirement) as raised:
        find_firmware(False, [tmp_path / "a"])
    for packages in ("ovmf", "edk2-ovmf", "qemu-ovmf-x86_64"):
        assert packages in raised.value.hint


def test_a_descriptor_whose_files_are_gone_is_passed_over(tmp_path: Path) -> None:
    _descriptor(tmp_path / "a", "10-gone.json")
    (tmp_path / "a" / "10-gone.code").unlink()
    _descriptor(tmp_path / "a", "20-there.json")
    assert find_firmware(False, [tmp_path / "a"]).code.name == "20-there.code"


# Sidecars and shares


def test_both_virtiofsds_are_spoken_to(tmp_path: Path) -> None:
    share = Share(tmp_path / "a folder")
    rust = virtiofsd_arguments(share, 7, rust=True, sandbox="namespace")
    assert rust == [f"--shared-dir={share.directory}", "--fd=7", "--sandbox=namespace"]
    old = virtiofsd_arguments(share, 7, rust=False, sandbox="chroot")
    assert old == ["--fd=7", "-o", f"source={share.directory}", "-o", "sandbox=chroot"]


def test_the_old_virtiofsd_and_a_comma_are_refused(tmp_path: Path) -> None:
    share = Share(tmp_path / "a,b")
    assert virtiofsd_arguments(share, 7, rust=True, sandbox="chroot")[0].endswith("a,b")
    with pytest.raises(PipelineError, match="comma"):
        virtiofsd_arguments(share, 7, rust=False, sandbox="chroot")


def test_qemus_descriptor_says_where_virtiofsd_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = tmp_path / "odd place" / "virtiofsd"
    described.parent.mkdir()
    described.touch(mode=0o755)
    (tmp_path / "50.json").write_text(json.dumps({"type": "fs", "binary": str(described)}))
    (tmp_path / "10.json").write_text(json.dumps({"type": "gpu", "binary": "/bin/true"}))
    monkeypatch.setattr(sidecars, "DESCRIPTORS", (tmp_path,))
    assert virtiofsd_binary() == described


def test_no_virtiofsd_names_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecars, "DESCRIPTORS", ())
    monkeypatch.setattr(sidecars, "USUAL_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRequirement) as raised:
        virtiofsd_binary()
    assert "apt-get install virtiofsd" in raised.value.hint


def _sharing(workspace: Workspace, shared: Path) -> MachineSpec:
    disk = workspace.output / "build" / "disk.qcow2"
    return MachineSpec("m", Firmware.BIOS, 1, Size(1 << 30), disk, share=Share(shared))


@pytest.mark.parametrize("shared", [".", "output", "output/build", "root"])
def test_a_share_that_shows_our_own_files_is_refused(workspace: Workspace, shared: str) -> None:
    folder = workspace.output.parent / shared
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(PipelineError, match="contains"):
        check_share(_sharing(workspace, folder), workspace)


def test_a_link_does_not_get_around_that(workspace: Workspace, tmp_path: Path) -> None:
    workspace.output.mkdir()
    link = tmp_path / "innocent"
    link.symlink_to(workspace.output)
    with pytest.raises(PipelineError, match="contains"):
        check_share(_sharing(workspace, link), workspace)


def test_a_folder_made_for_it_is_shared(workspace: Workspace) -> None:
    folder = workspace.output / "build" / "share"
    folder.mkdir(parents=True)
    check_share(_sharing(workspace, folder), workspace)
    folder.rmdir()
    with pytest.raises(PipelineError, match="does not exist"):
        check_share(_sharing(workspace, folder), workspace)


# virtiofsd's sandbox, tried with virtiofsd itself


def _virtiofsd(tmp_path: Path, namespace: str, chroot: str) -> Path:
    """A virtiofsd that fares in each sandbox as the shell says; it notes how it was started."""
    binary = tmp_path / "virtiofsd"
    binary.write_text(
        "#!/bin/sh\n"
        f'echo "$*" >> {shlex.quote(str(tmp_path / "started"))}\n'
        'case "$*" in\n'
        f"  *=namespace*) {namespace} ;;\n"
        f"  *=chroot*) {chroot} ;;\n"
        "esac\n"
    )
    binary.chmod(0o755)
    return binary


REFUSED = "echo 'unshare: Operation not permitted' >&2; exit 1"


def _chosen(tmp_path: Path, binary: Path) -> str:
    return asyncio.run(sidecars.choose_sandbox(binary, rust=True, runtime=tmp_path))


@pytest.fixture
def _untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecars, "_works", {})
    monkeypatch.delenv(sidecars.SANDBOX, raising=False)


@pytest.mark.usefixtures("_untried")
@pytest.mark.parametrize(
    ("namespace", "chroot", "chosen", "tries"),
    [
        ("exit 0", "exit 0", "namespace", 1),
        (REFUSED, "exit 0", "chroot", 2),
        ("exec sleep 600", REFUSED, "namespace", 1),  # it serves: its sandbox was made
    ],
)
def test_the_best_sandbox_that_virtiofsd_manages_to_make_is_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    namespace: str,
    chroot: str,
    chosen: str,
    tries: int,
) -> None:
    monkeypatch.setattr(sidecars, "DEADLINE", 0.5)
    binary = _virtiofsd(tmp_path, namespace, chroot)
    assert _chosen(tmp_path, binary) == chosen
    assert _chosen(tmp_path, binary) == chosen  # remembered
    assert len((tmp_path / "started").read_text().splitlines()) == tries


@pytest.mark.usefixtures("_untried")
def test_without_any_sandbox_nothing_is_shared_and_both_reasons_are_said(tmp_path: Path) -> None:
    binary = _virtiofsd(tmp_path, REFUSED, "exit 7")
    with pytest.raises(PipelineError) as raised:
        _chosen(tmp_path, binary)
    assert "namespace: unshare: Operation not permitted" in raised.value.message
    assert "chroot: exit code 7" in raised.value.message
    assert "AppArmor" in raised.value.hint
    assert f"{sidecars.SANDBOX}=none" in raised.value.hint


@pytest.mark.usefixtures("_untried")
@pytest.mark.parametrize("asked", ["none", "chroot", "namespace"])
def test_a_sandbox_that_is_asked_for_is_taken_untried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv(sidecars.SANDBOX, asked)
    assert _chosen(tmp_path, tmp_path / "nothing") == asked
    monkeypatch.setenv(sidecars.SANDBOX, "nothing")
    with pytest.raises(PipelineError, match="expected namespace, chroot or none"):
        _chosen(tmp_path, tmp_path / "nothing")


@pytest.mark.usefixtures("_untried")
@pytest.mark.parametrize(("asked", "said"), [("none", "has no sandbox"), ("chroot", "")])
def test_serving_without_a_sandbox_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, said: str
) -> None:
    binary = _virtiofsd(tmp_path, "exec sleep 600", "exec sleep 600")
    monkeypatch.setattr(sidecars, "virtiofsd_binary", lambda: binary)
    monkeypatch.setattr(sidecars, "speaks_rust", lambda _: True)
    monkeypatch.setenv(sidecars.SANDBOX, asked)

    async def main() -> str:
        async with sidecars.virtiofsd(Share(tmp_path), tmp_path, tmp_path) as sidecar:
            return sidecar.note

    note = asyncio.run(main())
    assert said in note
    assert bool(note) == bool(said)


@pytest.mark.usefixtures("_untried")
def test_the_installed_virtiofsd_says_what_it_can_do(tmp_path: Path) -> None:
    try:
        binary = virtiofsd_binary()
    except MissingRequirement:
        pytest.skip("virtiofsd is not installed")
    rust = sidecars.speaks_rust(binary)
    trying = sidecars.choose_sandbox(binary, rust=rust, runtime=tmp_path)
    if os.getuid() == 0:
        assert asyncio.run(trying) in ("namespace", "chroot")
    else:
        with suppress(PipelineError):  # whether a user may is the host's matter
            assert asyncio.run(trying) == "namespace"
    assert not (tmp_path / "fs").exists()
