"""``golden pull``: a prebuilt image from a store, verified."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Lines, Live, Progress
from pipeline.inputs.fetch_mirrors import Policy
from pipeline.publishing.pull import Options, Wanted, pull
from pipeline.publishing.refusals import EXIT_CODES
from pipeline.publishing.stores.opening import canonical, open_store
from pipeline.publishing.trust import Anchors, Ask, Trust


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden pull``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    codes = "\n".join(
        textwrap.fill(text, 96, initial_indent=f"  {code:<4}", subsequent_indent=" " * 6)
        for code, text in EXIT_CODES.items()
    )
    parser.epilog = f"exit codes:\n{codes}"
    parser.add_argument("image", metavar="IMAGE[@VERSION]", help="the newest when none is named")
    parser.add_argument(
        "--from",
        dest="store",
        required=True,
        metavar="STORE",
        help="https://host/path, http://host/path, oci://registry/repository, or a folder",
    )
    add_trust(parser)
    parser.add_argument("--force", action="store_true", help="also a version that was withdrawn")
    parser.add_argument(
        "--retries", type=int, default=Policy().retries, help="failures in a row to put up with"
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The options that say whose signature counts; remembered for the store afterwards."""
    add_key(parser)
    parser.add_argument(
        "--allowed-signers", type=Path, metavar="FILE", help="as ssh-keygen -Y verify takes it"
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="SHA256:…",
        help="the same as --key",
    )


def add_key(parser: argparse._ActionsContainer) -> None:
    """``--key``, which means the same wherever it is."""
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="KEY",
        help="the publisher's key: a file with the public key, or its fingerprint SHA256:…",
    )


def anchors(args: argparse.Namespace) -> Anchors:
    """What the options of :func:`add_trust` say."""
    return Anchors((*args.key, *args.trust), args.allowed_signers)


def run(args: argparse.Namespace) -> int:
    """Pull; the folder is what is printed on stdout."""
    workspace = Workspace.default()
    progress = on_stderr(f"pull {args.image}")
    place = canonical(args.store, Path())
    trust = Trust(place, workspace, anchors(args), asker())
    options = Options(force=args.force, policy=Policy(retries=args.retries))
    with open_store(args.store, Path(), progress.event) as store:
        pulled = pull(store, Wanted.parse(args.image), workspace, trust, progress, options)
    if not pulled.fresh:
        print(f"{pulled.entry.image} {pulled.entry.version} is here already", file=sys.stderr)
    print(pulled.folder)
    return 0


def on_stderr(job: str) -> Progress:
    """Progress that leaves stdout to the result."""
    kind = Live if sys.stderr.isatty() else Lines
    return kind(job, stream=sys.stderr)


def asker() -> Ask | None:
    """Somebody to ask, on a terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(question: str) -> bool:
        print(question, end="", file=sys.stderr)
        print("Is that the publisher's key? Type yes to trust it: ", end="", file=sys.stderr)
        return sys.stdin.readline().strip().lower() == "yes"

    return ask
