"""What Windows PowerShell 5.1 on Server 2019 knows: commands, their parameters, native programs.

Goes in: ``windows-5.1-subset.json``, the part of that reference which the scripts and the doubles
use, one command a line. Comes out: look-ups, and the text of the doubles' functions, whose
parameters are exactly the real ones.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SUBSET = HERE / "windows-5.1-subset.json"
DOUBLES = HERE / "doubles"

# Where nothing but the real command's help tells which set counts when several fit.
DEFAULT_SETS = {
    "Get-LocalUser": "Default",
    "Get-Service": "Default",
    "New-Object": "Net",
    "Get-Volume": "ByDriveLetter",
}

Parameters = dict[str, Any]


def subset() -> dict[str, Any]:
    """The reference's part that is kept in the project."""
    return dict(json.loads(SUBSET.read_text()))


def commands() -> dict[str, Parameters]:
    """Command -> parameter -> what is known of it (a type, or a record)."""
    return dict(subset()["commands"])


def doubled() -> dict[str, str]:
    """The commands that have a double, with the double's text."""
    found: dict[str, str] = {}
    for file in sorted(DOUBLES.glob("*.ps1")):
        parts = re.split(r"^\$Double\['([A-Za-z-]+)'\] = ", file.read_text(), flags=re.MULTILINE)
        found |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


def _attributes(sets: dict[str, str]) -> list[str]:
    lines = []
    for name, facts in sets.items():
        words = [f"ParameterSetName = '{name}'"]
        words += ["Mandatory = $true"] if "mandatory" in facts else []
        words += ["ValueFromPipeline = $true"] if re.search(r"pipeline\b(?!By)", facts) else []
        words += ["ValueFromPipelineByPropertyName = $true"] if "pipelineByName" in facts else []
        if position := re.search(r"position (\d+)", facts):
            words.append(f"Position = {position.group(1)}")
        lines.append(f"[Parameter({', '.join(words)})]")
    return lines


def _parameter(name: str, facts: Any) -> str:
    known: dict[str, Any] = {"type": facts} if isinstance(facts, str) else dict(facts)
    lines = _attributes(known.get("sets", {}))
    if aliases := known.get("aliases"):
        lines.append("[Alias(" + ", ".join(f"'{alias}'" for alias in aliases) + ")]")
    lines.append(("[switch]" if known["type"] == "switch" else "") + f"${name}")
    return "\n        ".join(lines)


def function_text(command: str, parameters: Parameters) -> str:
    """A function that takes exactly the command's parameters and hands them to the double."""
    body = ",\n        ".join(
        _parameter(name, facts)
        for name, facts in parameters.items()
        if name not in ("Confirm", "WhatIf")
    )
    default = DEFAULT_SETS.get(command)
    binding = "SupportsShouldProcess = $true" + (
        f", DefaultParameterSetName = '{default}'" if default else ""
    )
    return f"""function global:{command} {{
    [CmdletBinding({binding})]
    param(
        {body}
    )
    process {{
        $given = @{{}}
        foreach ($key in @($PSBoundParameters.Keys)) {{ $given[$key] = $PSBoundParameters[$key] }}
        foreach ($result in @(& $global:Double['{command}'] $given)) {{
            if ($result -is [System.Management.Automation.ErrorRecord]) {{
                $PSCmdlet.WriteError($result)
            }} else {{
                $PSCmdlet.WriteObject($result, $false)
            }}
        }}
    }}
}}
"""


def functions_text() -> str:
    """All doubles' functions, as one script."""
    known = commands()
    return "\n".join(function_text(name, known[name]) for name in doubled())
