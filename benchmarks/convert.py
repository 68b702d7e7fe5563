"""Publishing's flags against ``qemu-img convert -c``: time and size, on data like Windows' own.

Goes in: ``--size`` and ``--rounds``. Comes out: one line for each set of flags, as ratios to the
plain command in the same run: time to convert, size, and time to read here and there, as a machine
does that boots from an overlay (each small read unpacks a whole cluster). The data are the DLLs and
programs of Debian's ``libwine`` (portable executables, as in ``C:\\Windows``), fetched with
apt-get, not installed, and laid out as a filesystem does it: every file begins at a block of 4 KiB,
and a part of the disk is empty.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.foundation.process import run
from pipeline.foundation.units import Size, human_bytes
from pipeline.machine.image import check
from pipeline.publishing.version import CONVERT_OPTIONS

PACKAGE = "libwine"
BLOCK = 4096
EMPTY = 4  # one part in so many of the disk was never written
DEADLINE = 3600.0
READS, READ, STRIDE = "2000", "4096", "10522624"  # small reads, each in another place
Words = Sequence[str | Path]
PLAIN = ("-c",)
PARALLEL = ("-c", "-W", "-m", "16")


def zstd(cluster: str) -> tuple[str, ...]:
    """All cores, zstd, clusters of this size."""
    return (*PARALLEL, "-o", f"compression_type=zstd,cluster_size={cluster}")


SETS: tuple[tuple[str, ...], ...] = (
    PLAIN,
    PARALLEL,
    ("-c", "-o", "compression_type=zstd"),
    *(zstd(cluster) for cluster in ("64K", "128K", "256K", "512K", "1M", "2M")),
)


def data(folder: Path, size: int) -> Path:
    """A raw disk of ``size`` bytes with Wine's files in it."""
    package = folder / "package"
    package.mkdir()
    run(["apt-get", "download", PACKAGE], deadline=DEADLINE, cwd=package)
    (deb,) = package.glob("*.deb")
    run(["dpkg-deb", "-x", deb, folder / "files"], deadline=DEADLINE)
    files = (p for p in sorted((folder / "files").rglob("*")) if p.is_file() and not p.is_symlink())
    disk = folder / "disk.raw"
    with disk.open("wb") as stream:
        full = size - size // EMPTY
        for file in files:
            content = file.read_bytes()
            if stream.tell() + len(content) > full:
                break
            stream.write(content)
            stream.write(bytes(-len(content) % BLOCK))
        stream.truncate(size)
    shutil.rmtree(folder / "files")
    return disk


def timed(argv: Words) -> float:
    """Seconds that a program takes."""
    began = time.perf_counter()
    run(argv, deadline=DEADLINE)
    return time.perf_counter() - began


def measure(disk: Path, flags: Sequence[str], rounds: int) -> tuple[float, int, float]:
    """Converting with these flags: the best time, the size, the best time of scattered reads."""
    target = disk.with_name("converted.qcow2")
    convert: Words = ["qemu-img", "convert", *flags, "-f", "raw", "-O", "qcow2", disk, target]
    read: Words = [
        "qemu-img",
        "bench",
        "-f",
        "qcow2",
        "-c",
        READS,
        "-s",
        READ,
        "-S",
        STRIDE,
        target,
    ]
    times = min(timed(convert) for _ in range(rounds))
    check(target)
    return times, target.stat().st_size, min(timed(read) for _ in range(rounds))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every set of flags and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=Size.parse, default=Size.parse("640M"))
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        disk = data(Path(name), options.size)
        print(f"{human_bytes(options.size)}, best of {options.rounds}; ratios to the first line")
        base: tuple[float, int, float] | None = None
        for flags in SETS:
            seconds, size, reading = found = measure(disk, flags, options.rounds)
            base = base or found
            ours = "  <- ours" if flags == CONVERT_OPTIONS else ""
            print(
                f"time {seconds / base[0]:5.2f}  size {size / base[1]:5.3f}  read"
                f" {reading / base[2]:5.2f}  ({seconds:5.1f} s, {human_bytes(size)},"
                f" {reading:5.1f} s)  {' '.join(flags)}{ours}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
