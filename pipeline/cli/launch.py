"""``golden launch``: an instance of a published image, made or started again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import reporter
from pipeline.foundation.units import Size
from pipeline.instances.access import ssh_line
from pipeline.instances.launch import home_of, launch
from pipeline.instances.options import Options


def _size(text: str) -> Size:
    try:
        return Size.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {error}") from None


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden launch``."""
    parser.add_argument(
        "image", nargs="?", metavar="IMAGE", help="NAME, NAME@VERSION, or a path to a version"
    )
    parser.add_argument("--name", help="what the instance is called; as its image, if not given")
    parser.add_argument(
        "--share", metavar="DIR[:TAG]", help="a folder for the guest, over virtio-fs; or: none"
    )
    parser.add_argument("--memory", type=_size, metavar="SIZE", help="such as 4G")
    parser.add_argument("--disk", type=_size, metavar="SIZE", help="such as 80G; it only grows")
    parser.add_argument("--cpus", type=int, metavar="N", help="processors")
    parser.add_argument("--port", type=int, help="the port of 127.0.0.1 that leads to SSH")
    parser.add_argument(
        "--ssh-key", type=Path, metavar="FILE", help="a key of yours that opens it as well"
    )


def run(args: argparse.Namespace) -> int:
    """Start, wait, print the ssh line."""
    home = home_of(Workspace.default(), args.name, args.image)
    asked = Options(args.share, args.memory, args.cpus, args.port, args.ssh_key, args.disk)
    progress = reporter(home.name)
    try:
        launch(home, args.image, asked, progress)
    except KeyboardInterrupt:
        print(
            f"golden: {home.name} goes on without you; golden stop {home.name} ends it",
            file=sys.stderr,
        )
        raise
    progress.done("SSH answers")
    print(ssh_line(home))
    return 0
