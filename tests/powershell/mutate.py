"""Change the guest scripts a little, many times, and tell which changes no test noticed.

    python tests/powershell/mutate.py [--script agent.ps1] [--count 40] [--seed 1] [--jobs 2]

Goes in: the scripts under templates/guest/. Comes out: a table of kinds of mutants, killed and
survived, and each survivor as a line with its change; exit code 1 when less than 85 % were killed.
Mutants that are not PowerShell any more are not counted.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GUEST = ROOT / "templates" / "guest"
sys.path.insert(0, str(ROOT))

TESTS = {
    "agent.ps1": ["test_agent_kinds.py", "test_agent_restarts.py", "test_agent_failures.py"],
    "seal.ps1": ["test_seal.py"],
    "firstboot.ps1": ["test_firstboot.py"],
}
# Kind -> pattern -> replacement. A pattern is applied to one place of one line.
SWAPS = [
    ("comparison turned", r" -eq ", " -ne "),
    ("comparison turned", r" -ne ", " -eq "),
    ("comparison turned", r" -gt ", " -le "),
    ("comparison turned", r" -lt ", " -ge "),
    ("comparison turned", r" -ge ", " -lt "),
    ("comparison turned", r" -contains ", " -notcontains "),
    ("comparison turned", r" -c?notcontains ", " -contains "),
    ("comparison turned", r" -match ", " -notmatch "),
    ("comparison turned", r" -c?notmatch ", " -match "),
    ("and for or", r" -and ", " -or "),
    ("and for or", r" -or ", " -and "),
    ("not lost", r"-not \$", "$"),
    ("switch lost", r" -Force\b", ""),
    ("switch lost", r" -Recurse\b", ""),
    ("switch lost", r" -LiteralPath ", " -Path "),
    ("switch lost", r" -ErrorAction SilentlyContinue", ""),
    ("truth turned", r"\$true\b", "$false"),
    ("truth turned", r"\$false\b", "$true"),
    ("array unrolled", r"return , ", "return "),
    ("encoding changed", r"UTF8Encoding -ArgumentList \$false", "UTF8Encoding -ArgumentList $true"),
    ("encoding changed", r"\[char\]0xFEFF \+ ", ""),
    ("exit code forgotten", r", (3010|1641|259|1056|1062|1618|1603|2)\)", ")"),
    (
        "text changed",
        r"'/(norestart|quiet|oobe|install|inheritance:r|grant:r|ResetBase)'",
        "'/other'",
    ),
    ("number changed", r"(?<= )([2-9])(?=[)\s]|$)", "1"),
]
DROPPABLE = re.compile(
    r"^\s+(throw |Set-|Remove-|Add-|New-|Invoke-|Start-|Stop-|Clear-|Send-|\[void\]|"
    r"Write-WholeFile|Write-JsonLine|Register-|Unregister-|Rename-|Enable-|Disable-|"
    r"\$[A-Za-z.]+ \+?= |continue|break|return)[^{]*$"
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one line."""

    script: str
    kind: str
    line: int
    before: str
    after: str


def mutants(script: str) -> Iterator[Mutant]:
    """Every mutant of a script; the common region is changed in the agent only."""
    common = False
    for number, line in enumerate((GUEST / script).read_text().splitlines(), 1):
        common = line.startswith("#region common") or (common and not line.startswith("#endregion"))
        skipped = line.lstrip().startswith(("#", "[Diagnostics")) or "Write-Note" in line
        if skipped or (common and script != "agent.ps1"):
            continue
        if DROPPABLE.match(line):
            indent = line[: len(line) - len(line.lstrip())]
            yield Mutant(script, "line dropped", number, line, f"{indent}$null = 0")
        for kind, pattern, replacement in SWAPS:
            for match in re.finditer(pattern, line):
                after = line[: match.start()] + replacement + line[match.end() :]
                yield Mutant(script, kind, number, line, after)


def parses(text: str) -> bool:
    """Whether it is still PowerShell."""
    from tests.unit.guest_scripts import syntax

    root = syntax.parse(text)
    return not any(node.type == "ERROR" or node.is_missing for node in syntax.walk(root))


def mutated(mutant: Mutant) -> str:
    """The script's text with the change."""
    lines = (GUEST / mutant.script).read_text().splitlines()
    lines[mutant.line - 1] = mutant.after
    return "\n".join(lines) + "\n"


def killed(mutant: Mutant) -> bool:
    """Whether a test fails with this change; one that never ends counts as noticed."""
    with tempfile.TemporaryDirectory() as folder:
        guest = Path(folder) / "guest"
        shutil.copytree(GUEST, guest)
        (guest / mutant.script).write_text(mutated(mutant))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        command += [
            f"--basetemp={folder}/tests",
            *[str(HERE / name) for name in TESTS[mutant.script]],
        ]
        environment = os.environ | {"GOLDEN_GUEST_SCRIPTS": str(guest)}
        try:
            done = subprocess.run(
                command, env=environment, cwd=ROOT, capture_output=True, timeout=400, check=False
            )
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0


def chosen(options: argparse.Namespace) -> list[Mutant]:
    """A sample of all mutants, the same for the same seed."""
    scripts = [options.script] if options.script else list(TESTS)
    every = [mutant for script in scripts for mutant in mutants(script)]
    random.Random(options.seed).shuffle(every)
    good = (mutant for mutant in every if parses(mutated(mutant)))
    return [mutant for _, mutant in zip(range(options.count), good, strict=False)]


def report(mutant: Mutant, dead: bool) -> None:
    if not dead:
        print(f"survived {mutant.script}:{mutant.line}: {mutant.kind}", flush=True)
        print(f"  - {mutant.before.strip()}\n  + {mutant.after.strip()}", flush=True)


def table(sample: list[Mutant], dead: list[bool]) -> None:
    kinds = Counter(m.kind for m in sample)
    kills = Counter(m.kind for m, gone in zip(sample, dead, strict=True) if gone)
    for kind in sorted(kinds):
        print(f"{kind:22} {kinds[kind]:4} mutants {kills[kind]:4} killed")
    print(f"{'together':22} {len(sample):4} mutants {sum(dead):4} killed")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--script", choices=list(TESTS))
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    sample = chosen(options)
    dead = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, gone in zip(sample, pool.map(killed, sample), strict=True):
            report(mutant, gone)
            dead.append(gone)
    table(sample, dead)
    return 0 if sum(dead) >= 0.85 * len(sample) else 1


if __name__ == "__main__":
    sys.exit(main())
