"""``golden ls``: the instances of this host."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.units import human_bytes
from pipeline.instances import instance as records
from pipeline.instances import state, store
from pipeline.instances.instance import Home
from pipeline.instances.options import shown

HEADS = ("NAME", "IMAGE", "STATE", "PORT", "CPUS", "MEMORY", "DISK", "SHARE")


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden ls``."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def _entry(home: Home) -> dict[str, Any]:
    said = state.read(home)
    try:
        instance = records.load(home)
    except PipelineError as error:
        return {"name": home.name, "state": "broken", "message": error.message}
    return instance.data() | {
        "state": said.state,
        "message": said.message,
        "since": said.since,
        "disk_used": store.disk_used(home),
        "folder": str(home.folder),
    }


def _row(home: Home) -> tuple[str, ...]:
    entry = _entry(home)
    if entry["state"] == "broken":
        return (home.name, "?", entry["message"], "", "", "", "", "")
    instance = records.load(home)
    image = f"{instance.image}@{instance.version}"
    port = str(instance.port or "")
    used = human_bytes(entry["disk_used"])
    hardware = (str(instance.cpus), str(instance.memory), used, shown(instance.share))
    return (home.name, image, entry["state"], port, *hardware)


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def run(args: argparse.Namespace) -> int:
    """Print the instances."""
    homes = store.homes(Workspace.default())
    if args.json:
        print(json.dumps([_entry(home) for home in homes], indent=2))
    elif homes:
        print(table([HEADS, *map(_row, homes)]))
    else:
        print("no instances; golden launch IMAGE makes one")
    return 0
