"""``python -m tests.hostile_table``: what hostile stores try, and what comes of it.

Prints a table of case, exit code, sentence and bytes written outside the cache; the exit code is 1
when one of them is not as it should be. ``--check`` compares docs/pulling.md with it,
``--write`` brings it up to date.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from pipeline.foundation.paths import ROOT
from tests import hostile

DOCUMENT = ROOT / "docs" / "pulling.md"
TABLE = re.compile(r"(?<=<!-- hostile -->\n).*?(?=<!-- end -->)", re.DOTALL)
HEAD = "| the store | exit code | the sentence begins | written outside |\n|---|---|---|---|\n"


def shortened(sentence: str) -> str:
    """Without what differs from run to run: names of keys, numbers of bytes, serials."""
    text = re.sub(r"SHA256:[A-Za-z0-9+/]{43}", "SHA256:…", sentence)
    text = re.sub(r"serial \d+, one of \d+", "serial 5, one of 105", text)
    text = re.sub(r"serial \d+", "serial 5", text)
    text = re.sub(r"[0-9a-f]{40,}", "…", text)
    text = text.replace("file:///", "file:").replace("|", "\\|")
    return text if len(text) < 240 else f"{text[:240]}…"


def main(words: list[str]) -> int:
    """Run every case; print the table."""
    lines, wrong = [HEAD], 0
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        for case, code in hostile.CASES.items():
            row = hostile.run(case, Path(folder) / case.__name__)
            wrong += row.code != code or row.outside > 0
            text = shortened(row.sentence) or "(verified)"
            lines.append(f"| {row.case} | {row.code} | {text} | {row.outside} |\n")
    table = "".join(lines)
    print(table, end="")
    if "--write" in words:
        DOCUMENT.write_text(TABLE.sub(lambda _: table, DOCUMENT.read_text()))
    if "--check" in words:
        found = TABLE.search(DOCUMENT.read_text())
        wrong += found is None or found[0] != table
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
