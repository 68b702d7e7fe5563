"""Reading the editions of a Windows medium in place, against extracting install.wim with 7-Zip.

Goes in: ``--size`` of install.wim and ``--rounds``. Comes out: one line with the best time of each
and the ratio. A WIM keeps its XML behind the files, and what lists a WIM wants a file: so the usual
way is to extract ``sources/install.wim`` and ask ``wimlib-imagex info``. Shown too: extracting to
``/dev/null`` alone, the least that any program can need that reads the whole. The image is in the
page cache for all. Ours is a fresh Python process; its reading alone is shown as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.foundation.paths import ROOT
from pipeline.foundation.process import run
from pipeline.foundation.units import Size
from pipeline.inputs.media import read_medium

USUAL = '7z e -y -o"$2" "$1" sources/install.wim && wimlib-imagex info "$2/install.wim"'
LEAST = '7z e -so "$1" sources/install.wim > /dev/null'
OURS = "import sys; from pathlib import Path; from pipeline.inputs.media import *;"
OURS += "print(describe(read_medium(Path(sys.argv[1]))))"
NAME = "Windows Server 2025 SERVERSTANDARD"


def make_medium(folder: Path, size: int) -> Path:
    """A medium laid out like Microsoft's: UDF alone, 900 files, an uncompressed install.wim."""
    sources = folder / "medium" / "sources"
    tree = folder / "tree"
    for new in (sources, tree):
        new.mkdir(parents=True)
    for number in range(900):
        (sources / f"{number}.dll").write_bytes(b"MZ")
    with (tree / "large").open("wb") as stream:
        stream.truncate(size)
    wim, iso = sources / "install.wim", folder / "medium.iso"
    build = "--image-property=WINDOWS/VERSION/BUILD=26100"
    run(["wimcapture", tree, wim, NAME, "--compress=none", build], deadline=1800)
    layout = ["-quiet", "-udf", "-iso-level", "3", "-allow-limited-size", "-hide", "*"]
    run(["genisoimage", *layout, "-V", "BENCH", "-o", iso, folder / "medium"], deadline=1800)
    return iso


def best(rounds: int, action: Callable[[], object]) -> float:
    """The shortest of ``rounds`` times, in seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times)


def measure(iso: Path, rounds: int) -> str:
    """The line with the result."""
    environment = {"PYTHONPATH": str(ROOT)}
    process = [sys.executable, "-c", OURS, str(iso)]

    def shell(script: str) -> float:
        argv = ["sh", "-c", script, "sh", str(iso), str(iso.parent / "extracted")]
        return best(rounds, lambda: run(argv, deadline=3600))

    ours = best(rounds, lambda: run(process, deadline=60, env=environment))
    alone = best(rounds, lambda: read_medium(iso))
    usual, least = shell(USUAL), shell(LEAST)
    return (
        f"editions: {ours:.3f} s ({alone * 1000:.0f} ms without Python's start)"
        f" against {usual:.2f} s of 7z and wimlib-imagex: ratio {usual / ours:.0f}"
        f" ({usual / alone:.0f}); 7z to /dev/null takes {least:.2f} s"
    )


def main() -> None:
    """The one command: ``python -m benchmarks.editions``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=Size.parse, default=Size(2 << 30), help="of install.wim")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="golden-editions-") as folder:
        iso = make_medium(Path(folder), arguments.size)
        print(measure(iso, arguments.rounds))


if __name__ == "__main__":
    main()
