"""The shell of everyone who logs in over SSH: cmd.exe, as far as the stand-in has it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from . import linux, programs
from .machine import Machine
from .shell import Shell


def main() -> None:
    """Run ``-c COMMAND``, or say that there is no prompt here."""
    if len(sys.argv) != 3 or sys.argv[1] != "-c":
        print("The stand-in has no interactive prompt; give a command.", file=sys.stderr)
        sys.exit(1)
    machine = Machine.at(Path("/C:"))
    os.chdir("/C:")
    try:
        code = Shell(machine.drives, programs.windows(machine)).run(sys.argv[2])
    except linux.Failed as error:
        print(f"stand-in: {error}", file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.exit(code & 0xFF)
