"""The stage as a whole, on a small disk: what appears, and what a failure leaves."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.definitions.model import Settings
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_file
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.process import run
from pipeline.foundation.units import Size
from pipeline.inputs.drivers import Driver
from pipeline.machine import image as qemu_img
from pipeline.publishing import catalog, signature
from pipeline.publishing.version import SIGNATURE, SUMS, require_whole
from pipeline.stages import payloads, publish
from pipeline.stages.build import Build, Work
from pipeline.stages.graph import STAGES
from pipeline.stages.receipts import Receipt
from tests.unit.publishing.samples import definitions

DEFINED = definitions()
ID = "7" * 64
CHECKS = [{"name": "disk", "group": "g", "ok": True, "seconds": 0.1, "evidence": "x"}]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Everything that the stage stands on, without a build."""

    def drivers(self: payloads.Sources, pin: str, driver: str) -> list[Driver]:
        return [Driver(driver, f"{driver}.inf", "100.1", {f"{driver}.inf": b"[Version]"})]

    monkeypatch.setattr(payloads.Sources, "drivers", drivers)
    workspace = Workspace(ROOT, tmp_path / "out put", tmp_path / "cache")
    build = Build.of("rehearsal", DEFINED, workspace)
    for stage in publish.FROM:
        folder = build.folder(stage)
        folder.mkdir(parents=True)
        receipt = Receipt(
            stage, "1" * 64, "r", {}, tools={"qemu": "7.2", "accelerator": "tcg"},
            timings={"total": 2.5},
        )  # fmt: skip
        receipt.save(workspace.receipt("rehearsal", stage))
    for stage in publish.CARRIED:
        (build.folder(stage) / "checks.json").write_text(json.dumps(CHECKS))
        (build.folder(stage) / "junit.xml").write_text("<testsuites/>")
    qemu_img.create(build.folder("seal") / "disk.qcow2", Size.parse("1M"))
    folder = tmp_path / "work"
    folder.mkdir()
    return Work(build, folder, ID)


def published(work: Work) -> list[Path]:
    return sorted((work.build.workspace.published / "rehearsal").glob("[!.]*"))


def test_a_version_appears_whole_signed_and_listed(work: Work) -> None:
    made = publish.make(work)
    (folder,) = published(work)
    assert made.facts["version"] == folder.name
    workspace = work.build.workspace
    by = signature.verify(
        folder / SUMS, folder / SIGNATURE, workspace.published / "allowed_signers"
    )
    listed = require_whole(folder)
    assert {
        "disk.qcow2", "manifest.json", "bom.cdx.json", "provenance.json", "allowed_signers",
        "check-checks.json", "check-junit.xml", "prove-checks.json", "prove-junit.xml",
        "consumers/qemu.sh", "consumers/libvirt.xml", "consumers/lima.yaml",
        "consumers/kubevirt.yaml", "consumers/seed.sh",
        "consumers/vagrant/Vagrantfile", "consumers/vagrant/box.sh",
        "consumers/vagrant/metadata.json",
    } <= set(listed)  # fmt: skip
    assert (
        by
        in json.loads((folder / "provenance.json").read_text())["predicate"]["runDetails"][
            "builder"
        ]["id"]
    )
    entry = catalog.find(workspace.catalog, "rehearsal", ID)
    assert entry
    assert entry.sha256 == listed["disk.qcow2"] == sha256_file(folder / "disk.qcow2")
    assert catalog.present(workspace.published, entry)
    index, signed = workspace.catalog, workspace.catalog.with_name("index.json.sig")
    assert signature.verify(index, signed, workspace.published / "allowed_signers") == by


def test_every_file_of_a_version_is_explained(work: Work) -> None:
    publish.make(work)
    (folder,) = published(work)
    told = (ROOT / "docs" / "consuming.md").read_text()
    names = {f"{p.name}/" if p.is_dir() else p.name for p in folder.iterdir()}
    assert [name for name in sorted(names) if f"`{name}`" not in told] == []


def test_nothing_of_the_host_is_told(work: Work) -> None:
    publish.make(work)
    (folder,) = published(work)
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in (".qcow2", ".sig"):
            text = path.read_text()
            assert str(ROOT) not in text, path
            assert str(work.build.workspace.output) not in text, path
            assert "PRIVATE KEY" not in text, path


def test_what_was_carried_in_is_in_the_bill(work: Work) -> None:
    publish.make(work)
    (folder,) = published(work)
    bill: dict[str, Any] = json.loads((folder / "bom.cdx.json").read_text())
    parts = {c["name"]: c for c in bill["components"]}
    image = work.build.image
    assert {*image.drivers.setup, *image.drivers.guest} <= set(parts)
    assert parts["winfsp"]["version"] == DEFINED.pins[image.winfsp].version
    assert "openssh" in parts
    hello = parts["images/rehearsal/hello.py"]
    assert hello["hashes"][0]["content"] == sha256_file(ROOT / "images/rehearsal/hello.py")
    assert "firstboot.ps1" in parts


def test_another_key_joins_the_allowed_signers(work: Work, tmp_path: Path) -> None:
    publish.make(work)
    other = signature.ensure_key(Workspace(tmp_path, tmp_path / "o", tmp_path / "c"), Settings())
    build = replace(work.build, settings=Settings(signing_key=str(other)))
    publish.make(replace(work, build=build))
    first, second = published(work)
    allowed = work.build.workspace.published / "allowed_signers"
    signers = {signature.verify(f / SUMS, f / SIGNATURE, allowed) for f in (first, second)}
    assert len(signers) == 2


def test_the_same_build_published_anew_is_another_version(work: Work) -> None:
    """As before expiry: what goes in has not changed, Windows was installed again."""
    names = [publish.make(work).facts["version"] for _ in range(2)]
    folders = published(work)
    assert [folder.name for folder in folders] == names
    first, second = (json.loads((folder / "manifest.json").read_text()) for folder in folders)
    assert first["build_id"] == second["build_id"] == ID
    entry = catalog.load(work.build.workspace.catalog).newest("rehearsal")
    assert entry is not None
    assert entry.version == names[1]
    assert "from the same inputs" in (folders[1] / "report.html").read_text()


def test_a_name_that_was_published_once_is_never_given_again(work: Work) -> None:
    first = publish.make(work).facts["version"]
    shutil.rmtree(work.build.workspace.published / "rehearsal" / first)
    second = publish.make(work).facts["version"]
    assert first.endswith(".1")
    assert second == f"{first.removesuffix('.1')}.2"


def test_a_name_that_a_store_knows_is_never_given_again(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish.make(work).facts["version"]
    store = tmp_path / "a store"
    work.build.workspace.published.rename(store)
    monkeypatch.setattr(publish, "push_all", lambda *_: None)
    build = replace(work.build, settings=Settings(stores=(str(store),)))
    assert publish.make(replace(work, build=build)).facts["version"] == f"{first[:-1]}2"


def test_a_key_that_cannot_sign_is_told_before_the_work(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compress(*_: object) -> None:
        raise AssertionError("hours of work")

    monkeypatch.setattr(publish, "compress", compress)
    key = tmp_path / "locked"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret!", "-f", key], deadline=30)
    build = replace(work.build, settings=Settings(signing_key=str(key)))
    with pytest.raises(PipelineError, match="without a password"):
        publish.make(replace(work, build=build))


def test_a_failure_leaves_no_version_and_no_entry(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PipelineError("the agent is gone")

    monkeypatch.setattr(publish, "complete", fail)
    with pytest.raises(PipelineError, match="the agent"):
        publish.make(work)
    assert published(work) == []
    assert not work.build.workspace.catalog.exists()


def test_a_changed_consumer_template_publishes_anew_and_runs_nothing_else(tmp_path: Path) -> None:
    for part in ("templates", "images"):
        shutil.copytree(ROOT / part, tmp_path / part)
    build = Build.of("rehearsal", DEFINED, Workspace(tmp_path, tmp_path / "o", tmp_path / "c"))
    ids = {stage.name: "1" * 64 for stage in STAGES}
    before = {stage.name: stage.inputs(build, ids) for stage in STAGES}
    template = tmp_path / "templates/consumers/lima.yaml.j2"
    template.write_text(template.read_text() + "# more\n")
    after = {stage.name: stage.inputs(build, ids) for stage in STAGES}
    assert [name for name in after if after[name] != before[name]] == ["publish"]
    assert after["publish"] | {"consumers": None} == before["publish"] | {"consumers": None}
