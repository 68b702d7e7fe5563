"""``golden``: what operators and consumers type.

Each command is a module of this package with ``add(parser)`` for its options and ``run(args)`` for
its work; it is imported only when it is used, so that ``golden --help`` answers at once.

Exit codes: ``docs/settings.md`` has the table. What the system refuses (a full disk, a folder of
another user) is a sentence too; every other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from pipeline.foundation.errors import PipelineError, refused
from pipeline.foundation.progress import close_all

COMMANDS = {
    "doctor": "say whether this host can build, and what to install where it can't",
    "diagnose": "read a failure's evidence: what happened, where, and what to do",
    "keep": "build an image; a machine whose stage fails stays up to be looked at",
    "trial": "build an image, and write one file that tells how it went, to send back",
    "plan": "say for each stage whether it will run, and why",
    "matrix": "say which images must be built tonight, for CI to fan out on",
    "refresh": "look for new versions of what is pinned, and bring the pins up to date",
    "media": "list the editions on a Windows medium: a file, or a URL without downloading it",
    "verify": "check a published version: its files, its signature, who signed it",
    "lint": "check answer files, ours or not",
    "render": "write an image's answer files and plans, without any download",
    "rehearsal": "make the stand-in medium that needs no Windows",
    "pull": "bring a prebuilt image here from a store, verified",
    "images": "list the versions of this host, built or pulled, or those of a store",
    "push": "bring a published version to a store",
    "yank": "withdraw a published version, or offer it again",
    "gc": "remove versions beyond those to keep, and what killed runs left behind",
    "launch": "make an instance of a published image, or start it again; waits until SSH answers",
    "ls": "list the instances",
    "ssh": "open a shell in an instance, or run a command there",
    "stop": "shut an instance down",
    "rm": "remove an instance with its disk",
    "logs": "show what an instance's supervisor says",
    "console": "show what an instance's serial console says, live",
    "purge": "remove an artifact from the cache",
}


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="golden",
        description="Golden Windows disk images: look, check and use.",
        epilog="Images are built with: ./doitw build:NAME",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name in argv[:1]:
            module = importlib.import_module(f"pipeline.cli.{name}")
            module.add(sub)
            sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; problems that a user can act upon are one clean message on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(words).parse_args(words)
        code: int = args.run(args)
    except PipelineError as error:
        return _told(error)
    except KeyboardInterrupt:
        print("golden: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno is None:  # made up by a library, not the system's
            raise
        return _told(refused(error))
    return code


def _told(error: PipelineError) -> int:
    close_all()
    print(f"golden: {error}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
