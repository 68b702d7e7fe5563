"""Rewrite windows-5.1-subset.json from the whole reference, for what scripts and doubles use now.

    python tests/powershell/make_subset.py REFERENCE.json

REFERENCE is a PSScriptAnalyzer compatibility profile of Windows Server 2019, PowerShell 5.1, with
``modules`` (module -> command -> parameters), ``native_commands`` and ``common_parameters``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GUEST = HERE.parents[1] / "templates" / "guest"


def mentioned() -> set[str]:
    """Every word of the scripts that looks like a command or a program, and every double's name."""
    texts = [file.read_text() for file in GUEST.glob("*.ps1")]
    code = [
        line for text in texts for line in text.splitlines() if not line.lstrip().startswith("#")
    ]
    words = set(re.findall(r"\b[A-Z][A-Za-z]*-[A-Z][A-Za-z]+\b", "\n".join(code)))
    doubles = "\n".join(file.read_text() for file in (HERE / "doubles").glob("*.ps1"))
    words |= set(re.findall(r"^\$Double\['([A-Za-z-]+)'\]", doubles, flags=re.MULTILINE))
    return words | set(re.findall(r"\b[a-z-]+\.exe\b", "\n".join(code)))


def part(reference: dict[str, Any], words: set[str]) -> dict[str, Any]:
    """The reference's commands and programs that are among the words."""
    found = {
        command: parameters
        for module in reference["modules"].values()
        for command, parameters in module.items()
        if command in words
    }
    programs = [name.lower() for name in reference["native_commands"] if name.lower() in words]
    return {"commands": found, "programs": sorted(programs)}


def text(source: str, common: list[str], kept: dict[str, Any]) -> str:
    """JSON with one command a line, so that a change of it can be read."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(kept['commands'][name])}"
        for name in sorted(kept["commands"])
    ]
    return (
        "{\n"
        f'"source": {json.dumps(source)},\n'
        f'"common_parameters": {json.dumps(common)},\n'
        f'"programs": {json.dumps(kept["programs"])},\n'
        '"commands": {\n' + ",\n".join(lines) + "\n}\n}\n"
    )


def main() -> None:
    reference = json.loads(Path(sys.argv[1]).read_text())
    kept = part(reference, mentioned())
    target = HERE / "windows-5.1-subset.json"
    target.write_text(text(reference["source"], reference["common_parameters"], kept))


if __name__ == "__main__":
    main()
