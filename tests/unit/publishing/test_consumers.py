"""The files for consumers: each is read by the tool it is for, or by its schema."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import UndefinedError
from lxml import etree

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT
from pipeline.foundation.process import run
from pipeline.publishing.consumers import FOLDER, consumer_files, enlightenments, identity, sources
from tests.labels import labels
from tests.unit.publishing.samples import definitions, sample

DEFINED = definitions()
TEMPLATES = ROOT / "templates"
LIBVIRT = Path("/usr/share/libvirt/schemas/domain.rng")
IMAGES = sorted(DEFINED.images)
VARIANTS = [
    {"firmware": "uefi", "tpm": False, "secure_boot": False},
    {"firmware": "uefi", "tpm": True, "secure_boot": True},
    {"firmware": "bios", "tpm": False, "secure_boot": False},
]
# A title that breaks what does not quote it.
TITLE = """Windows & <b> "quoted" 'single' $(touch /tmp/x) `id` {{ x }} \\"""


def manifest(
    machine: dict[str, Any] | None = None, image: str = "windows-11", first_boot: str = "golden"
) -> dict[str, Any]:
    made = sample(image, DEFINED)
    made["machine"] |= machine or {}
    return made | {"title": TITLE, "first_boot": first_boot}


def files(
    machine: dict[str, Any] | None = None, image: str = "windows-11", first_boot: str = "golden"
) -> dict[str, str]:
    made = consumer_files(manifest(machine, image, first_boot), TEMPLATES)
    return {name.removeprefix(f"{FOLDER}/"): data.decode() for name, data in made.items()}


def written(
    folder: Path, machine: dict[str, Any] | None = None, first_boot: str = "golden"
) -> Path:
    """A version's folder with its consumer files, at a path that has a blank."""
    version = folder / "a version"
    for name, text in files(machine, first_boot=first_boot).items():
        path = version / FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (version / "disk.qcow2").write_bytes(b"the published disk")
    return version


def stub(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def with_stubs(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}:/usr/bin:/bin"}


@pytest.mark.parametrize("image", IMAGES)
def test_every_image_has_all_of_them(image: str) -> None:
    made = set(files(image=image))
    assert made == {
        "lima.yaml",
        "libvirt.xml",
        "kubevirt.yaml",
        "qemu.sh",
        "seed.sh",
        "vagrant/Vagrantfile",
        "vagrant/box.sh",
        "vagrant/metadata.json",
    }


@pytest.mark.parametrize(
    ("first_boot", "firmware", "there"),
    [
        ("cloudbase-init", "uefi", True),
        ("cloudbase-init", "bios", False),
        ("golden", "uefi", False),  # it has no CD drive, where our own first boot would look
    ],
)
def test_cloud_hypervisor_is_for_images_that_find_their_seed_on_it(
    first_boot: str, firmware: str, there: bool
) -> None:
    found = consumer_files(manifest({"firmware": firmware}, first_boot=first_boot), TEMPLATES)
    assert (f"{FOLDER}/cloud-hypervisor.sh" in found) == there


def test_nothing_is_left_of_the_templates_and_they_are_reproducible() -> None:
    for name, text in files().items():
        assert "{%" not in text, name
        assert text.count("{{") == text.count("{{ x }}"), name
        assert text.endswith("\n"), name
    assert files() == files()


def test_a_name_that_is_missing_is_an_error() -> None:
    broken = manifest()
    del broken["user"]
    with pytest.raises((UndefinedError, TypeError), match="ndefined"):
        consumer_files(broken, TEMPLATES)


def test_every_template_counts_for_the_stage(tmp_path: Path) -> None:
    names = {p.relative_to(TEMPLATES / FOLDER).as_posix() for p in sources(TEMPLATES)}
    assert set(identity(TEMPLATES)) == names
    assert all((TEMPLATES / FOLDER / name).is_file() for name in names)


@pytest.mark.parametrize("machine", VARIANTS)
def test_lima(machine: dict[str, Any]) -> None:
    made = yaml.safe_load(files(machine)["lima.yaml"])
    assert made["os"] == "Windows"
    assert made["vmType"] == "qemu"
    assert made["plain"] is True
    (image,) = made["images"]
    assert image == {"location": "disk.qcow2", "arch": "x86_64", "digest": f"sha256:{'d' * 64}"}
    assert made["tpm"] is machine["tpm"]
    assert made["firmware"]["legacyBIOS"] is (machine["firmware"] == "bios")
    assert made["disk"] == "65GiB", "not smaller than the image's own disk"
    assert re.fullmatch(r"\d+MiB", made["memory"])
    assert made["user"]["name"] == "golden"


@pytest.mark.parametrize("machine", VARIANTS)
def test_libvirt_accepts_the_domain(machine: dict[str, Any]) -> None:
    assert LIBVIRT.is_file(), "install libvirt-clients (libvirt-common)"
    domain = etree.fromstring(files(machine)["libvirt.xml"].encode())
    schema = etree.RelaxNG(etree.parse(LIBVIRT))
    schema.assertValid(domain)
    assert domain.findtext("title") == TITLE
    assert domain.xpath("memoryBacking/access/@mode") == ["shared"]
    assert domain.xpath("devices/filesystem/driver/@type") == ["virtiofs"]
    efi = ["efi"] if machine["firmware"] == "uefi" else []
    assert domain.xpath("os/@firmware") == efi
    assert bool(domain.xpath("devices/tpm")) == machine["tpm"]
    assert bool(domain.xpath("features/smm")) == machine["secure_boot"]
    features = [element.tag for element in domain.iterfind("features/hyperv/*")]
    assert features == list(enlightenments())
    schema_minds = etree.fromstring(files(machine)["libvirt.xml"].replace("memfd", "m").encode())
    assert not schema.validate(schema_minds)


@pytest.mark.parametrize("machine", VARIANTS)
def test_kubevirt(machine: dict[str, Any]) -> None:
    volume, virtual = yaml.safe_load_all(files(machine)["kubevirt.yaml"])
    assert volume["kind"] == "DataVolume"
    url = volume["spec"]["source"]["http"]["url"]
    assert url.endswith(f"/windows-11/{manifest()['version']}/disk.qcow2")
    assert volume["spec"]["storage"]["resources"]["requests"]["storage"] == "72Gi"
    assert virtual["kind"] == "VirtualMachine"
    inside = virtual["spec"]["template"]["spec"]
    volumes = {v["name"]: v for v in inside["volumes"]}
    assert volumes["disk"]["dataVolume"]["name"] == volume["metadata"]["name"]
    assert {d["name"] for d in inside["domain"]["devices"]["disks"]} == set(volumes)
    assert ("tpm" in inside["domain"]["devices"]) == machine["tpm"]
    boot = inside["domain"]["firmware"]["bootloader"]
    assert boot == ({"efi": {"secureBoot": machine["secure_boot"]}}
                    if machine["firmware"] == "uefi" else {"bios": {}})  # fmt: skip
    hyperv = inside["domain"]["features"]["hyperv"]
    assert hyperv["spinlocks"] == {"spinlocks": 8191}
    assert {"synictimer", "vapic", "relaxed"} <= set(hyperv)


RECORDER = """
class Recorder
  attr_reader :seen
  def initialize(seen, path) = (@seen, @path = seen, path)
  def method_missing(name, *arguments, **named)
    here = [*@path, name.to_s.delete_suffix("=")].join(".")
    inner = Recorder.new(@seen, [*@path, name.to_s])
    if block_given?
      yield inner
    elsif name.to_s.end_with?("=") || arguments.any? || named.any?
      (@seen[here] ||= []) << [*arguments.map(&:to_s), *named.map { |k, v| "#{k}=#{v}" }]
    end
    inner
  end
  def respond_to_missing?(*) = true
end
module Vagrant
  def self.configure(_version)
    seen = {}
    yield Recorder.new(seen, [])
    require "json"
    puts JSON.generate(seen)
  end
end
"""


@pytest.mark.parametrize("machine", VARIANTS)
def test_vagrant(machine: dict[str, Any], tmp_path: Path) -> None:
    version = written(tmp_path, machine) / FOLDER / "vagrant"
    box = json.loads((version / "metadata.json").read_text())
    assert box == {"provider": "libvirt", "format": "qcow2", "virtual_size": 65}
    (tmp_path / "recorder.rb").write_text(RECORDER)
    argv: list[str | Path] = ["ruby", "-r", tmp_path / "recorder.rb", version / "Vagrantfile"]
    seen = json.loads(run(argv, deadline=60, env={"GOLDEN_SEED": "/s.iso"}).output)
    assert seen["vm.communicator"] == [["winssh"]]
    assert seen["ssh.username"] == [["golden"]]
    assert seen["vm.provider.machine_type"] == [["q35"]]
    assert seen["vm.provider.storage"] == [["file", "device=cdrom", "path=/s.iso"]]
    assert ("vm.provider.loader" in seen) == (machine["firmware"] == "uefi")
    assert ("vm.provider.tpm_type" in seen) == machine["tpm"]
    features = [words[0] for words in seen["vm.provider.hyperv_feature"]]
    assert features == [f"name={name}" for name in enlightenments()]


def test_the_box_is_packed_from_the_published_disk(tmp_path: Path) -> None:
    version = written(tmp_path)
    target = tmp_path / "the box.box"
    run(["sh", version / FOLDER / "vagrant/box.sh", target], deadline=60)
    listed = run(["tar", "-tvf", target], deadline=60).output
    assert [line.split()[-1] for line in listed.splitlines()] == [
        "metadata.json",
        "Vagrantfile",
        "box.img",
    ]
    run(["tar", "-C", tmp_path, "-xf", target], deadline=60)
    assert (tmp_path / "box.img").read_bytes() == b"the published disk"
    assert not list(tmp_path.glob("*.part"))


def test_a_seed_is_a_disc_that_first_boot_finds(tmp_path: Path) -> None:
    version = written(tmp_path)
    public = tmp_path / "key.pub"
    public.write_text("ssh-ed25519 AAAAC3Nz somebody\n")
    target = tmp_path / "a seed.iso"
    run(["sh", version / FOLDER / "seed.sh", public, target, "box-7"], deadline=60)
    listed = run(["xorriso", "-indev", target, "-pvd_info", "-find", "/"], deadline=60).output
    assert "/user-data" in listed
    assert labels(target) == {"iso9660": "cidata", "joliet": "cidata"}
    run(["xorriso", "-osirrox", "on", "-indev", target, "-extract", "/user-data",
         tmp_path / "user-data"], deadline=60)  # fmt: skip
    text = (tmp_path / "user-data").read_text()
    assert text.startswith("#cloud-config\n")
    said = yaml.safe_load(text)
    assert said == {"hostname": "box-7", "ssh_authorized_keys": ["ssh-ed25519 AAAAC3Nz somebody"]}
    public.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(PipelineError, match="no public key"):
        run(["sh", version / FOLDER / "seed.sh", public, target], deadline=60)


def test_cloud_hypervisor_gets_a_raw_disk_of_its_own(tmp_path: Path) -> None:
    version = written(tmp_path, first_boot="cloudbase-init")
    stub(tmp_path, "qemu-img", 'for last; do :; done; echo raw > "$last"')
    stub(tmp_path, "cloud-hypervisor", 'printf "%s\\n" "$@"')
    script = version / FOLDER / "cloud-hypervisor.sh"
    disk = tmp_path / "my disk.raw"
    argv: list[str | Path] = ["sh", script, disk, "seed.iso", "CLOUDHV.fd", "--net", "tap=t0"]
    said = run(argv, deadline=60, env=with_stubs(tmp_path)).output.splitlines()
    assert f"path={disk}" in said
    assert said[-2:] == ["--net", "tap=t0"]
    assert any(word.endswith(",kvm_hyperv=on") for word in said)
    assert disk.read_text() == "raw\n"
    disk.write_text("used\n")
    run(argv, deadline=60, env=with_stubs(tmp_path))
    assert disk.read_text() == "used\n", "an instance's disk is never made anew"


@pytest.mark.parametrize("machine", VARIANTS)
def test_shellcheck_finds_nothing(machine: dict[str, Any], tmp_path: Path) -> None:
    scripts = sorted(written(tmp_path, machine, "cloudbase-init").rglob("*.sh"))
    assert len(scripts) >= 3
    run(["shellcheck", "--shell=sh", *scripts], deadline=120)


def qemu(
    tmp_path: Path, *words: str | Path, machine: dict[str, Any] | None = None, accel: str = "tcg"
) -> list[str]:
    """The command line that ``qemu.sh`` gives a QEMU that only tells it."""
    version = tmp_path / "a version"
    if not version.exists():
        written(tmp_path, machine)
        stub(tmp_path, "qemu-img", 'for last; do :; done; echo overlay > "$last"; echo "$@" >&2')
        stub(tmp_path, "qemu-system-x86_64", 'printf "%s\\n" "$@"')
        opens = "s.bind(sys.argv[1]); s.listen(); time.sleep(60)"
        code = f"import socket, sys, time; s = socket.socket(socket.AF_UNIX); {opens}"
        for program, pattern in (("virtiofsd", "--socket-path="), ("swtpm", "path=")):
            script = (
                "case $* in *--help*) echo --shared-dir; exit ;; esac\n"
                f"for word; do case $word in *{pattern}*) at=${{word##*{pattern}}} ;; esac; done\n"
                f"exec /usr/bin/python3 -c '{code}' \"$at\""
            )
            stub(tmp_path, program, script)
        (tmp_path / "code.fd").write_text("code")
        (tmp_path / "vars.fd").write_text("vars")
    env = with_stubs(tmp_path) | {
        "OVMF_CODE": str(tmp_path / "code.fd"),
        "OVMF_VARS": str(tmp_path / "vars.fd"),
        "ACCEL": accel,
        "XDG_STATE_HOME": str(tmp_path / "state home"),
    }
    return run(
        ["sh", version / FOLDER / "qemu.sh", *words], deadline=60, env=env
    ).output.splitlines()


@pytest.mark.parametrize("machine", VARIANTS)
def test_qemu_is_started_as_the_image_was_built(machine: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    said = qemu(tmp_path, "--share", tmp_path / "share", machine=machine)
    text = "\n".join(said)
    assert "ssh -p 2222 golden@127.0.0.1" in said[0]
    assert "user,id=net,hostfwd=tcp:127.0.0.1:2222-:22" in said
    assert "vhost-user-fs-pci,chardev=share,queue-size=1024,tag=golden" in said
    assert ("tpm-crb,tpmdev=tpm0" in said) == machine["tpm"]
    assert ("if=pflash" in text) == (machine["firmware"] == "uefi")
    options = said[said.index("-machine") + 1]
    assert ("smm=on" in options) == machine["secure_boot"]
    assert "memory-backend=memory" in options


def test_qemu_never_gets_the_published_disk_and_keeps_the_overlay(tmp_path: Path) -> None:
    said = "\n".join(qemu(tmp_path))
    overlay = tmp_path / "state home/golden-windows/windows-11/disk.qcow2"
    assert f"file={overlay}" in said
    assert str(tmp_path / "a version/disk.qcow2") not in said
    overlay.write_text("used\n")
    qemu(tmp_path)
    assert overlay.read_text() == "used\n"
    assert (tmp_path / "a version/disk.qcow2").read_bytes() == b"the published disk"


def test_an_instance_of_another_version_is_told(tmp_path: Path) -> None:
    qemu(tmp_path)
    state = tmp_path / "state home/golden-windows/windows-11"
    assert (state / "version").read_text() == f"{manifest()['version']}\n"
    (state / "version").write_text("1.1-20200101.1\n")
    stub(tmp_path, "qemu-system-x86_64", "exit 7")
    with pytest.raises(PipelineError, match=r"an instance of version 1\.1-20200101\.1"):
        qemu(tmp_path)


@pytest.mark.parametrize("takes", [True, False])
def test_kvm_is_tried_before_it_is_taken(takes: bool, tmp_path: Path) -> None:
    """Some hypervisors offer a /dev/kvm without the enlightenments, and QEMU ends at once."""
    qemu(tmp_path)
    refuses = "" if takes else 'case $* in *"-accel kvm"*) exit 1 ;; esac; '
    stub(tmp_path, "qemu-system-x86_64", f'{refuses}printf "%s\\n" "$@"')
    said = qemu(tmp_path, accel="")
    there = takes and os.access("/dev/kvm", os.R_OK | os.W_OK)
    assert said[said.index("-accel") + 1] == ("kvm" if there else "tcg")
    assert said[said.index("-cpu") + 1].startswith("host,hv-" if there else "max")


def test_a_comma_in_a_path_is_doubled_for_qemu(tmp_path: Path) -> None:
    said = "\n".join(qemu(tmp_path, "--state", tmp_path / "a,b"))
    assert f"file={tmp_path}/a,,b/disk.qcow2" in said


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--seed", "/nowhere.iso"], "there is no seed"),
        (["--port"], "needs a value"),
        (["--frob", "x"], "usage:"),
        (["--share", "/nowhere"], "there is no folder"),
    ],
)
def test_wrong_use_of_qemu_sh_is_one_sentence(
    words: list[str], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(PipelineError, match=complaint):
        qemu(tmp_path, *words)


def test_a_share_that_holds_the_disk_is_refused(tmp_path: Path) -> None:
    qemu(tmp_path)
    for share in (tmp_path, tmp_path / "a version", tmp_path / "state home/golden-windows"):
        with pytest.raises(PipelineError, match=r"the shared folder .* contains"):
            qemu(tmp_path, "--share", share)


def test_nothing_is_left_running(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    temporary = tmp_path / "t"
    temporary.mkdir()
    qemu(tmp_path)
    version = tmp_path / "a version" / FOLDER / "qemu.sh"
    env = with_stubs(tmp_path) | {
        "TMPDIR": str(temporary),
        "ACCEL": "tcg",
        "HOME": str(tmp_path),
        "OVMF_CODE": str(tmp_path / "code.fd"),
        "OVMF_VARS": str(tmp_path / "vars.fd"),
    }
    run(["sh", version, "--share", tmp_path / "share"], deadline=60, env=env)
    assert list(temporary.iterdir()) == []
    assert run(["pgrep", "-f", str(temporary)], deadline=10, ok=(0, 1)).output == ""
