"""``golden diagnose``: one page on why a build failed, from its folder of evidence."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from pipeline.foundation.paths import Workspace, shown
from pipeline.foundation.units import human_seconds
from pipeline.stages.reading import Finding, Reading, newest, read_evidence


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden diagnose``."""
    parser.add_argument("folder", nargs="?", type=Path, help="evidence; the newest by default")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the reading."""
    reading = read_evidence((args.folder or newest(Workspace.default())).absolute())
    if args.json:
        print(json.dumps(asdict(reading) | {"folder": str(reading.folder)}, indent=2))
    else:
        print("\n".join(page(reading)))
    return 0


def page(reading: Reading) -> Iterator[str]:
    """The reading as lines for people."""
    yield f"evidence:    {shown(reading.folder)}"
    if reading.image:
        yield f"failed:      {reading.stage}:{reading.image}" + (
            f" ({reading.fault})" if reading.fault else ""
        )
    yield from _labelled("said:       ", [*reading.message.splitlines(), *_hint(reading)])
    if reading.phase:
        past = [f"{name} {human_seconds(took)}" for name, took in reading.timings.items()]
        yield f"phase:       {reading.phase} ({', '.join(past)})"
    yield f"last beacon: {reading.beacon or 'none: the guest never said anything of its own'}"
    yield from _labelled("console:    ", list(reading.last_lines) or ["empty"])
    if reading.events:
        yield "events:      " + ", ".join(f"{n} {name}" for name, n in reading.events.items())
    if reading.screen:
        yield f"screen:      {reading.screen}"
    yield ""
    yield from _findings(reading.findings)


def _hint(reading: Reading) -> list[str]:
    return [f"hint: {reading.hint}"] if reading.hint else []


def _labelled(label: str, lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{label if number == 0 else ' ' * len(label)} {line}"


def _findings(findings: tuple[Finding, ...]) -> Iterator[str]:
    if not findings:
        yield "No log holds a line that is known here. Look at the screen and at the console's end."
        return
    yield "What the logs say, the most telling first:"
    for finding in findings:
        yield f"- {finding.meaning}"
        yield f"    {finding.file}: {finding.line}"
        yield f"    do: {finding.remedy}"
