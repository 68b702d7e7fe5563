"""The media stage: the real ISO is held against its pin before anything boots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.definitions.loader import load
from pipeline.definitions.model import Kind, Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, sha256_file
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Sha256
from pipeline.stages import artifacts
from pipeline.stages.build import Build
from tests.unit.media import making
from tests.unit.media.making import FACTS, NAMES
from tests.unit.stages.stand_ins import run_alone


def build_of(folder: Path, edition: str = NAMES[1], **claimed: Any) -> Build:
    """A build from a small ISO that lies in the cache, verified; its pin claims ``claimed``."""
    iso = folder / "server.iso"
    iso.write_bytes(making.medium().getvalue())
    workspace = Workspace(ROOT, folder / "output", folder / "cache")
    facts = replace(FACTS, **claimed)
    digest = Sha256(sha256_file(iso))
    pin = Pin("server", "2025", Kind.ISO, file=str(iso), sha256=digest, media=facts)
    shipped = load(workspace, {})
    image = replace(shipped.images["windows-server-2025"], media="server", edition=edition)
    return Build(image, {**shipped.pins, "server": pin}, shipped.settings, workspace)


def media(build: Build) -> Path:
    """Fetch the ISO and run the stage."""
    artifacts.obtain(build.medium, build.workspace, Silent())
    run_alone(build, "media")
    return build.folder("media") / "medium.json"


def test_a_medium_that_is_what_its_pin_says_is_written_down(tmp_path: Path) -> None:
    found = read_json(media(build_of(tmp_path)))
    assert (found["build"], found["kind"]) == (FACTS.build, "install.wim")
    assert [image["name"] for image in found["images"]] == NAMES


@pytest.mark.parametrize(
    ("claimed", "told"),
    [
        ({"build": "26100.1"}, "the build is 26100.32230, the pin says 26100.1"),
        ({"language": "de-DE"}, "the language is en-US, the pin says de-DE"),
        ({"editions": FACTS.editions[:3]}, f"the edition {NAMES[3]!r} is not in the pin"),
        ({"evaluation_days": None}, "is an evaluation, the pin names no evaluation_days"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
def test_a_medium_that_is_not_what_its_pin_says_stops_the_build(
    tmp_path: Path, claimed: dict[str, Any], told: str
) -> None:
    """The digest is right: what the pin claims about these very bytes is wrong."""
    build = build_of(tmp_path, **claimed)
    with pytest.raises(PipelineError) as raised:
        media(build)
    first, *listed = raised.value.message.splitlines()
    assert first == "server is not what its pin says:"
    assert [told in line for line in listed] == [True]
    assert raised.value.hint.startswith("correct `media:` of server in ")
    assert build.receipt("media") is None
    assert not build.folder("media").exists()


def test_an_edition_that_the_medium_lacks_stops_the_build(tmp_path: Path) -> None:
    build = build_of(tmp_path, edition="Windows Server 2025 SERVERSTANDART")
    with pytest.raises(PipelineError, match=r"has no edition .*SERVERSTANDART") as raised:
        media(build)
    assert f"did you mean {NAMES[1]!r}?" in raised.value.hint
    assert not build.folder("media").exists()


def test_a_medium_that_was_not_fetched_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="server is not here") as raised:
        run_alone(build_of(tmp_path), "media")
    assert raised.value.hint == "run: ./doitw fetch:server"
