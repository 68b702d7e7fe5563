"""Archives of layers: there and back, and nothing else."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.publishing.archive import BLOCK, ArchiveRefused, Member, pack, unpack


def member(path: Path) -> Member:
    data = path.read_bytes()
    return Member(path.name, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, list[Member], Path]:
    """A folder with two files, what is expected of them, and their archive."""
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "disk.qcow2").write_bytes(b"head" + bytes(3 << 20) + b"tail" + bytes(1 << 20))
    (folder / "build-key").write_bytes(b"secret")
    (folder / "build-key").chmod(0o600)
    members = [member(folder / name) for name in ("disk.qcow2", "build-key")]
    archive = tmp_path / "layer.tar.zst"
    pack(folder, members, archive)
    return folder, members, archive


def test_there_and_back(made: tuple[Path, list[Member], Path], tmp_path: Path) -> None:
    folder, members, archive = made
    back = tmp_path / "back"
    back.mkdir()
    unpack(archive, members, back)
    for name in ("disk.qcow2", "build-key"):
        assert (back / name).read_bytes() == (folder / name).read_bytes()
        assert (back / name).stat().st_mode == (folder / name).stat().st_mode
    assert (back / "disk.qcow2").stat().st_blocks * 512 < (3 << 20)
    assert archive.stat().st_size < 4096


def test_equal_files_make_equal_archives(made: tuple[Path, list[Member], Path]) -> None:
    folder, members, archive = made
    again = archive.with_name("again")
    (folder / "disk.qcow2").touch()
    pack(folder, members, again)
    assert again.read_bytes() == archive.read_bytes()


def test_what_was_damaged_here_does_not_go_out(made: tuple[Path, list[Member], Path]) -> None:
    folder, members, archive = made
    (folder / "build-key").write_bytes(b"SECRET")
    with pytest.raises(ArchiveRefused, match="build-key has 6 bytes"):
        pack(folder, members, archive.with_name("other"))
    assert not archive.with_name("other").exists()


def forged(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for entry, data in entries:
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    path.write_bytes(zstandard.compress(stream.getvalue()))
    return path


def link(name: str, kind: bytes, to: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, to
    return entry


EXPECTED = [Member("a", 4, hashlib.sha256(b"good").hexdigest())]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([(tarfile.TarInfo("a"), b"evil")], "a has 4 bytes and SHA-256"),
        ([(tarfile.TarInfo("a"), b"good plus")], "differs"),
        ([(tarfile.TarInfo("../a"), b"good")], "differs"),
        ([(tarfile.TarInfo("/tmp/a"), b"good")], "differs"),
        ([(tarfile.TarInfo("a"), b"good"), (tarfile.TarInfo("b"), b"more")], "differs"),
        ([(tarfile.TarInfo("a"), b"good"), (tarfile.TarInfo("a"), b"good")], "differs"),
        ([(link("a", tarfile.SYMTYPE, "/etc/passwd"), b"")], "differs"),
        ([(link("a", tarfile.LNKTYPE, "/etc/passwd"), b"")], "differs"),
        ([(link("a", tarfile.CHRTYPE, ""), b"")], "differs"),
        ([], "lacks a"),
    ],
)
def test_a_forged_archive_is_refused(
    tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], said: str
) -> None:
    folder = tmp_path / "out" / "inner"
    folder.mkdir(parents=True)
    with pytest.raises(ArchiveRefused, match=said):
        unpack(forged(tmp_path / "x", *entries), EXPECTED, folder)
    outside = {p.name for p in tmp_path.rglob("*")} - {"out", "inner", "x", "a"}
    assert outside == set()


def header(kind: bytes = tarfile.REGTYPE, size: int = 4, name: str = "a") -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)[:BLOCK]


def pax(**records: str) -> bytes:
    """An extended header, as another program would write it."""
    entry = tarfile.TarInfo("a")
    entry.size, entry.pax_headers = 4, dict(records)
    return entry.tobuf(tarfile.PAX_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


GOOD = header() + padded(b"good")
END = bytes(2 * BLOCK)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (pax(comment="x") + padded(b"good") + END, "differs"),
        (pax(**{"GNU.sparse.map": "no,numbers", "GNU.sparse.size": "4"}) + END, "differs"),
        (pax(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}) + END, "differs"),
        (header(tarfile.GNUTYPE_LONGNAME, 1 << 40) + END, "differs"),
        (header(tarfile.GNUTYPE_SPARSE) + END, "differs"),
        (header(tarfile.XGLTYPE, 1 << 40) + END, "differs"),
        (header(size=-1) + END, "differs"),
        (header(size=1 << 80) + END, "differs"),
        (b"x" * BLOCK, "damaged: (invalid header|bad checksum)"),
        (GOOD, "damaged: it ends too early"),
        (GOOD[:-1], "damaged: it ends too early"),
        (header() + b"go", "damaged: it ends too early"),
        (b"", "damaged: it ends too early"),
        (GOOD + GOOD + END, "differs"),
    ],
)
def test_a_malformed_archive_is_refused_and_nothing_else_happens(
    tmp_path: Path, written: bytes, said: str
) -> None:
    (tmp_path / "x").write_bytes(zstandard.compress(written))
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveRefused, match=said):
        unpack(tmp_path / "x", EXPECTED, tmp_path / "out")


def test_what_another_program_packed_plainly_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(zstandard.compress(GOOD + END))
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "x", EXPECTED, tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == b"good"


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_claims_much_takes_no_memory(tmp_path: Path, kind: bytes) -> None:
    """Kilobytes on the disk, of which a reader of extended headers makes megabytes of memory."""
    claimed = 64 << 20
    (tmp_path / "x").write_bytes(zstandard.compress(header(kind, claimed) + bytes(claimed)))
    assert (tmp_path / "x").stat().st_size < 16 << 10
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveRefused, match="differs"):
            unpack(tmp_path / "x", EXPECTED, tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_size_of_any_disk_fits_into_a_plain_header() -> None:
    entry = tarfile.TarInfo("disk.qcow2")
    entry.size = 100 << 30
    written = entry.tobuf(tarfile.GNU_FORMAT)
    assert len(written) == BLOCK
    assert tarfile.TarInfo.frombuf(written, "utf-8", "strict").size == 100 << 30


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 200), flip=st.integers(0, 10_000))
def test_a_truncated_or_altered_archive_never_passes_for_another(
    made: tuple[Path, list[Member], Path],
    tmp_path_factory: pytest.TempPathFactory,
    cut: int,
    flip: int,
) -> None:
    """Either it is refused, or every file is as expected (a bit that carries nothing was hit)."""
    folder, members, archive = made
    data = bytearray(archive.read_bytes())
    data[flip % len(data)] ^= 0x10
    bad, back = archive.with_name("bad"), tmp_path_factory.mktemp("back")
    bad.write_bytes(data[: len(data) - cut])
    try:
        unpack(bad, members, back)
    except ArchiveRefused:
        return
    for wanted in members:
        assert (back / wanted.path).read_bytes() == (folder / wanted.path).read_bytes()
