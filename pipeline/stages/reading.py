"""Reading a folder of evidence: what failed, where, the lines that tell most, and what to do.

Goes in: a folder under ``output/failures/`` (or a stage's own evidence). Comes out:
:class:`Reading`. Nothing is asked of a machine: the folder can be read anywhere, later.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, write_json
from pipeline.foundation.paths import Workspace
from pipeline.machine.console import Console
from pipeline.stages.signs import explain

NOTE = "failure.json"
PHASES = "phases.json"
INTERRUPTED = "interrupted"
LARGEST = 2 << 20  # of a log, from its end
FINDINGS = 8
LAST_LINES = 5
PICTURES = (".png", ".ppm")


@dataclass(frozen=True, slots=True)
class Finding:
    """A line in a log that is known to tell something."""

    file: str
    line: str
    meaning: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a folder of evidence says."""

    folder: Path
    image: str = ""
    stage: str = ""
    message: str = ""
    hint: str = ""
    fault: str = ""
    at: str = ""
    phase: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    beacon: str = ""
    last_lines: tuple[str, ...] = ()
    events: dict[str, int] = field(default_factory=dict)
    screen: str = ""
    findings: tuple[Finding, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def telling(self) -> str:
        """The most telling line, ``FILE: LINE``."""
        return f"{self.findings[0].file}: {self.findings[0].line}" if self.findings else ""


def note_failure(folder: Path, image: str, stage: str, error: BaseException) -> None:
    """Write into the evidence what the user was told."""
    note = {"image": image, "stage": stage, "message": repr(error), "hint": ""}
    note["fault"] = type(error).__name__
    if isinstance(error, PipelineError):
        note |= {"message": error.message, "hint": error.hint}
        note["fault"] = str(getattr(error, "fault", ""))
    elif isinstance(error, KeyboardInterrupt):
        note |= {"message": INTERRUPTED, "fault": INTERRUPTED}
    write_json(folder / NOTE, note)


def note_phases(folder: Path, phase: str, timings: Mapping[str, float]) -> None:
    """Write into a machine's evidence how far it came and how long that took."""
    with contextlib.suppress(OSError):  # a full disk has its own sentence
        write_json(folder / PHASES, {"phase": phase, "timings": list(timings.items())})


def took(folder: Path) -> dict[str, float]:
    """The time of each phase in the machines' evidence below ``folder``; the longest of several."""
    found: dict[str, float] = {}
    for path in folder.rglob(PHASES):
        said = read_json(path)
        for name, seconds in said["timings"] if isinstance(said, dict) else ():
            found[name] = max(seconds, found.get(name, 0.0))
    return found


def newest(workspace: Workspace) -> Path:
    """The folder of the last failure, interrupted runs aside; raises when there is none."""
    folders = [path for path in (workspace.output / "failures").glob("*/*") if path.is_dir()]
    if not folders:
        raise PipelineError(
            f"nothing has failed in {workspace.output}", hint="name a folder of evidence"
        )
    failed = [path for path in folders if _note(path)["fault"] != INTERRUPTED]
    return max(failed or folders, key=lambda path: path.stat().st_mtime_ns)


def read_evidence(folder: Path) -> Reading:
    """Read a folder of evidence; raises when there is none."""
    if not folder.is_dir():
        raise PipelineError(f"there is no folder {folder}", hint="it is named by the failure")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = _console(folder)
    beacons = [line for line in lines if line.startswith("GOLDEN ")]
    pictures = [path for path in files if path.suffix in PICTURES]
    newest_picture = max(pictures, key=lambda p: (p.stat().st_mtime_ns, p.name), default=None)
    phases = _phases(files)
    return Reading(
        folder,
        **_note(folder),
        phase=str(phases.get("phase", "")),
        timings=dict(phases.get("timings", [])),
        beacon=beacons[-1] if beacons else "",
        last_lines=tuple(lines[-LAST_LINES:]),
        events=dict(_events(folder)),
        screen=str(newest_picture.relative_to(folder)) if newest_picture else "",
        findings=tuple(_findings(folder, files)),
        files=tuple(str(path.relative_to(folder)) for path in files),
    )


def _note(folder: Path) -> dict[str, str]:
    said = read_json(folder / NOTE)
    said = said if isinstance(said, dict) else {}
    wanted = ("image", "stage", "message", "hint", "fault")
    stamp = re.search(r"-(\d{8})-(\d{6})(-\d+)?$", folder.name)
    at = f"{stamp[1]} {stamp[2]}" if stamp else ""
    return {name: str(said.get(name, "")) for name in wanted} | {"at": at}


def _phases(files: list[Path]) -> dict[str, Any]:
    """The phases of the machine that failed: a stage may have run several, one after another."""
    notes = [path for path in files if path.name == PHASES]
    said = read_json(max(notes, key=lambda path: path.stat().st_mtime_ns)) if notes else None
    return said if isinstance(said, dict) else {}


def text_of(path: Path) -> str:
    """The end of a log as text; Windows writes some of its own in UTF-16."""
    with path.open("rb") as stream:
        start = stream.read(2)
        stream.seek(max(path.stat().st_size - LARGEST, 0))
        data = stream.read()
    utf16 = start == codecs.BOM_UTF16_LE or b"\0" in data[:200]
    return data.decode("utf-16-le" if utf16 else "utf-8", errors="replace").lstrip("\ufeff")


def _console(folder: Path) -> list[str]:
    """What the serial port of the last machine said, as lines."""
    logs = sorted(folder.rglob("com1.log"), key=lambda path: path.stat().st_mtime_ns)
    if not logs:
        return []
    console = Console()
    console.feed(text_of(logs[-1]).encode())
    console.close()
    return list(console.lines)


def _events(folder: Path) -> Counter[str]:
    """QEMU's events by name."""
    found: Counter[str] = Counter()
    for path in folder.rglob("qmp.log"):
        for line in text_of(path).splitlines():
            said = _object(line.partition("<- ")[2])
            if "event" in said:
                found[str(said["event"])] += 1
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _findings(folder: Path, files: list[Path]) -> Iterator[Finding]:
    """Known lines, those that tell most first, each meaning once in a file."""
    ranked: list[tuple[int, int, Finding]] = []
    seen: set[tuple[str, int]] = set()
    for path in files:
        name = str(path.relative_to(folder))
        if not _is_log(path):
            continue
        for number, line in reversed(list(enumerate(_lines(path)))):
            found = explain(line)
            if found and (name, found[0]) not in seen:
                seen.add((name, found[0]))
                shown = line.strip()[:240]
                sign = found[1]
                ranked.append((found[0], number, Finding(name, shown, sign.meaning, sign.remedy)))
    ranked.sort(key=lambda item: item[:2])
    yield from itertools.islice((finding for *_, finding in ranked), FINDINGS)


def _is_log(path: Path) -> bool:
    # Our own words, command lines and the monitor's messages quote much and say nothing new.
    return path.suffix == ".log" and path.name != "qmp.log"


def _lines(path: Path) -> list[str]:
    if path.name.startswith("com1"):
        console = Console()
        console.feed(text_of(path).encode())
        console.close()
        return list(console.lines)
    return text_of(path).splitlines()
