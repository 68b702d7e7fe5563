"""A full disk: found before the download, survived during it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.inputs.fetch import Policy, fetch
from tests.servers import (
    Server,
    Site,
)
from tests.unit.fetch.conftest import MSI, MakePin, leave_part


class TestFullDisk:
    """Found before the download, survived during it."""

    def test_found_before_anything_is_asked(
        self,
        server: Server,
        site: Site,
        workspace: Workspace,
        make_pin: MakePin,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        usage = shutil.disk_usage("/")._replace(free=len(MSI) - 1)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
        with pytest.raises(PipelineError, match="not enough room in"):
            fetch(make_pin(server.url()), workspace, Silent())
        assert site.seen == []

    def test_found_once_the_server_tells_the_length(
        self,
        server: Server,
        site: Site,
        workspace: Workspace,
        make_pin: MakePin,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        usage = shutil.disk_usage("/")._replace(free=len(MSI) - 1)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
        pin = make_pin(server.url(), server.url(), size=None)
        with pytest.raises(PipelineError, match="not enough room"):
            fetch(pin, workspace, Silent())
        assert len(site.seen) == 1  # another mirror would not make room

    def test_what_is_there_counts(
        self,
        server: Server,
        workspace: Workspace,
        make_pin: MakePin,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        pin = make_pin(server.url())
        leave_part(workspace, str(pin.sha256), MSI[:100], pin.urls[0], '"one"')
        usage = shutil.disk_usage("/")._replace(free=len(MSI) - 100)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
        assert fetch(pin, workspace, Silent()).read_bytes() == MSI

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
    def test_survived_during_the_download(
        self,
        code: int,
        server: Server,
        site: Site,
        workspace: Workspace,
        make_pin: MakePin,
        monkeypatch: pytest.MonkeyPatch,
        quick: Policy,
    ) -> None:
        class Filling:
            """A file on a disk with room for 100 bytes."""

            def __init__(self, stream: Any) -> None:
                self.stream = stream

            def write(self, data: memoryview) -> int:
                room = 100 - self.stream.tell()
                if not room:
                    raise OSError(code, os.strerror(code))
                return int(self.stream.write(data[:room]))

            def __getattr__(self, name: str) -> Any:
                return getattr(self.stream, name)

        pin = make_pin(server.url(), server.url())
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", _opening(Filling, Path.open))
            with pytest.raises(PipelineError) as caught:
                fetch(pin, workspace, Silent(), policy=quick)
        full = code != errno.EIO
        assert ("became full" in str(caught.value)) is full
        assert full or "Input/output error" in str(caught.value)
        assert len(site.seen) == 1
        assert (workspace.partial / f"{pin.sha256}.part").read_bytes() == MSI[:100]
        assert fetch(pin, workspace, Silent(), policy=quick).read_bytes() == MSI
        assert site.ranges[-1] == "bytes=100-"


def _opening(filling: Any, usual: Any) -> Any:
    """``Path.open`` with the disk filling up under files that are appended to."""

    def opened(path: Path, mode: str = "r", *args: Any, **others: Any) -> Any:
        stream = usual(path, mode, *args, **others)
        return filling(stream) if mode == "ab" else stream

    return opened
