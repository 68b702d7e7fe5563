"""Another Windows is one YAML file and one pin: what it renders to is right at once."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.answers.lint import check
from pipeline.cli.render import rendered
from pipeline.definitions.loader import load
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.stages.build import Build

PIN = """\
server-with-other-editions:
  version: "26100.9999"
  kind: iso
  urls: [https://example.com/26100.9999.iso]
  sha256: "{digest}"
  size: 8152356864
  media:
    build: "26100.9999"
    architecture: amd64
    language: de-DE
    editions:
      - {{index: 7, name: "Windows Server 2025 SERVERSOMETHING"}}
"""
IMAGE = """\
title: One more
release: 2k25
media: server-with-other-editions
edition: Windows Server 2025 SERVERSOMETHING
drivers: {pin: virtio-win}
winfsp: winfsp
locale: {language: de-DE, keyboard: "0407:00000407"}
machine: {cpus: 2, memory: 4G, disk: 40G, firmware: bios}
"""


def test_one_file_and_one_pin(tmp_path: Path) -> None:
    for name in ("images", "checksums", "templates", "schemas"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "checksums" / "more.yaml").write_text(PIN.format(digest="0a" * 32))
    (tmp_path / "images" / "one-more.yaml").write_text(IMAGE)
    workspace = Workspace(tmp_path, tmp_path / "output", tmp_path / "cache")
    files = rendered(Build.of("one-more", load(workspace, {}), workspace))
    answers = files["autounattend.xml"].decode()
    assert "<Value>Windows Server 2025 SERVERSOMETHING</Value>" in answers
    assert "<UILanguage>de-DE</UILanguage>" in answers
    assert "<Active>true</Active>" in answers
    assert not (tmp_path / "cache").exists()
    for name, data in files.items():
        if name.endswith((".xml", ".json")):
            assert check(data, name) == [], name
