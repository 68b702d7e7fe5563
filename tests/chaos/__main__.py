"""``python -m tests.chaos``: play the faults, print the table, keep it in docs/failures.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from pipeline.foundation.paths import Workspace
from tests.chaos import suite, table
from tests.chaos.case import Row


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these: NAME, NAME@STAGE or @STAGE")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--write", action="store_true", help="write docs/failures.md afterwards")
    parser.add_argument("--results", type=Path, help="where rows are kept (output/chaos.json)")
    parser.add_argument("--each", action="store_true", help="a next run for every single fault")
    parser.add_argument("--missing", action="store_true", help="only what has no good row there")
    return parser.parse_args()


def main() -> int:
    """Play what is asked for; 1 when anything was not as it should be."""
    options = _options()
    results = options.results or Workspace.default().output / "chaos.json"
    known = table.read(results)
    every = suite.cases()
    wanted = [
        case
        for case in every
        if not options.names or {case.name, case.key, f"@{case.stage}"} & set(options.names)
    ]
    if options.missing:
        wanted = [case for case in wanted if case.key not in known or not known[case.key].good]
    if options.list:
        print("\n".join(f"{case.key:<36} {case.what}" for case in wanted))
        return 0

    def told(row: Row) -> None:
        table.keep(results, row)
        print("\n".join(table.lines(row)), flush=True)

    with tempfile.TemporaryDirectory(prefix="golden-chaos-") as folder:
        rows = suite.play(wanted, Path(folder), told, each=options.each)
    print(suite.summary(rows))
    if options.write and (why := table.write(table.read(results), every)):
        print(why, file=sys.stderr)
        return 1
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
