"""The findings of the review of the proof of concept, as properties; docs/review.md lists all.

Here are those that no other test names. ``test_i1`` to ``test_i8`` are the eight important ones.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from lxml import etree

from pipeline.answers import passwords
from pipeline.answers.credentials import Credentials, substitute
from pipeline.answers.plans import VIRTIOFS, provision_plan
from pipeline.cli.render import rendered
from pipeline.definitions.loader import load
from pipeline.definitions.model import Definitions, Firmware, Kind
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.units import Size
from pipeline.machine.boot import check_share
from pipeline.machine.spec import MachineSpec, Share
from pipeline.publishing.version import appear
from pipeline.stages.build import Build
from pipeline.stages.cidata import DISC
from tests.unit.guest_scripts import syntax
from tests.unit.machine import test_command as machines
from tests.unit.stages import test_plan as graphs

PIPELINE = ROOT / "pipeline"
SOURCES = [p for p in sorted(PIPELINE.rglob("*.py")) if PIPELINE / "rehearsal" not in p.parents]
TEMPLATES = sorted(path for path in (ROOT / "templates").rglob("*") if path.is_file())
NAMESPACE = "{urn:schemas-microsoft-com:unattend}"
# A letter before a colon and a slash, as in D:\x; not HKLM:\ and not the loop's %d:\.
DRIVE = re.compile(r"(?<![A-Za-z0-9%$])([A-Za-z]):[\\/]")

# Whoever deletes files, and what. A disk is deleted by the runner, once its successor is there.
# What was downloaded (inputs) comes back by itself and has tests of its own.
DELETES = {
    "publishing/catalog.py:change": "the signature of an earlier catalog",
    "publishing/stores/directory.py:remove": "a version that its catalog no longer lists",
    "publishing/stores/directory.py:push": "what a killed push left, under its hidden name",
    "publishing/pull.py:_drop_others": "what an earlier attempt left in the hidden folder",
    "publishing/waste.py:_remove": "what the caller listed as waste",
    "foundation/board.py:_entries": "the file of a terminal's live lines, when none is left",
    "foundation/files.py:replacing": "its own temporary file",
    "instances/store.py:create": "what a killed one left, under its hidden name",
    "instances/store.py:remove": "a stopped instance, when its owner said so",
    "instances/store.py:rotate_logs": "the logs of the run before the last",
    "machine/machine.py:screenshot": "a screenshot like the one before",
    "machine/machine.py:screen": "a look at the screen",
    "machine/offline.py:read_files": "its own copies of a partition",
    "machine/runtime.py:runtime_folder": "its own sockets",
    "machine/runtime.py:sweep": "sockets of a dead owner",
    "machine/sidecars.py:_accepting": "its own socket",
    "publishing/version.py:staging": "what a killed run left, under its hidden name",
    "stages/keep.py:_told": "the note that a machine is kept",
    "stages/keep.py:kept": "the notes of dead processes",
    "stages/layers.py:pull": "what came of a pull that was broken off or refused",
    "stages/layers.py:_bring": "the archive that was unpacked",
    "stages/tonight.py:end": "the note of when a rebuild began, which is done",
    "stages/runner.py:_keep_evidence": "the work folder of a failure",
    "stages/runner.py:_run": "the work folder of a killed run",
    "stages/runner.py:_swap": "what the new product replaces",
    "stages/runner.py:_tidy": "what is no output, in its work folder",
}


@cache
def definitions() -> Definitions:
    return load(Workspace.default(), {})


@cache
def files_of(image: str) -> dict[str, bytes]:
    return rendered(Build.of(image, definitions(), Workspace.default()))


every_image = pytest.mark.parametrize("image", sorted(definitions().images))


def texts(value: object) -> Iterator[str]:
    """Every text in a plan."""
    match value:
        case str():
            yield value
        case dict():
            yield from itertools.chain.from_iterable(map(texts, value.values()))
        case list():
            yield from itertools.chain.from_iterable(map(texts, value))


def letters(text: str) -> set[str]:
    return {letter.upper() for letter in DRIVE.findall(text)}


# I1: launching deleted the installed disk


def deletions(path: Path) -> Iterator[str]:
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and node.attr in ("unlink", "rmtree", "rmdir"):
                yield f"{path.relative_to(PIPELINE).as_posix()}:{function.name}"


def test_i1_a_disk_is_deleted_by_the_runner_alone() -> None:
    building = [path for path in SOURCES if PIPELINE / "inputs" not in path.parents]
    found = {name for path in building for name in deletions(path)}
    assert found - set(DELETES) == set(), "say in DELETES what this deletes, and why no disk"
    assert set(DELETES) - found == set(), "DELETES names what is no longer there"


def test_i1_a_second_run_leaves_the_installed_disk_alone(tmp_path: Path) -> None:
    world = graphs.World(tmp_path)
    world.run()
    disk = world.build.folder("disk") / "disk.txt"
    before = (disk.stat().st_ino, disk.stat().st_mtime_ns, disk.read_bytes())
    world.run()
    assert (disk.stat().st_ino, disk.stat().st_mtime_ns, disk.read_bytes()) == before


def test_i1_a_published_version_is_never_replaced(tmp_path: Path) -> None:
    final = tmp_path / "image" / "1.0-20260101.1"
    for text in ("first", "second"):
        folder = tmp_path / "image" / f".{text}.part"
        folder.mkdir(parents=True)
        (folder / "disk.qcow2").write_text(text)
        if text == "first":
            appear(folder, final)
            continue
        with pytest.raises(OSError, match="not empty"):
            appear(folder, final)
    assert (final / "disk.qcow2").read_text() == "first"
    assert (final / "disk.qcow2").stat().st_mode & 0o222 == 0


# I2: virtiofsd without readiness, without an owner, without an end


@pytest.mark.parametrize(
    "name",
    [
        "test_virtiofsds_death_is_noticed",
        "test_nothing_outlives_the_owner",
        "test_a_second_interrupt_ends_a_frozen_qemu_too",
        "test_an_error_in_the_block_ends_everything",
        "test_uefi_with_secure_boot_tpm_share_and_all_disks",
    ],
)
def test_i2_a_real_virtiofsd_is_tested_to_its_end(name: str) -> None:
    """The lifecycle is held by machines that are really booted; none of these may get lost."""
    tree = ast.parse((ROOT / "tests" / "integration" / "test_machine.py").read_text())
    bodies = {n.name: ast.unparse(n) for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert re.search(r"with_share|start_owner|share=", bodies[name])
    assert re.search(r"with_share", bodies["start_owner"])


def test_i2_qemu_gets_a_connection_and_no_socket_path() -> None:
    """Both ends exist before either program starts: nothing to race for, nothing left behind."""
    argv = machines.words(replace(machines.SPEC, share=Share(Path("/s"))))
    channels = machines.after(argv, "-chardev")
    assert [text for text in channels if text.startswith("socket,id=share,fd=")]
    assert not [text for text in channels if "path=" in text and "socket" in text]


# I3: two tags for one share


def test_i3_the_tag_of_a_share_is_written_in_one_place() -> None:
    tag = Share(Path("/s")).tag
    argv = machines.words(replace(machines.SPEC, share=Share(Path("/s"))))
    assert machines.devices(argv, "vhost-user-fs-pci")[0].endswith(f",tag={tag}")
    written = [
        path
        for path in sorted(PIPELINE.rglob("*.py"))
        if re.search(rf"tag\b[^\n]*[=:] *[\"']{tag}[\"']", path.read_text())
    ]
    assert [path.name for path in written] == ["spec.py"]
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *TEMPLATES):
        if path.name != "review.md":
            named = re.findall(r"\btag=([\w{}$.-]+)", path.read_text())
            assert set(named) <= {tag}, path


# I4: the first logon went on after a failure


def test_i4_every_guest_script_stops_at_the_first_error() -> None:
    assert len(syntax.SCRIPTS) == 4
    for script in syntax.SCRIPTS:
        lines = script.read_text().splitlines()
        strict = lines.index("$ErrorActionPreference = 'Stop'")
        assert lines[strict - 1] == "Set-StrictMode -Version 3.0"
        first = next(n for n, line in enumerate(lines) if line.startswith("function "))
        assert strict < first


def test_i4_no_exit_code_of_a_program_goes_unseen() -> None:
    """Programs run through ``Invoke-Program``, which throws; nobody looks at $LASTEXITCODE."""
    for script in syntax.SCRIPTS:
        text = script.read_text()
        assert "$LASTEXITCODE" not in text
        assert not re.search(r"\bStart-Process\b|-ErrorAction Ignore", text)
        called = {call.name for call in syntax.commands(syntax.parse(text))}
        assert not {name for name in called if name.endswith((".exe", ".cmd", ".com"))}


# I5: the guest was shown its own disk


@pytest.mark.parametrize(
    "path", ["output/build/win/install/disk.qcow2", f"output/build/win/cidata/{DISC}"]
)
@pytest.mark.parametrize("shared", [".", "output", "output/build/win", "parent"])
def test_i5_a_share_with_disk_or_answer_file_is_refused(
    tmp_path: Path, path: str, shared: str
) -> None:
    workspace = Workspace(tmp_path / "checkout", tmp_path / "elsewhere", tmp_path / "cache")
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    folder = file.parent if shared == "parent" else tmp_path / shared
    other = tmp_path / "other" / "disk.qcow2"
    spec = MachineSpec("win", Firmware.UEFI, 2, Size(4 << 30), other, share=Share(folder))
    spec = replace(spec, disk=file) if path.endswith("qcow2") else replace(spec, cdroms=(file,))
    with pytest.raises(PipelineError, match="contains") as raised:
        check_share(spec, workspace)
    assert raised.value.hint == "share a folder made for it"


# I6: code from the network, as an administrator, unverified


@pytest.mark.parametrize(
    "path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates"))
)
def test_i6_nothing_that_a_guest_gets_downloads_or_evaluates(path: Path) -> None:
    forbidden = (
        r"Invoke-Expression|\biex\b|DownloadString|DownloadFile|WebClient|Invoke-WebRequest"
        r"|Invoke-RestMethod|\bcurl\b|\bwget\b|Start-BitsTransfer|bitsadmin|choco|winget"
        r"|Add-WindowsCapability|https?://(?!schemas\.microsoft\.com/)"
    )
    assert re.findall(forbidden, path.read_text(), flags=re.IGNORECASE) == []


def test_i6_every_package_that_is_installed_has_a_pinned_digest() -> None:
    packages = [pin for pin in definitions().pins.values() if pin.kind is Kind.MSI]
    assert packages
    for pin in packages:
        assert pin.made or (pin.sha256 and all(url.startswith("https:") for url in pin.urls))


@every_image
def test_i6_a_package_of_a_plan_is_a_pin_or_a_digest(image: str) -> None:
    plans = [json.loads(files_of(image)[f"{name}.json"]) for name in ("bootstrap", "provision")]
    steps = [step for plan in plans for step in plan["steps"] if step["kind"] == "msi"]
    assert steps
    for step in steps:
        (source,) = [payload["from"] for payload in step["payloads"]]
        assert source.get("pin") in definitions().pins or source.get("sha256")


# I7: drive letters


@every_image
def test_i7_no_answer_file_knows_a_drive_letter(image: str) -> None:
    for name in ("autounattend.xml", "unattend-oobe.xml"):
        root = etree.fromstring(files_of(image)[name])
        for paths in list(root.iter(f"{NAMESPACE}DriverPaths")):
            tried = [letters(str(text)) for text in paths.itertext() if str(text).strip()]
            assert len(tried) > 20, "every letter is tried"
            paths.clear()
        assert {x for text in root.itertext() for x in letters(str(text))} == set(), name


@every_image
def test_i7_no_plan_knows_a_drive_but_the_system_drive(image: str) -> None:
    for name in ("bootstrap.json", "provision.json"):
        found = {x for text in texts(json.loads(files_of(image)[name])) for x in letters(text)}
        assert found <= {"C"}, name


@every_image
def test_i7_the_virtiofs_program_is_on_the_system_disk_after_winfsp(image: str) -> None:
    steps = {step.id: step for step in provision_plan(definitions().images[image]).steps}
    order = list(steps)
    assert order.index("winfsp") < order.index("virtiofs-program") < order.index("virtiofs-service")
    assert (steps["winfsp"].kind, steps["virtiofs-program"].kind) == ("msi", "file")
    service = steps["virtiofs-service"].keys
    assert service["binary"] == steps["virtiofs-program"].keys["path"] == VIRTIOFS
    assert letters(VIRTIOFS) == {"C"}
    assert "WinFsp.Launcher" in service["depend"]


# I8: a machine type that one distribution has


@pytest.mark.parametrize("accelerator", ["kvm", "tcg"])
@pytest.mark.parametrize("firmware", list(Firmware))
def test_i8_the_machine_type_is_one_that_every_qemu_has(
    accelerator: str, firmware: Firmware
) -> None:
    argv = machines.words(replace(machines.SPEC, firmware=firmware), machines.host(accelerator))
    assert machines.after(argv, "-machine")[0].split(",")[0] == "q35"


def test_i8_no_machine_type_of_a_release_or_distribution_is_named() -> None:
    named = [x for p in SOURCES for x in re.findall(r"pc-(?:q35|i440fx)-[\w.*]+", p.read_text())]
    assert set(named) == {"pc-q35-0", "pc-q35-*"}, "what firmware descriptors are asked for"


# Suggestions and design observations


def test_s2_nothing_depends_on_the_working_directory() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert not re.search(r"\bos\.getcwd\b|\bPath\.cwd\b|\bos\.chdir\b", text), path


def test_s4_the_label_of_the_build_disc_is_written_once() -> None:
    """The rehearsal and Windows find the disc by content, so that no label can be misspelt."""
    holders = [p for p in SOURCES if re.search(r"^LABEL = ", p.read_text(), flags=re.MULTILINE)]
    assert [path.name for path in holders] == ["cidata.py"]


def test_s5_what_is_produced_is_ignored_by_folder_and_not_by_version() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/output/" in ignored
    assert not [line for line in ignored if re.search(r"\d", line)]


def test_the_password_is_random_and_nobodys_name() -> None:
    made = [Credentials.generate("ssh-ed25519 AAAA") for _ in range(50)]
    assert len({each.password for each in made}) == 50
    users = {image.user for image in definitions().images.values()}
    for each in made:
        assert len(each.password) >= 32
        assert not [user for user in users if user in each.password.lower()]


@every_image
def test_no_answer_file_holds_a_password_in_plain_text(image: str) -> None:
    credentials = Credentials.generate("ssh-ed25519 AAAA")
    name = "autounattend.xml"
    answers = {name: files_of(image)[name], "bootstrap.json": files_of(image)["bootstrap.json"]}
    root = etree.fromstring(substitute(answers, credentials)[name])
    assert {e.text for e in root.iter(f"{NAMESPACE}PlainText")} == {"false"}
    held = [
        (etree.QName(parent).localname, parent.findtext(f"{NAMESPACE}Value") or "")
        for parent in root.iter("{*}Password", "{*}AdministratorPassword")
    ]
    assert len(held) >= 2
    for suffix, value in held:
        assert passwords.decode(value, suffix) == credentials.password
        assert credentials.password not in value


def test_no_release_of_windows_is_written_into_a_template() -> None:
    """Which driver folder a release has is looked up on the driver disc when the disc is made."""
    for path in TEMPLATES:
        assert not re.search(r"\b2k(16|19|22|25)\b", path.read_text()), path
    releases = {image.release for image in definitions().images.values()}
    assert len(releases) >= 5
