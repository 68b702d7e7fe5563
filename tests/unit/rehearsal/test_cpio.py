"""The archive for the kernel: read back by a reader of the test's own."""

from __future__ import annotations

import stat

from hypothesis import given
from hypothesis import strategies as st

from pipeline.rehearsal import cpio
from pipeline.rehearsal.cpio import Entry


def unpack(data: bytes) -> list[tuple[str, int, bytes, tuple[int, int]]]:
    """Name, mode, content and device of every member."""
    found: list[tuple[str, int, bytes, tuple[int, int]]] = []
    position = 0
    while True:
        assert data[position : position + 6] == b"070701"
        raw = data[position + 6 : position + 110]
        fields = [int(raw[n : n + 8], 16) for n in range(0, 104, 8)]
        name = data[position + 110 : position + 110 + fields[11] - 1].decode()
        start = (position + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        content = data[start : start + fields[6]]
        found.append((name, fields[1], content, (fields[9], fields[10])))
        position = (start + fields[6] + 3) // 4 * 4


@given(st.lists(st.tuples(st.text("abc/é", min_size=1), st.binary(max_size=9)), max_size=6))
def test_what_goes_in_comes_out(members: list[tuple[str, bytes]]) -> None:
    data = cpio.archive(cpio.file(name, content) for name, content in members)
    assert [(m[0], m[2]) for m in unpack(data)] == members
    assert len(data) % 4 == 0


def test_kinds_of_members() -> None:
    entries = [
        cpio.folder("dev"),
        cpio.character_device("dev/console", 5, 1),
        cpio.link("bin", "usr/bin"),
        cpio.file("init", b"#!", executable=True),
    ]
    found = unpack(cpio.archive(entries))
    kinds = (stat.S_ISDIR, stat.S_ISCHR, stat.S_ISLNK, stat.S_ISREG)
    assert all(kind(member[1]) for kind, member in zip(kinds, found, strict=True))
    assert found[1][3] == (5, 1)
    assert found[2][2] == b"usr/bin"
    assert stat.S_IMODE(found[3][1]) == 0o755


def test_same_entries_same_bytes() -> None:
    entries = [cpio.folder("a"), Entry("a/b", stat.S_IFREG | 0o644, b"x")]
    assert cpio.archive(entries) == cpio.archive(list(entries))
