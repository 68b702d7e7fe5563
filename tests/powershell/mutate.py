"""Change the guest scripts a little, many times, and tell which changes no test noticed.

    python -m tests.powershell.mutate [--script agent.ps1] [--jobs 2] [--survivors] [--table]

Goes in: the scripts under templates/guest/ and the tests that run each. Comes out: a table of kinds
of mutants, killed and survived, each survivor as a line with its change and, from survivors.toml,
why it may live; exit code 1 when less than 85 % were killed. What noticed each mutant is kept in
mutants.json beside this file after each: a run goes on where the one before ended, and forgets what
belongs to another text of the function. --survivors tries again those that lived for no known
reason; --table only prints; --write puts the table into docs/guest-scripts.md.

A first run of all tests, on copies whose functions tell that they were called, shows which tests
a mutant of a function can make fail; those run until one fails, first what noticed other mutants
of that function, then the quickest. Mutants that are not PowerShell any more are not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import inspect
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GUEST = ROOT / "templates" / "guest"
RESULTS = HERE / "mutants.json"
EXPLAINED = HERE / "survivors.toml"
DOCUMENT = ROOT / "docs" / "guest-scripts.md"
LEAST = 0.85
# Seconds after which one PowerShell counts as hanging; none of them needs a tenth of it.
HANGS = 60.0
# A mutant whose tests take this many times as long as without it, and a hang more, is noticed.
PATIENCE = 5.0

TESTS = {
    "agent.ps1": ["test_agent_kinds.py", "test_agent_restarts.py", "test_agent_failures.py"],
    "seal.ps1": ["test_seal.py"],
    "logon-secret.ps1": ["test_logon_secret.py"],
    "firstboot.ps1": [
        "test_firstboot.py",
        "test_cloudbase.py",
        "test_yaml.py",
        "test_parity_firstboot.py",
    ],
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
    ("encoding changed", r" -Encoding UTF8\b", ""),
    ("encoding changed", r"Encoding\]::UTF8\b", "Encoding]::ASCII"),
    ("item lost", r"(?<=@\()'[^']*', ", ""),
    ("item lost", r", '[^']*'(?=[,)])", ""),
    ("exit code forgotten", r", (3010|1641|259|1056|1062|1618|1603|2)\)", ")"),
    (
        "text changed",
        r"'/(norestart|quiet|oobe|install|inheritance:r|grant:r|ResetBase)'",
        "'/other'",
    ),
    ("number changed", r"(?<= )([2-9])(?=[)\s]|$)", "1"),
]
DROPPABLE = re.compile(
    r"^\s*Invoke-Part .*\{.*\}|"
    r"^\s*(throw |Set-|Remove-|Add-|New-|Invoke-|Start-|Stop-|Clear-|Send-|\[void\]|"
    r"Write-WholeFile|Write-JsonLine|Register-|Unregister-|Rename-|Enable-|Disable-|"
    r"\$[A-Za-z.:]+ \+?= |continue|break|return)[^{]*$"
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


@functools.cache
def function_of(script: str) -> dict[int, str]:
    """Line number -> the function it stands in; lines outside of functions are absent."""
    found, name = {}, ""
    for number, line in enumerate((GUEST / script).read_text().splitlines(), 1):
        if match := re.match(r"function ([A-Za-z-]+)", line):
            name = match[1]
        if name:
            found[number] = name
        if line == "}":
            name = ""
    return found


def telling(script: str, trace: Path) -> str:
    """The script's text, with functions that write their name into ``trace`` when called."""
    source = (GUEST / script).read_text().splitlines()
    lines, waiting = [], ""
    for line, after in zip(source, [*source[1:], ""], strict=True):
        lines.append(line)
        if match := re.match(r"function ([A-Za-z-]+)", line):
            waiting = match[1]
            if after == "    param(":
                continue  # its parameters come in a block of their own
        elif not (waiting and line == "    )"):
            continue
        text = f"{script} {waiting}`n"
        lines.append(f'    [System.IO.File]::AppendAllText("{trace}", "{text}")')
        waiting = ""
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Group:
    """Tests that share what was run for them: they are run together or not at all."""

    tests: list[str] = field(default_factory=list)
    seconds: float = 0.0
    called: list[str] = field(default_factory=list)


class Survey:
    """A pytest plugin: which functions each test calls, and how long it takes."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace
        self.groups: dict[str, Group] = defaultdict(Group)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Function) -> Iterator[None]:
        """Around one test with its fixtures."""
        self.trace.write_text("")
        began = time.monotonic()
        yield
        group = self.groups[self._shared(item)]
        group.tests.append(item.nodeid)
        group.seconds += time.monotonic() - began
        told = {*group.called, *self.trace.read_text().split("\n")}
        group.called = sorted(told - {""})

    @staticmethod
    def _shared(item: pytest.Function) -> str:
        """The module's fixtures that it uses, or the test itself when it uses none."""
        fixtures = item._fixtureinfo.name2fixturedefs
        names = [n for n, found in fixtures.items() if found[-1].scope == "module"]
        return f"{item.path}::{names}" if names else item.nodeid


def pytest_run(arguments: list[str], folder: Path, plugins: list[object] | None = None) -> int:
    """pytest in this process, without its files outside of ``folder``."""
    quiet = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder}/tests"]
    return int(pytest.main([*quiet, *arguments], plugins=plugins or []))


def survey(scripts: list[str], folder: Path) -> list[Group]:
    """Which tests call what: for each script from an earlier run with the same text, or anew."""
    groups = []
    for script in scripts:
        texts = [(GUEST / script).read_bytes(), *((HERE / n).read_bytes() for n in TESTS[script])]
        name = hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]
        kept = ROOT / "output" / "mutants" / f"{script}-{name}.json"
        if not kept.exists():
            (folder / script).mkdir()
            found = [asdict(group) for group in surveyed(script, folder / script)]
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found))
        groups += [Group(**group) for group in json.loads(kept.read_text())]
    return groups


def surveyed(script: str, folder: Path) -> list[Group]:
    """Run every test of a script once, on one that tells which of its functions are called."""
    from tests.powershell import fake_machine

    trace, guest = folder / "trace.txt", folder / "telling"
    shutil.copytree(GUEST, guest)
    (guest / script).write_text(telling(script, trace))
    fake_machine.GUEST = guest
    plugin = Survey(trace)
    if pytest_run([str(HERE / name) for name in TESTS[script]], folder, [plugin]) != 0:
        raise SystemExit("the tests fail without any mutant")
    return list(plugin.groups.values())


def groups_for(mutant: Mutant, groups: list[Group], killers: Counter[str]) -> list[Group]:
    """What runs the function in which the change is: what noticed most first, then the quickest."""
    wanted = place(mutant)
    found = [g for g in groups if any(c.startswith(wanted) for c in g.called)]
    if not wanted.endswith(" "):
        found = [group for group in found if wanted in group.called]
    return sorted(found, key=lambda group: (-killers[group.tests[0]], group.seconds))


class Witness:
    """A pytest plugin: writes down which test failed."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """After each part of a test; the first failure ends the run."""
        if report.failed:
            self.file.write_text(report.nodeid)


def child(mutant: Mutant, tests: list[str], folder: Path) -> None:
    """In a process of its own: the house rules, then the tests against the mutant."""
    from tests.powershell import fake_machine

    os.setsid()
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)
    if rule := broken_rule(mutant):
        (folder / "killer").write_text(rule)
        os._exit(1)
    guest = folder / "guest"
    shutil.copytree(GUEST, guest)
    (guest / mutant.script).write_text(mutated(mutant))
    fake_machine.GUEST = guest
    fake_machine.DEADLINE = HANGS
    code = pytest_run(tests, folder, [Witness(folder / "killer")]) if tests else 0
    os._exit(code)


def broken_rule(mutant: Mutant) -> str:
    """The house rule of a single script that notices it; no PowerShell is needed for that."""
    from tests.unit.guest_scripts import test_house_rules

    rules = [rule for name, rule in vars(test_house_rules).items() if name.startswith("test_")]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / mutant.script
        script.write_text(mutated(mutant))
        for rule in rules:
            if list(inspect.signature(rule).parameters) == ["script"]:
                try:
                    rule(script)
                except AssertionError:
                    return f"{rule.__module__.replace('.', '/')}.py::{rule.__name__}"
    return ""


@dataclass(slots=True)
class Trial:
    """A mutant that is being tried, in a folder of its own until a time of the monotonic clock."""

    mutant: Mutant
    groups: list[Group]
    folder: Path
    until: float


def start(mutant: Mutant, groups: list[Group]) -> tuple[int, Trial]:
    """Try a mutant in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="mutant-"))
    if (pid := os.fork()) == 0:
        child(mutant, [test for group in groups for test in group.tests], folder)
    allowed = HANGS + PATIENCE * sum(group.seconds for group in groups)
    return pid, Trial(mutant, groups, folder, time.monotonic() + allowed)


def outcome(trial: Trial, code: int) -> str:
    """What noticed the mutant: a test, a rule, its slowness; nothing if it lived."""
    if code not in (0, 1):
        raise SystemExit(f"pytest ended with {code} for {trial.mutant}")
    killer = trial.folder / "killer"
    return killer.read_text() if code and killer.exists() else "its slowness" * code


def try_all(
    todo: list[Mutant], groups: list[Group], jobs: int, killers: dict[str, Counter[str]]
) -> Iterator[tuple[Mutant, str]]:
    """Each mutant, and what noticed it; one that is slow beyond measure is noticed.

    ``killers`` says what noticed others of a function: by its place, the first tests of groups.
    """
    waiting = list(reversed(todo))
    running: dict[int, Trial] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            pid, trial = start(mutant, groups_for(mutant, groups, killers[place(mutant)]))
            running[pid] = trial
        for pid, trial in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended and time.monotonic() < trial.until:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # whatever its PowerShells have left behind
            if not ended:
                os.waitpid(pid, 0)
            del running[pid]
            killer = outcome(trial, os.waitstatus_to_exitcode(status) if ended else 1)
            shutil.rmtree(trial.folder, ignore_errors=True)
            count(killers, place(trial.mutant), killer, trial.groups)
            yield trial.mutant, killer
        time.sleep(0.02)


def count(killers: dict[str, Counter[str]], where: str, killer: str, groups: list[Group]) -> None:
    """Note which group of tests noticed a mutant of the function at ``where``."""
    for group in groups:
        killers[where][group.tests[0]] += killer in group.tests


def place(mutant: Mutant) -> str:
    """The function that a mutant changes; mutants of one are mostly noticed by the same tests."""
    return f"{mutant.script} {function_of(mutant.script).get(mutant.line, '')}"


def every(scripts: list[str]) -> list[Mutant]:
    """All mutants that are still PowerShell."""
    return [m for script in scripts for m in mutants(script) if parses(mutated(m))]


def key(mutant: Mutant) -> str:
    """A mutant's name among those of its function; lines are counted from the function's first."""
    lines = function_of(mutant.script)
    first = min((n for n in lines if lines[n] == lines.get(mutant.line)), default=1)
    return f"{mutant.line - first}: {mutant.before.strip()} -> {mutant.after.strip()}"


def digests(script: str) -> dict[str, str]:
    """Function -> the digest of its text, which its results belong to; "" is what is in none."""
    texts: dict[str, list[str]] = defaultdict(list)
    inside = function_of(script)
    for number, line in enumerate((GUEST / script).read_text().splitlines(), 1):
        texts[inside.get(number, "")].append(line)
    return {
        name: hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
        for name, lines in texts.items()
    }


class Results:
    """What noticed each mutant: script -> function -> mutant -> a test, or nothing if it lived."""

    def __init__(self) -> None:
        """What earlier runs found for the functions as they are now."""
        read = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        self.digests = {script: digests(script) for script in TESTS}
        self.found: dict[str, dict[str, dict[str, str]]] = {
            script: {
                name: dict(kept["noticed by"])
                for name, kept in functions.items()
                if self.digests[script].get(name) == kept["text"]
            }
            for script, functions in read.items()
            if script in TESTS
        }

    def get(self, mutant: Mutant) -> str | None:
        """What noticed it; nothing known, ``None``."""
        function = function_of(mutant.script).get(mutant.line, "")
        return self.found.get(mutant.script, {}).get(function, {}).get(key(mutant))

    def killers(self) -> Iterator[tuple[str, str]]:
        """The place of each mutant that was noticed, and what noticed it."""
        for script, functions in self.found.items():
            for function, found in functions.items():
                yield from ((f"{script} {function}", killer) for killer in found.values())

    def add(self, mutant: Mutant, killer: str) -> None:
        """Note it, and write all down: whole or not at all."""
        function = function_of(mutant.script).get(mutant.line, "")
        functions = self.found.setdefault(mutant.script, {})
        functions.setdefault(function, {})[key(mutant)] = killer
        text = {
            script: {
                name: {"text": self.digests[script][name], "noticed by": found}
                for name, found in functions.items()
            }
            for script, functions in self.found.items()
        }
        new = RESULTS.with_suffix(".new")
        new.write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")
        new.rename(RESULTS)


def reason(mutant: Mutant) -> str:
    """Why a survivor may live, or nothing."""
    if not EXPLAINED.exists():
        return ""
    for entry in tomllib.loads(EXPLAINED.read_text()).get("survivor", []):
        if entry.get("script", mutant.script) != mutant.script:
            continue
        if entry.get("kind", mutant.kind) == mutant.kind and entry["line"] in mutant.before:
            return str(entry["why"])
    return ""


def survivors(found: list[tuple[Mutant, bool]]) -> Iterator[str]:
    """Each change that no test noticed, and why it may live."""
    for mutant in (mutant for mutant, dead in found if not dead):
        yield f"survived {mutant.script}:{mutant.line}: {mutant.kind}"
        yield f"  - {mutant.before.strip()}"
        yield f"  + {mutant.after.strip()}"
        yield f"  why: {reason(mutant) or 'NOT EXPLAINED'}"


def table(found: list[tuple[Mutant, bool]], untried: int) -> Iterator[str]:
    """The counts as a table, by kind of change and by script."""
    yield "| change | mutants | killed | survived | of those explained |"
    yield "|---|---|---|---|---|"
    for kind in [*sorted({m.kind for m, _ in found}), "together"]:
        yield row(kind, [(m, dead) for m, dead in found if kind in (m.kind, "together")])
    for script in TESTS:
        if mine := [(m, dead) for m, dead in found if m.script == script]:
            yield row(f"`{script}`", mine)
    if untried:
        yield ""
        least = 100 * sum(dead for _, dead in found) / (len(found) + untried)
        yield f"{untried} more have not been tried; if all of them lived, {least:.1f} % are killed."


def write(lines: list[str]) -> None:
    """Put the table into the document that shows it, between its two marks."""
    text = DOCUMENT.read_text()
    before, begin, rest = text.partition("<!-- mutants -->\n")
    _, end, after = rest.partition("<!-- end of mutants -->")
    body = "\n".join(lines)
    DOCUMENT.write_text(f"{before}{begin}{body}\n{end}{after}")


def row(name: str, found: list[tuple[Mutant, bool]]) -> str:
    """One line of the table."""
    tally = Counter("killed" if dead else "lived" for _, dead in found)
    explained = sum(not dead and bool(reason(m)) for m, dead in found)
    share = 100 * tally["killed"] / max(1, len(found))
    killed = f"{tally['killed']} ({share:.0f} %)"
    return f"| {name} | {len(found)} | {killed} | {tally['lived']} | {explained} |"


def hunt(scripts: list[str], jobs: int, again: bool) -> None:
    """Try what has no result yet; with ``again`` also what lived."""
    results = Results()
    done = [(m, results.get(m)) for m in every(scripts)]
    todo = [m for m, killer in done if killer is None or (again and not killer and not reason(m))]
    if not todo:
        return
    random.Random(len(todo)).shuffle(todo)
    # Those that lived come first; those that are expected to live run every test, and come last.
    todo.sort(key=lambda mutant: (bool(reason(mutant)), results.get(mutant) is None))
    with tempfile.TemporaryDirectory() as folder:
        groups = survey(sorted({m.script for m in todo}), Path(folder))
    killers: dict[str, Counter[str]] = defaultdict(Counter)
    for where, killer in results.killers():
        count(killers, where, killer, groups)
    for number, (mutant, killer) in enumerate(try_all(todo, groups, jobs, killers), 1):
        results.add(mutant, killer)
        state = f"killed by {killer}" if killer else "SURVIVED"
        print(f"{number}/{len(todo)} {mutant.script}:{mutant.line} {state}", flush=True)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--script", choices=list(TESTS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--survivors", action="store_true", help="try those again that lived")
    parser.add_argument("--table", action="store_true", help="only print what is known")
    parser.add_argument("--write", action="store_true", help="put the table into the document")
    options = parser.parse_args()
    scripts = [options.script] if options.script else list(TESTS)
    if not options.table:
        hunt(scripts, options.jobs, options.survivors)
    results = Results()
    known = [(m, results.get(m)) for m in every(scripts)]
    found = [(m, bool(killer)) for m, killer in known if killer is not None]
    lines = list(table(found, len(known) - len(found)))
    print("\n".join((*survivors(found), *lines)))
    if options.write:
        write(lines)
    enough = sum(dead for _, dead in found) >= LEAST * len(found)
    return 0 if enough and len(found) == len(known) else 1


if __name__ == "__main__":
    sys.exit(main())
