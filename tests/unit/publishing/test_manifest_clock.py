"""The clock of an evaluation runs from the installation, whenever a version is published."""

from __future__ import annotations

import datetime
from dataclasses import replace

from pipeline.definitions.loader import load
from pipeline.foundation.paths import Workspace
from pipeline.publishing.manifest import Disk, manifest
from tests.unit.publishing.samples import BUILT

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime(2026, 11, 23, 10, tzinfo=datetime.UTC)


def expires(installed: datetime.datetime | None) -> str:
    definitions = load(Workspace.default(), {})
    image = definitions.images["windows-server-2025"]
    facts = definitions.pins[image.media].media
    assert facts is not None
    built = replace(BUILT, installed_at=installed)
    made = manifest(image, facts, [], {}, Disk(1, 1, "0" * 64), built, "1.0-20261123.1", NOW)
    assert made["built_at"] == "2026-11-23T10:00:00Z"
    return str(made["expires_at"])


def test_a_version_on_an_old_disk_ends_with_the_windows_inside() -> None:
    assert expires(None) == "2027-05-22T10:00:00Z"
    assert expires(NOW) == "2027-05-22T10:00:00Z"
    assert expires(NOW - 100 * DAY) == "2027-02-11T10:00:00Z"
