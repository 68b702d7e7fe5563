"""fetch against ``curl | tee | sha256sum``: the same server, the same bytes, side by side.

Goes in: ``--size`` and ``--rounds``. Comes out: one line with the best time of each, their ratio,
and what a second run costs. fetch brings its file to the disk before it calls it verified; so that
the ratio compares like with like, the pipeline ends with ``sync FILE``; shown without it as well.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from pipeline.definitions.model import Kind, Pin
from pipeline.foundation import process
from pipeline.foundation.files import sha256_file
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Sha256, Size
from pipeline.foundation.waiting import wait_until
from pipeline.inputs.fetch import fetch

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = 'curl -sSf "$1" | tee "$2" | sha256sum'


class Sender(BaseHTTPRequestHandler):
    """Sends one file with sendfile, so that the server is not what is measured."""

    protocol_version = "HTTP/1.1"
    file: Path

    def do_GET(self) -> None:
        """The file, whole."""
        with self.file.open("rb") as stream:
            self.send_response(200)
            self.send_header("Content-Length", str(self.file.stat().st_size))
            self.end_headers()
            self.wfile.flush()
            self.connection.sendfile(stream)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def serve(file: Path, told: Path) -> None:
    """Serve ``file`` until killed; the port is written to ``told``."""
    Sender.file = file
    server = HTTPServer(("127.0.0.1", 0), Sender)
    told.with_suffix(".new").write_text(str(server.server_port))
    told.with_suffix(".new").rename(told)
    server.serve_forever()


def timed(action: Callable[[], object]) -> float:
    """Seconds that the action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def measure(folder: Path, url: str, digest: str, size: int, rounds: int) -> str:
    """Run all three in turn, ``rounds`` times; the line with the result."""
    pin = Pin("bench", "1", Kind.FILE, (url,), sha256=Sha256(digest), size=size)
    copy, cache = folder / "copy", folder / "cache"
    workspace = Workspace(ROOT, folder / "output", cache)

    def piped(script: str) -> float:
        copy.unlink(missing_ok=True)
        return timed(
            lambda: process.run(["bash", "-c", script, "bash", url, str(copy)], deadline=3600)
        )

    def fetched() -> float:
        shutil.rmtree(cache, ignore_errors=True)
        return timed(lambda: fetch(pin, workspace, Silent()))

    fetch(pin, workspace, Silent())  # libraries loaded, the file in the page cache
    results = [
        (fetched(), piped(f'{PIPELINE} && sync "$2"'), piped(PIPELINE)) for _ in range(rounds)
    ]
    ours, durable, plain = (min(column) for column in zip(*results, strict=True))
    again = min(timed(lambda: fetch(pin, workspace, Silent())) for _ in range(20))
    return (
        f"fetch {Size(size)}: {ours:.2f} s; curl | tee | sha256sum, synced: {durable:.2f} s; "
        f"ratio {ours / durable:.2f} (unsynced {plain:.2f} s, ratio {ours / plain:.2f}); "
        f"fetched again: {again * 1000:.2f} ms"
    )


async def main(size: int, rounds: int, where: Path | None) -> None:
    """Start the server, measure, clean up."""
    with tempfile.TemporaryDirectory(dir=where) as name:
        folder = Path(name)
        source, told = folder / "source", folder / "port"
        with source.open("wb") as stream:
            stream.truncate(size)
        with (folder / "server.log").open("wb") as log:
            command = [sys.executable, __file__, "--serve", str(source), str(told)]
            server = await process.spawn(command, log=log, cwd=ROOT)
            try:
                port = wait_until(
                    "the server's port", lambda: told.exists() and told.read_text(), 10
                )
                url = f"http://127.0.0.1:{port}/source"
                print(measure(folder, url, sha256_file(source), size, rounds))
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
