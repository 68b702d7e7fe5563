"""The few things of cmd.exe that answer files and administrators need.

Goes in: a command line. Comes out: an exit code. ``echo TEXT> FILE``, ``for %d in (A B) do …``,
``if [not] exist PATH …``, ``if [not] errorlevel N …``, ``&&``, ``||``, ``&``, and programs that the
caller knows. What is none of these is said not to be known, with cmd's own exit code 9009 or 1: the
stand-in does not pretend.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TextIO

from . import linux
from .winpath import Drives, NoDrive

UNKNOWN = 9009
_FOR = re.compile(r"for\s+%{1,2}(\w)\s+in\s+\(([^)]*)\)\s+do\s+(.*)", re.IGNORECASE | re.DOTALL)
_IF = re.compile(r'if\s+(not\s+)?exist\s+("[^"]*"|\S+)\s+(.*)', re.IGNORECASE | re.DOTALL)
_LEVEL = re.compile(r"if\s+(not\s+)?errorlevel\s+(\d+)\s+(.*)", re.IGNORECASE | re.DOTALL)
_ECHO = re.compile(r"echo[\s.](.*)", re.IGNORECASE | re.DOTALL)
_REDIRECT = re.compile(
    r'^((?:[^">]|"[^"]*")*?)\s?([12]?>>?)\s*("[^"]*"|[^\s>]+)\s*(?:2>&1)?\s*$', re.DOTALL
)
_CMD = re.compile(
    r"(?:\S*[\\/])?cmd(?:\.exe)?((?:\s+/[a-z]+(?::\w+)?)+)\s*(.*)", re.IGNORECASE | re.DOTALL
)

Program = Callable[["Shell", list[str]], int]


def words(text: str) -> list[str]:
    """A command line's words: double quotes group, backslashes are just characters."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.escape, lexer.quotes, lexer.commenters = True, "", '"', ""
    return list(lexer)


def _split(text: str) -> list[tuple[str, str]]:
    """The commands of a line, each with the operator before it; quoted operators are text."""
    parts = re.findall(r'((?:"[^"]*"|\^.|[^"&|^])+)|(&&|\|\||&|\|)', text)
    found, operator = [], "&"
    for command, sign in parts:
        if sign:
            operator = sign
        elif command.strip():
            found.append((operator, command.strip().replace("^", "")))
    return found


@dataclass(slots=True)
class Shell:
    """One command interpreter: the drives it sees, the programs it can run, where it writes."""

    drives: Drives
    programs: Mapping[str, Program] = field(default_factory=dict)
    out: TextIO = field(default_factory=lambda: sys.stdout)
    level: int = 0
    """The exit code of the last program: cmd's errorlevel, which ``echo`` leaves alone."""

    def run(self, line: str) -> int:
        """Run a command line; its exit code."""
        line = line.strip()
        while line.startswith("@") or (line.startswith("(") and line.endswith(")")):
            line = line[1:].strip() if line.startswith("@") else line[1:-1].strip()
        if match := _CMD.fullmatch(line):
            inner = match[2].strip()
            quoted = inner.startswith('"') and inner.endswith('"') and inner.count('"') == 2
            return self.run(inner[1:-1] if quoted else inner)
        if match := _FOR.fullmatch(line):
            return self._for(*match.groups())
        if re.match(r"for\s", line, re.IGNORECASE):
            return self.unknown(line)
        if match := _IF.fullmatch(line):
            absent, path, command = match.groups()
            return self.run(command) if self.drives.exists(path) is not bool(absent) else 0
        if match := _LEVEL.fullmatch(line):
            below, level, command = match.groups()
            # At least, not exactly, as cmd has it.
            return self.run(command) if (self.level >= int(level)) is not bool(below) else 0
        if re.match(r"if\s", line, re.IGNORECASE):
            return self.unknown(line)
        return self._sequence(_split(line))

    def _for(self, name: str, items: str, command: str) -> int:
        code = 0
        for item in re.split(r"[\s,;]+", items.strip()):
            code = self.run(item.join(re.split(f"%{{1,2}}{name}", command)))
        return code

    def _sequence(self, commands: list[tuple[str, str]]) -> int:
        code = 0
        if piped := [command for operator, command in commands if operator == "|"]:
            return self.unknown(f"a pipe into {piped[0]}")
        for position, (operator, command) in enumerate(commands):
            if (operator == "&&" and code) or (operator == "||" and not code):
                continue
            if re.match(r"(for|if)\s", command, re.IGNORECASE):
                # The rest of the line belongs to the body of a "for" or an "if".
                rest = commands[position + 1 :]
                return self.run(command + "".join(f" {sign} {text}" for sign, text in rest))
            code = self._redirected(command)
        return code

    def _redirected(self, command: str) -> int:
        match = _REDIRECT.match(command)
        if not match:
            return self._one(command, self.out)
        body, sign, target = match.groups()
        target = target.strip('"')
        if target.upper().rstrip(":") == "NUL":
            with open("/dev/null", "w") as null:  # noqa: PTH123
                return self._one(body, null)
        if re.fullmatch(r"(\\\\\.\\)?COM1:?", target, re.IGNORECASE):
            return self._to_serial(body)
        try:
            path = self.drives.resolve(target)
            with path.open("a" if ">>" in sign else "w") as stream:
                return self._one(body, stream)
        except (NoDrive, OSError) as error:
            print(error, file=self.out)
            return 1

    def _to_serial(self, command: str) -> int:
        if not (echo := _ECHO.fullmatch(command.strip())):
            return self.unknown(f"{command}> COM1")
        linux.serial(self.drives.expand(echo[1]).strip())
        return 0

    def _one(self, command: str, out: TextIO) -> int:
        command = self.drives.expand(command.strip())
        if echo := _ECHO.fullmatch(command):
            print(echo[1], file=out, flush=True)
            return 0
        if _CMD.fullmatch(command):
            return Shell(self.drives, self.programs, out).run(command)
        return self._program(command, out)

    def _program(self, command: str, out: TextIO) -> int:
        try:
            argv = words(command)
        except ValueError as error:
            return self.unknown(f"{command} ({error})")
        if not argv:
            return 0
        name = re.split(r"[\\/]", argv[0])[-1].lower().removesuffix(".exe")
        if name not in self.programs:
            return self.unknown(command, UNKNOWN)
        self.level = self.programs[name](Shell(self.drives, self.programs, out), argv[1:])
        return self.level

    def unknown(self, what: str, code: int = 1) -> int:
        """Say that the stand-in cannot do it, and fail."""
        print(f"the stand-in cannot run: {what}", file=sys.stderr, flush=True)
        return code
