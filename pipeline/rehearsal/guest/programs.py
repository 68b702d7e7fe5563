"""The native programs that the stand-in's command interpreter knows, in WinPE and in Windows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from . import registry
from .registry import Registry
from .shell import Program, Shell

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

    def run(shell: Shell, arguments: list[str]) -> int:
        lowered = [word.lower() if word.startswith("/") else word for word in arguments]
        try:
            given = parser.parse_args(lowered)
            kind = REG_TYPES[given.kind]
            data = int(given.data, 0) if kind in ("DWord", "QWord") else given.data
            if not given.name:
                raise ValueError("the stand-in needs /v")
            if given.verb == "add":
                values.set(given.key, given.name, data, kind)
            elif values.get(given.key, given.name) is None:
                raise ValueError("The system was unable to find the specified registry key or value.")
            else:
                values.delete(given.key, given.name)
        except (ValueError, registry.BadKey) as error:
            print(f"ERROR: {error}", file=sys.stderr)
            return 1
        print("The operation completed successfully.", file=shell.out)
        return 0

    return run


def winpe(values: Registry) -> Mapping[str, Program]:
    """What WinPE has."""
    return {"reg": reg(values)}
