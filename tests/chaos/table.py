"""The table of what was seen: for a terminal, and as docs/failures.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.foundation.files import write_bytes, write_json
from pipeline.foundation.paths import ROOT
from pipeline.foundation.units import human_seconds
from tests.chaos.case import NOTHING, Case, Row
from tests.chaos.room import ORDER

DOCUMENT = ROOT / "docs/failures.md"
SIGNALS = ("ctrl-c", "ctrl-c-twice", "sigterm", "closed-terminal", "sigkill")
HEAD = """\
# What goes wrong, and what you see

Written by `python -m tests.chaos --write`: each of these faults was done to a real build of the
rehearsal, and this is what was seen. For each: the sentence that the user reads, the time from the
fault (for one inside the guest: from its last sign of life) to that sentence, what was left behind,
and how the next run of the same stage went. `nothing` is asserted: after each run no process,
socket, held lock, mount, loop device or temporary file is left, and no file in the output but the
evidence under `output/failures/`, whose folder each sentence about a machine names (left out here);
and nothing of any kind is left after the whole suite. As each fault leaves the very files that it
found, those of one stage share a next run, which begins where the last of them ended; with `--each`
every single one is followed by a run to the end.

`./doitw chaos` plays them all and prints them; `python -m tests.chaos NAME…` plays single ones;
`golden rehearsal faults` lists those that the guest knows. Deadlines are those of a rehearsal, for
real Windows they are longer (`pipeline/stages/session.py`); for `sshd-never` and `no-power-off`,
which end by nothing else, `GOLDEN_PATIENCE=0.6` made them shorter.
"""
SIGNAL_HEAD = """\
## Interrupted from outside

Every stage was interrupted in the middle of its work, five times in a row: each run began with what
the one before had left, and the one after them went to its end. After SIGKILL the kernel ends QEMU,
virtiofsd and swtpm; a work folder and a folder for sockets stay, and the next run clears them away.
"""


def plain(text: str) -> str:
    """A sentence without what differs from run to run: places, numbers, keys."""
    text = re.sub(r"/[^\n ]*/room \d/(check out/|scratch/small disk/|scratch/)", "", text)
    text = re.sub(r"-\d{8}-\d{6}(-\d+)?", "-…", text)
    text = re.sub(r"(process |port |127\.0\.0\.1:)\d+", r"\1…", text)
    text = re.sub(r"(ssh-\S+ AAAA)\S+", r"\1…", text)
    text = re.sub(r"\[ *\d+\.\d+\] ", "", text)  # the kernel's time
    return re.sub(r"since \d\d:\d\d:\d\d", "since …", text)


def _cell(text: str) -> str:
    return plain(text).strip().replace("|", "\\|").replace("\n", "<br>").replace("  hint:", "hint:")


def _told(sentence: str) -> str:
    """Without the line that names the folder of evidence: it is always there."""
    return "\n".join(line for line in sentence.splitlines() if not line.startswith("  evidence:"))


def _seconds(row: Row) -> str:
    return "" if row.seconds is None else human_seconds(row.seconds)


def _left(row: Row) -> str:
    if not row.left:
        return NOTHING
    if any("file publish/" in text for text in row.left if ".part/" not in text):
        return "a version that is not listed; the next run lists it"
    return (
        "its work folder"
        if any(".work/" in text or ".part/" in text for text in row.left)
        else ("a folder for sockets")
    )


def lines(row: Row) -> list[str]:
    """A row for a terminal."""
    if row.skipped:
        return [f"-  {row.key}: not tried, {row.skipped}"]
    mark = "ok " if row.good else "BAD"
    first = (
        f"{mark} {row.key} ({_seconds(row) or 'at once'}; left: {_left(row)}; next: {row.again})"
    )
    told = [f"      {line}" for line in plain(_told(row.sentence)).splitlines()]
    return [first, *told, *(f"    ! {wrong}" for wrong in row.wrong)]


def _said(row: Row) -> str:
    """The cells of what was seen."""
    if row.skipped:
        return f"({row.skipped}) | | |"
    told = _cell(_told(row.sentence))
    return f"{told} | {_seconds(row)} | {_left(row)} | {row.again}"


def _table(rows: Iterable[Row]) -> str:
    head = "| fault | what happens | the user reads | noticed after | left | next run |\n"
    head += "|---|---|---|---|---|---|\n"
    body = [f"| `{row.name}` | {row.what} | {_said(row)} |\n" for row in rows]
    return head + "".join(body)


def _signal_table(rows: Iterable[Row]) -> str:
    head = "| signal | stage | the user reads | ended after | left | next run |\n"
    head += "|---|---|---|---|---|---|\n"
    body = [f"| `{row.name}` | {row.stage} | {_said(row)} |\n" for row in rows]
    return head + "".join(body)


def document(rows: Sequence[Row]) -> str:
    """docs/failures.md."""
    parts = [HEAD]
    for stage in ORDER:
        here = [row for row in rows if row.stage == stage and row.name not in SIGNALS]
        if here:
            parts.append(f"## At the stage {stage}\n\n{_table(here)}")
    ways = [row for name in SIGNALS for row in rows if row.name == name]
    parts.append(f"{SIGNAL_HEAD}\n{_signal_table(ways)}")
    return "\n".join(parts)


def read(path: Path) -> dict[str, Row]:
    """Rows kept from earlier runs, by key."""
    kept: Mapping[str, dict[str, object]] = json.loads(path.read_text()) if path.exists() else {}
    return {key: Row(**value) for key, value in kept.items()}  # type: ignore[arg-type]


def keep(path: Path, row: Row) -> None:
    """Add a row to the file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = read(path) | {row.key: row}
    write_json(path, {key: value.json() for key, value in rows.items()})


def write(rows: Mapping[str, Row], cases: Sequence[Case]) -> str:
    """Write the document, a row for each case; why not, if one was not as it should be."""
    if bad := [row.key for row in rows.values() if not row.good]:
        return f"not written: not as they should be: {', '.join(bad)}"
    wanted = [rows.get(case.key) or _untried(case) for case in cases]
    write_bytes(DOCUMENT, document(wanted).encode())
    return ""


def _untried(case: Case) -> Row:
    row = Row.of(case)
    row.skipped = "not tried in the run that this was written from"
    return row
