"""The native programs that the stand-in's command interpreter knows, in WinPE and in Windows."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

from . import agent, power, registry, seal
from .machine import Machine
from .registry import Registry
from .shell import Program, Shell
from .winpath import NoDrive

REG_TYPES = {
    "REG_SZ": "String",
    "REG_EXPAND_SZ": "ExpandString",
    "REG_DWORD": "DWord",
    "REG_QWORD": "QWord",
    "REG_MULTI_SZ": "MultiString",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise ValueError(message)


def reg(values: Registry) -> Program:
    """``reg add KEY /v NAME /t TYPE /d DATA /f`` and ``reg delete KEY /v NAME /f``."""
    parser = _Parser(prog="reg", prefix_chars="/", add_help=False)
    parser.add_argument("verb", choices=("add", "delete"))
    parser.add_argument("key")
    parser.add_argument("/v", dest="name")
    parser.add_argument("/t", dest="kind", default="REG_SZ", choices=tuple(REG_TYPES))
    parser.add_argument("/d", dest="data", default="")
    parser.add_argument("/f", action="store_true")
    parser.add_argument("/reg:64", action="store_true")

    def change(given: argparse.Namespace) -> str:
        kind = REG_TYPES[given.kind]
        if not given.name:
            return "the stand-in needs /v"
        if given.verb == "add":
            data = int(given.data, 0) if kind in ("DWord", "QWord") else given.data
            values.set(given.key, given.name, data, kind)
        elif values.get(given.key, given.name) is None:
            return "The system was unable to find the specified registry key or value."
        else:
            values.delete(given.key, given.name)
        return ""

    def run(shell: Shell, arguments: list[str]) -> int:
        lowered = [word.lower() if word.startswith("/") else word for word in arguments]
        try:
            wrong = change(parser.parse_args(lowered))
        except (ValueError, registry.BadKey) as error:
            wrong = str(error)
        if wrong:
            print(f"ERROR: {wrong}", file=sys.stderr)
            return 1
        print("The operation completed successfully.", file=shell.out)
        return 0

    return run


def winpe(values: Registry) -> Mapping[str, Program]:
    """What WinPE has."""
    return {"reg": reg(values)}


def _type(shell: Shell, arguments: list[str]) -> int:
    for name in arguments:
        try:
            shell.out.write(shell.drives.resolve(name).read_text(errors="replace"))
        except (OSError, NoDrive):
            print("The system cannot find the file specified.", file=sys.stderr)
            return 1
    return 0


def _hostname(machine: Machine) -> Program:
    def run(shell: Shell, arguments: list[str]) -> int:
        del arguments
        print(machine.name, file=shell.out)
        return 0

    return run


def _whoami(machine: Machine) -> Program:
    def run(shell: Shell, arguments: list[str]) -> int:
        del arguments
        print(f"{machine.name}\\{os.environ.get('USER', 'system')}".lower(), file=shell.out)
        return 0

    return run


def _shutdown(shell: Shell, arguments: list[str]) -> int:
    words = [word.lower() for word in arguments]
    if ("/r" in words) == ("/s" in words):
        return shell.unknown(f"shutdown {' '.join(arguments)}")
    seconds = words[words.index("/t") + 1] if "/t" in words[:-1] else "30"
    if not seconds.isdigit():
        return shell.unknown(f"shutdown {' '.join(arguments)}", 87)
    power.ask("reboot" if "/r" in words else "poweroff", int(seconds))
    return 0


def _powershell(machine: Machine) -> Program:
    """PowerShell is not here: the scripts that the contract names have doubles of their own."""

    def run(shell: Shell, arguments: list[str]) -> int:
        lowered = [word.lower() for word in arguments]
        if "-file" not in lowered[:-1]:
            return shell.unknown(f"PowerShell: {' '.join(arguments)[:80]}")
        position = lowered.index("-file") + 1
        script, rest = arguments[position], arguments[position + 1 :]
        if not shell.drives.exists(script):
            print(
                f"The argument '{script}' to the -File parameter does not exist.", file=sys.stderr
            )
            return 1
        name = script.replace("/", "\\").split("\\")[-1].lower()
        if name == "agent.ps1":
            return agent.run(machine, rest, shell.out)
        if name == "seal.ps1":
            return seal.run(machine, rest, shell.out)
        return shell.unknown(f"the PowerShell script {script}")

    return run


def windows(machine: Machine) -> Mapping[str, Program]:
    """What the installed system has."""
    return {
        "reg": reg(machine.registry),
        "type": _type,
        "hostname": _hostname(machine),
        "whoami": _whoami(machine),
        "shutdown": _shutdown,
        "powershell": _powershell(machine),
        "exit": lambda _, words: int(words[-1]) if words and words[-1].isdigit() else 0,
    }
