"""The host's disk runs full: one sentence, wherever it shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from qemu.qmp.message import Message

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.process import ProgramFailed
from pipeline.foundation.units import Size
from pipeline.machine import image
from pipeline.machine.monitor import _Logged

FULL = """#!/bin/sh
case $1 in
info) echo '{"format": "qcow2", "virtual-size": 1, "actual-size": 1}' ;;
*) echo 'qemu-img: error while writing at byte 65536: No space left on device' >&2; exit 1 ;;
esac
"""


@pytest.fixture
def _full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "qemu-img"
    program.parent.mkdir()
    program.write_text(FULL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


@pytest.mark.usefixtures("_full")
@pytest.mark.parametrize("what", ["convert", "create"])
def test_an_image_that_can_not_be_written_for_want_of_space(tmp_path: Path, what: str) -> None:
    source, target = tmp_path / "source.qcow2", tmp_path / "out" / "target.qcow2"
    source.touch()
    target.parent.mkdir()
    acts: dict[str, Callable[[], None]] = {
        "convert": lambda: image.convert(source, target, ()),
        "create": lambda: image.create(target, Size(1 << 20)),
    }
    with pytest.raises(PipelineError) as raised:
        acts[what]()
    assert raised.value.message == f"the host's disk is full: {target} could not be written"
    assert f"free space in {target.parent}" in raised.value.hint
    assert not list(target.parent.iterdir())


@pytest.mark.usefixtures("_full")
def test_another_failure_keeps_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin" / "qemu-img").write_text("#!/bin/sh\necho 'qemu-img: broken' >&2; exit 1\n")
    with pytest.raises(ProgramFailed, match="broken"):
        image.create(tmp_path / "x", Size(1 << 20))


def test_a_log_that_can_not_be_written_ends_no_machine() -> None:
    client = _Logged("m", Path("/dev/full"))
    message = Message({"event": "RESET"})
    assert client._cb_inbound(message) is message
    assert client.log.closed
    assert client._cb_outbound(message) is message
