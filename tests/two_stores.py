"""``./doitw stores``: a version goes to nginx and to a registry, comes back from both, and boots.

Goes in: the newest rehearsal that was published here (``./doitw build:rehearsal``). Two stores
appear on loopback for as long as this runs: a folder that nginx serves, and docker-registry.
``golden push`` fills both, ``golden pull`` reads each into a cache that was empty, and what came
from the registry is launched. Comes out: every command with what it said, and exit code 0 when all
of it held.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.definitions.loader import load
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_file
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.publishing import catalog, signature
from tests import services

IMAGE, INSTANCE = "rehearsal", "pulled"


@dataclass(frozen=True)
class Host:
    """A host, by its output and its cache."""

    workspace: Workspace

    @classmethod
    def empty(cls, base: Path) -> Host:
        """One that has nothing yet."""
        return cls(Workspace(ROOT, base / "output", base / "cache"))

    def environment(self) -> Mapping[str, str]:
        """Ours, with the places of this host, and no store but those that are named."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GOLDEN_")}
        places = {"GOLDEN_OUTPUT": self.workspace.output, "GOLDEN_CACHE": self.workspace.cache}
        return (
            kept
            | {name: str(path) for name, path in places.items()}
            | {"GOLDEN_STORES": "none", "PYTHONPATH": str(ROOT)}
        )

    def golden(self, *words: str) -> str:
        """Run ``golden``, shown; what it printed on stdout."""
        print(f"$ golden {shlex.join(words)}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli.main", *words], env=self.environment(), text=True,
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
        )  # fmt: skip
        print(done.stdout, end="", flush=True)
        if done.returncode:
            raise PipelineError(f"golden {words[0]} ended with exit code {done.returncode}")
        return done.stdout.strip()


def digests(folder: Path) -> dict[str, str]:
    """Every file of a version, by its path in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def require(*, held: bool, what: str) -> None:
    """Say that something held, or end."""
    if not held:
        raise PipelineError(f"not so: {what}")
    print(f"ok: {what}", flush=True)


def published(here: Workspace) -> Path:
    """The folder of the newest version."""
    newest = catalog.load(here.catalog).newest(IMAGE)
    if newest is None:
        raise PipelineError(f"no version of {IMAGE} is here", hint=f"run: ./doitw build:{IMAGE}")
    return here.published / newest.key


def there_and_back(folder: Path, here: Workspace) -> None:
    """Publish to both stores, pull from both, launch."""
    original = published(here)
    key = signature.ensure_key(here, load(here).settings)
    trust = signature.fingerprint(signature.public_key(key))
    store, publisher = folder / "a store", Host(here)
    with (
        services.nginx(folder / "nginx", store) as url,
        services.registry(folder / "registry") as address,
    ):
        oci = f"oci://{address}/golden"
        publisher.golden("push", IMAGE, "--to", str(store), "--to", oci)
        for number, place in enumerate((url, oci), 1):
            consumer = Host.empty(folder / f"consumer {number}")
            pulled = Path(consumer.golden("pull", IMAGE, "--from", place, "--trust", trust))
            same = digests(pulled) == digests(original)
            require(held=same, what=f"every file from {place} is the published one")
            again = consumer.golden("pull", f"{IMAGE}@latest", "--from", place)
            require(held=again == str(pulled), what="a second pull brings nothing")
    launched(consumer, pulled)


def launched(consumer: Host, pulled: Path) -> None:
    """Boot what was pulled, with both stores gone; it stays while an instance stands on it."""
    before = digests(pulled)
    try:
        consumer.golden("launch", IMAGE, "--name", INSTANCE)
        name = consumer.golden("ssh", INSTANCE, "--", "hostname")
        require(held=name.lower() == INSTANCE, what="the guest knows its name")
        consumer.golden("gc", "--pulled")
        require(held=digests(pulled) == before, what="what an instance stands on stays as it is")
    finally:
        consumer.golden("rm", INSTANCE, "--yes")
    consumer.golden("gc", "--pulled")
    require(held=not pulled.exists(), what="without the instance it can go")


def main() -> int:
    """Show it; 1 when something did not hold."""
    try:
        with tempfile.TemporaryDirectory(prefix="golden-stores-") as name:
            there_and_back(Path(name), Workspace.default())
    except PipelineError as error:
        print(f"stores: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
