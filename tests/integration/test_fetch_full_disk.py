"""A disk that really becomes full under a download: a small tmpfs, where we may mount one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.definitions.model import Kind, Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import ProgramFailed, run
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Sha256
from pipeline.inputs.fetch import fetch
from tests.servers import Server, Site, no_length

pytestmark = pytest.mark.integration

BODY = os.urandom(3 << 20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a tmpfs")
    try:
        run(["mount", "-t", "tmpfs", "-o", "size=2m", "golden-test", place], deadline=10)
    except ProgramFailed:
        pytest.skip("this host does not let root mount a tmpfs")
    try:
        yield place
    finally:
        run(["umount", place], deadline=10)


def test_found_before_survived_during_and_continued_after(small_disk: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path / "output", small_disk / "cache")
    digest = Sha256(hashlib.sha256(BODY).hexdigest())
    site = Site(BODY, script=[no_length()])
    with Server(site) as server:
        pin = Pin("big", "1", Kind.FILE, (server.url(),), sha256=digest)
        with pytest.raises(PipelineError, match="became full while big"):
            fetch(pin, workspace, Silent())
        part = workspace.partial / f"{digest}.part"
        arrived = part.stat().st_size
        assert arrived > 1 << 20
        with pytest.raises(PipelineError, match="not enough room"):
            fetch(pin, workspace, Silent())
        run(["mount", "-o", "remount,size=8m", small_disk], deadline=10)
        assert fetch(pin, workspace, Silent()).read_bytes() == BODY
    assert not part.exists()
