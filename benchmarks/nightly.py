"""What a night costs in which nothing has changed, on a fresh runner.

    python benchmarks/nightly.py [--recorded] [IMAGE]

A runner without any state of its own, and a store on loopback that has a version made from exactly
these inputs: ``golden matrix`` and ``doit build`` are timed, with the requests and bytes that the
store saw. Beside them what is done instead without a catalog: build again, as nobody knows whether
anything has changed. ``--recorded`` takes the seconds of that from the newest version's manifest
instead of building. Prints seconds and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline.definitions.loader import load
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.process import run
from pipeline.publishing import catalog
from pipeline.stages.build import Build
from pipeline.stages.graph import STAGES
from pipeline.stages.plan import decide

GOLDEN: list[str | Path] = [sys.executable, "-m", "pipeline.cli.main"]
DOIT: list[str | Path] = [sys.executable, "-m", "doit", "--dir", ROOT, "--file", ROOT / "dodo.py"]


@dataclass
class Store:
    """A catalog on loopback, and what was asked of it."""

    index: bytes
    requests: int = 0
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def server(self) -> ThreadingHTTPServer:
        """A web server that has nothing but the catalog, and knows what its clients have."""
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                same = self.headers.get("If-None-Match") == '"one"'
                found = self.path.endswith("/index.json")
                body = store.index if found and not same else b""
                with store.lock:
                    store.requests += 1
                    store.sent += len(body)
                self.send_response(304 if same else 200 if found else 404)
                self.send_header("ETag", '"one"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def published(image: str, workspace: Workspace) -> bytes:
    """A catalog that names a version of the image made from what goes in now."""
    build = Build.of(image, load(workspace, {}), workspace)
    goal = decide(build, STAGES)[-1].examined.id
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    version = f"{build.facts.build}-{now[:10].replace('-', '')}.1"
    made = catalog.Entry(
        image, version, goal, "disk.qcow2", 1 << 30, "0" * 64, now, None, build.image.rehearsal
    )
    return catalog.Catalog().having(made).data()


def timed(words: list[str | Path], env: dict[str, str], deadline: float = 120) -> float:
    """Seconds of one command, start-up included."""
    started = time.monotonic()
    run(words, deadline=deadline, env=env)
    return time.monotonic() - started


def recorded(image: str) -> float:
    """The seconds that the stages of the newest version took."""
    workspace = Workspace.default()
    newest = catalog.load(workspace.catalog).newest(image)
    if newest is None:
        raise PipelineError(f"no version of {image} is here", hint=f"run: ./doitw build:{image}")
    manifest = json.loads((workspace.published / newest.key / "manifest.json").read_bytes())
    return float(sum(manifest["timings"].values()))


def noop(image: str, folder: Path) -> float:
    """Time the night in which nothing changed; prints a line a command."""
    store = Store(published(image, Workspace.default()))
    server = store.server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    env = {
        "GOLDEN_OUTPUT": str(folder / "output"),
        "GOLDEN_CACHE": str(folder / "cache"),
        "GOLDEN_STORES": f"http://127.0.0.1:{server.server_port}/images",
        "GOLDEN_IMAGES": image,
        "PYTHONPATH": str(ROOT),
    }
    commands: dict[str, list[str | Path]] = {
        "golden matrix, fresh runner": [*GOLDEN, "matrix", "--json"],
        "golden matrix, with a kept catalog": [*GOLDEN, "matrix", "--json"],
        "doit build": [*DOIT, "build"],
    }
    seconds = {}
    for name, words in commands.items():
        store.requests = store.sent = 0
        seconds[name] = timed(words, env)
        told = f"{store.requests} request, {store.sent} bytes"
        print(f"{name:<36} {seconds[name]:8.2f} s   {told}")
    server.shutdown()
    server.server_close()
    left = [p for p in (folder / "output").rglob("*") if p.name in ("disk.qcow2", "receipt.json")]
    print(f"{'stages run, artifacts downloaded':<36} {len(left):8d}")
    return seconds["golden matrix, fresh runner"] + seconds["doit build"]


def blind(image: str, folder: Path) -> float:
    """Build again without asking anybody."""
    env = {
        "GOLDEN_OUTPUT": str(folder / "blind"),
        "GOLDEN_CACHE": str(Workspace.default().cache),
        "GOLDEN_STORES": "none",
        "PYTHONPATH": str(ROOT),
    } | {k: os.environ[k] for k in ("GOLDEN_ACCEPT_EULA", "GOLDEN_ACCEL") if k in os.environ}
    return timed([*DOIT, f"build:{image}"], env, deadline=6 * 3600)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="a night in which nothing has changed")
    parser.add_argument("--recorded", action="store_true", help="do not build, read the manifest")
    parser.add_argument("image", nargs="?", default="rehearsal")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="golden-benchmark-") as name:
        night = noop(args.image, Path(name))
        instead = recorded(args.image) if args.recorded else blind(args.image, Path(name))
    how = "recorded" if args.recorded else "measured now"
    print(f"{f'blind rebuild of {args.image} ({how})':<36} {instead:8.1f} s")
    print(f"ratio blind rebuild : night with nothing new = {instead / night:.0f} : 1")
    return 0


if __name__ == "__main__":
    sys.exit(main())
