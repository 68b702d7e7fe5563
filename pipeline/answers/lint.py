"""``golden lint``: answer files and plans, ours or anybody's, checked.

In: files. Out: one line per finding (``file:line: severity: path: message (fix)``) or JSON; exit
code 1 when there is an error, 0 when there are warnings at most, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.answers.findings import Finding, Severity


def check(data: bytes, name: str) -> list[Finding]:
    """The findings of one file: a plan when it is JSON, an answer file otherwise."""
    if name.lower().endswith(".json") or data.lstrip()[:1] in (b"{", b"["):
        from pipeline.answers.plan_rules import validate_plan

        return validate_plan(data, name, planned=True)
    from pipeline.answers.validate import validate

    return validate(data, name)


def lint(paths: Iterable[Path], *, as_json: bool = False) -> int:
    """Print the findings of each file; returns the exit code."""
    found = findings(paths)
    print(json_form(found) if as_json else text_form(found))
    return int(failed(found))


def findings(paths: Iterable[Path]) -> dict[str, list[Finding]]:
    """The findings of each file, by its path as given; a file that cannot be read is one."""
    return {str(path): _file(path) for path in paths}


def _file(path: Path) -> list[Finding]:
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        return [Finding(1, Severity.ERROR, "", "read", f"cannot be read: {reason}")]
    return check(data, path.name)


def failed(found: dict[str, list[Finding]]) -> bool:
    """Whether there is an error among the findings."""
    return any(f.severity is Severity.ERROR for findings in found.values() for f in findings)


def text_form(found: dict[str, list[Finding]]) -> str:
    """All findings, one a line, and how many there are."""
    lines = [finding.text(file) for file, findings in found.items() for finding in findings]
    errors = sum(f.severity is Severity.ERROR for findings in found.values() for f in findings)
    warnings = len(lines) - errors
    counts = (
        _counted(len(found), "file"),
        _counted(errors, "error"),
        _counted(warnings, "warning"),
    )
    return "\n".join([*lines, "{}: {}, {}".format(*counts)])


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def json_form(found: dict[str, list[Finding]]) -> str:
    """All findings as a JSON list."""
    items = [finding.as_json(file) for file, findings in found.items() for finding in findings]
    return json.dumps(items, indent=2)


def rules_table() -> str:
    """Every rule for answer files with the fact it rests on."""
    from pipeline.answers import validate
    from pipeline.answers.rules.rule import RULES

    facts = {rule.id: rule.fact for rule in RULES} | validate.FACTS
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}}  {facts[name]}" for name in sorted(facts))


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    made = argparse.ArgumentParser(
        prog="golden lint", description="Check answer files (XML) and guest plans (JSON)."
    )
    made.add_argument("files", nargs="*", type=Path, metavar="FILE")
    made.add_argument("--json", action="store_true", help="print the findings as JSON")
    made.add_argument("--rules", action="store_true", help="list the rules and their facts")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = parser()
    given = arguments.parse_args(argv)
    if given.rules:
        print(rules_table())
        return 0
    if not given.files:
        arguments.error("no files given")
    return lint(given.files, as_json=given.json)


if __name__ == "__main__":
    raise SystemExit(main())
