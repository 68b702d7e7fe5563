"""Commands: how each pass starts them, and what cmd.exe makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.answers.document import Document, Element, first, local, text
from pipeline.answers.findings import Severity
from pipeline.answers.rules.rule import Problem, rule

LINE = {
    "RunSynchronousCommand": "Path",
    "RunAsynchronousCommand": "Path",
    "SynchronousCommand": "CommandLine",
    "AsynchronousCommand": "CommandLine",
}
BUILT_IN = frozenset(
    {
        *("assoc", "break", "call", "cd", "chdir", "cls", "color", "copy", "date", "del", "dir"),
        *(
            "echo",
            "endlocal",
            "erase",
            "exit",
            "for",
            "ftype",
            "goto",
            "if",
            "md",
            "mkdir",
            "mklink",
        ),
        *(
            "move",
            "path",
            "pause",
            "popd",
            "prompt",
            "pushd",
            "rd",
            "rem",
            "ren",
            "rename",
            "rmdir",
        ),
        *("set", "setlocal", "shift", "start", "time", "title", "type", "ver", "verify", "vol"),
    }
)
_CMD = re.compile(r'(?i)^"?(?:[^"]*\\)?cmd(?:\.exe)?"?(?:\s|$)')
_RESTART = re.compile(
    r"(?i)(^|[\s\"\\&|])(shutdown(\.exe)?\s+[/-](r|s|g|sg|p)\b|(restart|stop)-computer\b)"
)
# cmd.exe reads a digit that stands alone before > as the number of a handle.
_HANDLE = re.compile(r"(?i)\s([03-9])>(?![&>])|\becho\b[^&|<>]*\s([12])>(?!&|\s*nul\b)")


def _commands(document: Document) -> Iterator[tuple[Element, Element | None]]:
    """Every command with its line."""
    for _, path, element in document.settings:
        if "/" in path and local(element) in LINE:
            yield element, first(element, LINE[local(element)])


@rule(
    "command-missing",
    "a command has a line to run",
    "write the line, or leave the whole item out",
)
def missing(document: Document) -> Iterator[Problem]:
    """Commands without one."""
    for command, found in _commands(document):
        if found is None:
            yield Problem(command, f"{local(command)} has no {LINE[local(command)]}")


@rule("command-built-in", "Setup starts programs; built-in commands and > need cmd.exe")
def built_in(document: Document) -> Iterator[Problem]:
    """Lines that only cmd.exe understands, given to something else."""
    for _, found in _commands(document):
        line = text(found)
        if found is None or not line or _CMD.match(line):
            continue
        word = re.split(r"[\s/(]", line.lower(), maxsplit=1)[0]
        if word in BUILT_IN:
            yield Problem(found, f'"{word}" is built into cmd.exe and no program', "cmd.exe /c …")
        elif (
            re.search(r"(?<!\^)(>|\||&&)", re.sub(r'"[^"]*"', "", line))
            and "-c" not in line.lower()
        ):
            message = "no shell reads this line: >, | and && are passed on as text"
            yield Problem(found, message, "cmd.exe /c …", Severity.WARNING)


@rule(
    "command-handle", "cmd.exe takes a digit right before > as a handle and drops it from the text"
)
def handle(document: Document) -> Iterator[Problem]:
    """A digit that was meant as text."""
    for _, found in _commands(document):
        line = re.sub(r'"[^"]*"', "", text(found))
        if found is not None and _CMD.match(text(found)) and (match := _HANDLE.search(line)):
            digit = match[1] or match[2]
            message = f'"{digit}>" redirects handle {digit}; the digit is not written'
            yield Problem(found, message, "put > first: cmd /c > FILE echo …", Severity.WARNING)


@rule("command-gone", "wmic is no part of Windows 11 24H2 and Server 2025 any more")
def gone(document: Document) -> Iterator[Problem]:
    """Programs that current Windows does not have."""
    for _, found in _commands(document):
        if found is not None and re.search(r"(?i)(^|[\s\"\\&|])wmic(\.exe)?\s", text(found)):
            message = "wmic does not exist in 24H2 and Server 2025"
            yield Problem(found, message, "use PowerShell", Severity.WARNING)


@rule(
    "command-restart", "before logon, WillReboot restarts; a command that does so breaks the pass"
)
def restart(document: Document) -> Iterator[Problem]:
    """Commands of the passes before logon that restart or switch off by themselves."""
    for command, found in _commands(document):
        early = local(command) in ("RunSynchronousCommand", "RunAsynchronousCommand")
        if early and found is not None and _RESTART.search(text(found)):
            message = "the command restarts Windows in the middle of the pass"
            yield Problem(found, message, "WillReboot Always instead")


@rule(
    "command-interactive",
    "a command that waits for a key waits for ever",
    "leave out what waits: pause, cmd /k",
)
def interactive(document: Document) -> Iterator[Problem]:
    """Commands that wait for somebody."""
    for _, found in _commands(document):
        if found is not None and re.search(
            r"(?i)(^|[\s&|])(pause|cmd(\.exe)?\s+/k)(\s|$)", text(found)
        ):
            yield Problem(found, "the command waits for somebody", "", Severity.WARNING)
