"""What a supervisor tells arrives once, in order, whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.instances import journal
from pipeline.instances.journal import Journal, Relay


class Heard:
    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []

    def phase(self, name: str, expected: float | None = None) -> None:
        self.said.append(("phase", name, str(expected)))

    def update(self, detail: str) -> None:
        self.said.append(("update", detail))

    def event(self, text: str) -> None:
        self.said.append(("event", text))

    def done(self, text: str = "") -> None:
        self.said.append(("done", text))


def test_everything_arrives_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, heard = Journal(tmp_path), Heard()
    relay = Relay(tmp_path, heard)
    relay.poll()  # nothing is there yet
    told.phase("boot", 30.0)
    told.update("1 MiB written")
    told.update("2 MiB written")  # so soon after, it is not worth a line
    relay.poll()
    told.event("ready")
    told.quiet()
    told.update("3 MiB written")
    relay.poll()
    relay.poll()
    assert heard.said == [
        ("phase", "boot", "30.0"), ("update", "1 MiB written"), ("event", "ready")
    ]  # fmt: skip
    assert capsys.readouterr().out.splitlines()[0].endswith("Z phase boot")


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    heard = Heard()
    relay, path = Relay(tmp_path, heard), journal.path_of(tmp_path)
    line = '{"what": "event", "text": "here", "expected": null}\n'
    path.write_text(line[:20])
    relay.poll()
    assert heard.said == []
    path.write_text(line)
    relay.poll()
    assert heard.said == [("event", "here")]


def test_what_was_said_before_can_be_left_out(tmp_path: Path) -> None:
    told, heard = Journal(tmp_path), Heard()
    relay = Relay(tmp_path, heard)
    told.event("old")
    relay.skip()
    told.event("new")
    relay.poll()
    assert heard.said == [("event", "new")]
