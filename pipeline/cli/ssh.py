"""``golden ssh``: OpenSSH's own client, in the instance."""

from __future__ import annotations

import argparse
import os

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import find_program
from pipeline.instances import instance as records
from pipeline.instances import state
from pipeline.instances.access import ssh_command
from pipeline.instances.instance import Home
from pipeline.instances.options import check_name


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden ssh``."""
    parser.add_argument("name", metavar="NAME", help="the instance")
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="-- CMD", help="a command to run there"
    )


def run(args: argparse.Namespace) -> int:
    """Become ``ssh``: its exit code is the command's."""
    home = Home(Workspace.default(), check_name(args.name))
    records.load(home)
    said = state.read(home)
    if said.state != state.RUNNING:
        raise PipelineError(
            f"{home.name} is {said.state}", hint=f"run: golden launch --name {home.name}"
        )
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    program = find_program("ssh", hint="install OpenSSH's client")
    os.execv(program, ssh_command(home, *words))  # noqa: S606
