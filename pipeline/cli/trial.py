"""``golden trial``: build an image on this host, and write one file that tells how that went.

It is meant for what only a real Windows can show (docs/verification.md): whoever has KVM and a
network runs this, and sends the file back. Out: a ``.tar.gz`` with what this host is, each stage's
receipt and evidence, what the checks found and, after a failure, its evidence and its reading.
Disks, discs and keys stay here, and so does every file in which a secret of the build is found.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from pipeline.answers.credentials import traces
from pipeline.answers.passwords import SUFFIXES, decode
from pipeline.cli.building import build_and_listen
from pipeline.cli.diagnose import page
from pipeline.cli.doctor import examine
from pipeline.definitions.loader import load
from pipeline.foundation.files import replacing
from pipeline.foundation.paths import Workspace
from pipeline.stages.build import Build
from pipeline.stages.reading import read_evidence

TOLD = {".json", ".xml", ".html", ".txt", ".log", ".png", ".ppm"}
LARGEST = 16 << 20
PRIVATE_KEY = b"PRIVATE KEY-----"
VALUE = re.compile(rb"<Value>([A-Za-z0-9+/=]+)</Value>")


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden trial``."""
    parser.add_argument("image", help="the image to build")
    parser.add_argument("--report", type=Path, help="the file to write [output/trial-IMAGE.tar.gz]")
    parser.add_argument(
        "--no-build", action="store_true", help="report how the last build went, without building"
    )


def run(args: argparse.Namespace) -> int:
    """Build, then write the report, whatever came of it; 1 when the (last) build has failed."""
    workspace = Workspace.default()
    Build.of(args.image, load(workspace), workspace)  # says which images there are
    if args.no_build:
        built, said, failed = _earlier(workspace, args.image)
    else:
        before = _failures(workspace, args.image)
        built, said = build_and_listen(workspace, args.image)
        failed = [folder for folder in _failures(workspace, args.image) if folder not in before]
    report: Path = args.report or workspace.output / f"trial-{args.image}.tar.gz"
    result = {"image": args.image, "built": built, "said": said, "earlier": args.no_build}
    told = {"result.json": _json(result)}
    write(report.absolute(), told | contents(workspace, args.image, failed))
    if args.no_build:
        print(said)
    print(f"the report, without any secret, to send back: {report.absolute()}")
    return int(not built)


def _earlier(workspace: Workspace, image: str) -> tuple[bool, str, list[Path]]:
    """How the last build went: whether it made a version, in words, and a failure since then."""
    found = [*_failures(workspace, image), *_newest(workspace.published / image)]
    if not found:
        return False, f"nothing was built now, and no build of {image} has come to an end here", []
    last = max(found, key=lambda path: path.stat().st_mtime)
    if last.parent == workspace.published / image:
        return True, f"nothing was built now; the last build of {image} made {last.name}", []
    return False, f"nothing was built now; the last build of {image} failed: {last.name}", [last]


def contents(workspace: Workspace, image: str, failed: list[Path]) -> dict[str, bytes]:
    """The files of the report, by their name in it; ``failed`` are folders of evidence."""
    files = {"host.json": _json([asdict(line) for line in examine(workspace)])}
    for folder in failed:
        reading = "\n".join(page(read_evidence(folder))) + "\n"
        files[f"failures/{folder.name}/reading.txt"] = reading.encode()
        files |= _told(folder, f"failures/{folder.name}")
    files |= _told(workspace.build(image), "build")
    for version in _newest(workspace.published / image):
        files |= _told(version, f"version/{version.name}")
    secrets = _secrets(workspace, image)
    held_back = [name for name, data in files.items() if any(word in data for word in secrets)]
    for name in held_back:
        del files[name]
    return files | {"held-back.json": _json(held_back)}


def write(report: Path, files: Mapping[str, bytes]) -> None:
    """The report, by one rename."""
    with replacing(report) as new, tarfile.open(new, "w:gz") as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def _failures(workspace: Workspace, image: str) -> list[Path]:
    folder = workspace.failures(image)
    found = (path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ()
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _newest(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ()
    return sorted(found, key=lambda path: path.stat().st_mtime)[-1:]


def _told(folder: Path, name: str) -> dict[str, bytes]:
    return {f"{name}/{path.relative_to(folder)}": path.read_bytes() for path in _small(folder)}


def _small(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in TOLD and path.is_file() and path.stat().st_size <= LARGEST:
            yield path


def _secrets(workspace: Workspace, image: str) -> list[bytes]:
    """What must not travel: any private key, and this build's passwords in whatever form."""
    from pipeline.answers.disc import read_disc

    disc = workspace.stage(image, "cidata") / "cidata.iso"
    answers = read_disc(disc).get("autounattend.xml", b"") if disc.exists() else b""
    passwords = {password for value in VALUE.findall(answers) for password in _decoded(value)}
    return [PRIVATE_KEY, *(trace for password in passwords for trace in traces(password))]


def _decoded(value: bytes) -> Iterator[str]:
    for suffix in SUFFIXES:
        with contextlib.suppress(ValueError):
            yield decode(value.decode(), suffix)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
