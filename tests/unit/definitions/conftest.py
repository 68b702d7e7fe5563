"""A small workspace with one of everything, to break in one place at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.definitions.loader import load
from pipeline.definitions.model import Definitions
from pipeline.definitions.problems import DefinitionError
from pipeline.foundation.paths import Workspace

IMAGE = r"""# a comment
title: Windows 11
release: w11
media: win
edition: Windows 11 Enterprise Evaluation
drivers:
  pin: virtio-win
winfsp: winfsp
openssh: openssh
user: golden
host_name: builder
machine:
  firmware: uefi
  cpus: 2
  memory: 4G
  disk: 64G
  tpm: true
locale:
  language: en-US
  time_zone: UTC
provision:
  - id: tool
    kind: msi
    pin: winfsp
    properties: {ADDLOCAL: All}
  - id: greet
    kind: script
    file: scripts/greet.ps1
    arguments: [-Name, "two words"]
  - id: note
    kind: file
    path: C:\Golden\note.txt
    content: hello
  - id: setting
    kind: registry
    key: HKLM:\SOFTWARE\Golden
    name: Level
    type: DWord
    value: 1
  - id: update
    kind: update
    file: scripts/fix.msu
    kb: KB5066835
  - id: restart
    kind: reboot
  - id: spooler
    kind: service
    name: Spooler
    start: disabled
    state: stopped
publish:
  keep: 2
"""

PINS = """# a comment
win:
  version: 1.10
  kind: iso
  urls: [https://example.org/win.iso]
  sha256: "1111111111111111111111111111111111111111111111111111111111111111"
  size: 5000
  media:
    build: 26200.6584
    architecture: amd64
    language: en-US
    evaluation_days: 90
    editions:
      - {index: 1, name: Windows 11 Enterprise Evaluation}
      - {index: 2, name: Windows 11 Enterprise N Evaluation}
virtio-win:
  version: no
  kind: iso
  urls: [https://example.org/virtio.iso]
  sha256: "ABCDEF1111111111111111111111111111111111111111111111111111111111"
winfsp:
  version: 2.2
  kind: msi
  file: /srv/media/winfsp.msi
  sha256: "2222222222222222222222222222222222222222222222222222222222222222"
openssh:
  version: 10.0.0.0
  kind: msi
  urls: [https://example.org/openssh.msi]
  sha256: "3333333333333333333333333333333333333333333333333333333333333333"
stand-in:
  version: "26100.1"
  kind: iso
  made: windows
  media:
    build: "26100.1"
    architecture: amd64
    language: en-US
    editions: [{index: 1, name: Windows Rehearsal}]
"""


class Shop:
    """The workspace, with what one wants to know of it."""

    image = "images/win11.yaml"
    pins = "checksums/all.yaml"

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root, root / "output", root / "cache")
        self.root = root
        self.write(self.image, IMAGE)
        self.write(self.pins, PINS)
        self.write("scripts/greet.ps1", "'hello'\n")
        self.write("scripts/fix.msu", "MSCF")

    def write(self, name: str, text: str | bytes) -> None:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the one place where ``old`` stands in a file."""
        text = (self.root / name).read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        self.write(name, text.replace(old, new))

    def load(self, environ: Mapping[str, str] | None = None) -> Definitions:
        """The definitions, undisturbed by this process's environment."""
        return load(self.workspace, environ or {})

    def problems(self, environ: Mapping[str, str] | None = None) -> list[str]:
        """The lines of the error, none when all is well."""
        try:
            self.load(environ)
        except DefinitionError as error:
            return error.message.splitlines()
        return []


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A valid workspace of its own."""
    return Shop(tmp_path)
