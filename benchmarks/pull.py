"""pull against ``curl | tee | sha256sum``: the same server, the same disk, side by side.

Goes in: ``--size`` and ``--rounds``. Comes out: one line with the best time of each, their ratio,
and what a pull costs when the version is there. pull also reads and verifies the catalog, the
signed list and the manifest, and brings the disk to stable storage: so the pipeline ends with
``sync FILE``; shown without it as well. The pull is timed within a running process; what starting
``golden`` costs is in the last number.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline.definitions.model import Settings
from pipeline.foundation import process
from pipeline.foundation.files import sha256_file, write_json
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Size
from pipeline.foundation.waiting import wait_until
from pipeline.publishing import catalog, signature
from pipeline.publishing.pull import Options, Wanted, pull
from pipeline.publishing.stores.opening import open_store
from pipeline.publishing.trust import Anchors, Trust

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = 'curl -sSf "$1" | tee "$2" | sha256sum'
VERSION = "1.0-20260101.1"


class Sender(BaseHTTPRequestHandler):
    """Sends files with sendfile, so that the server is not what is measured."""

    protocol_version = "HTTP/1.1"
    root: Path

    def do_GET(self) -> None:
        """A file, whole."""
        file = self.root / self.path.lstrip("/")
        with file.open("rb") as stream:
            self.send_response(200)
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            self.wfile.flush()
            self.connection.sendfile(stream)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def serve(root: Path, told: Path) -> None:
    """Serve ``root`` until killed; the port is written to ``told``."""
    Sender.root = root
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sender)
    told.with_suffix(".new").write_text(str(server.server_port))
    told.with_suffix(".new").rename(told)
    server.serve_forever()


def publish(workspace: Workspace, size: int) -> str:
    """A version with a disk of zeros, listed and signed; returns the key's fingerprint."""
    folder = workspace.published / "bench" / VERSION
    folder.mkdir(parents=True)
    with (folder / "disk.qcow2").open("wb") as stream:
        stream.truncate(size)
    digest = sha256_file(folder / "disk.qcow2")
    disk = {"file": "disk.qcow2", "size": size, "sha256": digest}
    write_json(folder / "manifest.json", {"image": "bench", "version": VERSION, "disk": disk})
    names = ("disk.qcow2", "manifest.json")
    lines = [f"{sha256_file(folder / name)}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))
    key = signature.ensure_key(workspace, Settings())
    signature.sign(folder / "SHA256SUMS", key)
    entry = catalog.Entry(
        "bench", VERSION, "id", "disk.qcow2", size, digest, "2026-01-01T00:00:00Z", None,
        rehearsal=True,
    )  # fmt: skip
    catalog.add(workspace.catalog, entry, lambda file: signature.sign(file, key))
    return signature.fingerprint(signature.public_key(key))


def timed(action: Callable[[], object]) -> float:
    """Seconds that the action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def measure(folder: Path, url: str, size: int, fingerprint: str, rounds: int) -> str:
    """Run all in turn, ``rounds`` times; the line with the result."""
    copy = folder / "copy"
    workspace = Workspace(ROOT, folder / "consumer", folder / "cache")
    anchors = Anchors(fingerprints=(fingerprint,))

    def piped(script: str) -> float:
        copy.unlink(missing_ok=True)
        words = ["bash", "-c", script, "bash", f"{url}/bench/{VERSION}/disk.qcow2", str(copy)]
        return timed(lambda: process.run(words, deadline=3600))

    def once() -> None:
        with open_store(url, folder, print) as store:
            trust = Trust(url, workspace, anchors)
            pull(store, Wanted("bench"), workspace, trust, Silent(), Options())

    def pulled() -> float:
        shutil.rmtree(workspace.cache, ignore_errors=True)
        return timed(once)

    once()  # libraries loaded, the file in the page cache
    results = [
        (pulled(), piped(f'{PIPELINE} && sync "$2"'), piped(PIPELINE)) for _ in range(rounds)
    ]
    ours, durable, plain = (min(column) for column in zip(*results, strict=True))
    again = min(timed(once) for _ in range(10))
    env = {"GOLDEN_CACHE": str(workspace.cache), "GOLDEN_OUTPUT": str(workspace.output)}
    words = [sys.executable, "-m", "pipeline.cli.main", "pull", "bench", "--from", url]
    command = min(
        timed(lambda: process.run(words, deadline=60, env=env, cwd=ROOT)) for _ in range(3)
    )
    return (
        f"pull {Size(size)}: {ours:.2f} s; curl | tee | sha256sum, synced: {durable:.2f} s; "
        f"ratio {ours / durable:.2f} (unsynced {plain:.2f} s, ratio {ours / plain:.2f}); "
        f"already there: {again * 1000:.0f} ms, as a command {command * 1000:.0f} ms"
    )


async def main(size: int, rounds: int, where: Path | None) -> None:
    """Publish, start the server, measure, clean up."""
    with tempfile.TemporaryDirectory(dir=where) as name:
        folder = Path(name)
        published = Workspace(ROOT, folder / "publisher", folder / "nothing")
        fingerprint = publish(published, size)
        told = folder / "port"
        with (folder / "server.log").open("wb") as log:
            command = [sys.executable, __file__, "--serve", str(published.published), str(told)]
            server = await process.spawn(command, log=log, cwd=ROOT)
            try:
                port = wait_until(
                    "the server's port", lambda: told.exists() and told.read_text(), 10
                )
                url = f"http://127.0.0.1:{port}"
                print(measure(folder, url, size, fingerprint, rounds))
            finally:
                await process.stop(server)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=Size.parse, default=Size.parse("512M"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--where", type=Path, help="a folder on the disk to be measured")
    parser.add_argument("--serve", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
    else:
        asyncio.run(main(options.size, options.rounds, options.where))
