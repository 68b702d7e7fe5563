"""Discs for guests: what is put on is read back, the same bytes whenever and wherever."""

from __future__ import annotations

import hashlib
import stat
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.answers.disc import DEEPEST, check_names, read_disc, write_disc
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT
from pipeline.foundation.process import run
from pipeline.inputs.iso import open_iso

FILES = {
    "autounattend.xml": b"<unattend/>",
    "$WinPEDriver$/viostor/viostor.inf": b"[Version]",
    "golden/agent.ps1": b"",
    "golden/payload/OpenSSH-Win64-v10.0.0.0.msi": b"one",
    "golden/payload/OpenSSH-Win64-v10.0.0.1.msi": b"two",
    "provision.system/00000001": b"no extension",
    "golden/" + "n" * 60 + ".txt": b"64 characters",
    "Übung/größe.txt": b"umlauts",
}


def test_what_is_put_on_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "cidata.iso"
    digest = write_disc(path, "GOLDEN", FILES)
    assert read_disc(path) == FILES
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    with open_iso(path) as iso:
        assert iso.label == "GOLDEN"
        assert iso.view == "joliet_path"


def test_files_come_from_memory_or_from_this_host(tmp_path: Path) -> None:
    payload = tmp_path / "a.msi"
    payload.write_bytes(b"x" * 5000)
    both = [write_disc(tmp_path / "1.iso", "A", {"a": payload})]
    both.append(write_disc(tmp_path / "2.iso", "A", {"a": b"x" * 5000}))
    assert both[0] == both[1]


def test_a_payload_that_is_not_there_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"gone\.msi: no such file, wanted .* as a/b\.msi"):
        write_disc(tmp_path / "x.iso", "A", {"a/b.msi": tmp_path / "gone.msi"})
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_old_disc(tmp_path: Path) -> None:
    path = tmp_path / "x.iso"
    write_disc(path, "A", {"a": b"old"})
    with pytest.raises(PipelineError):
        write_disc(path, "A", {"a": tmp_path / "gone"})
    assert read_disc(path) == {"a": b"old"}


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o644)])
def test_private_discs_are_for_their_owner_alone(tmp_path: Path, private: bool, mode: int) -> None:
    write_disc(tmp_path / "x.iso", "A", FILES, private=private)
    assert stat.S_IMODE((tmp_path / "x.iso").stat().st_mode) == mode


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    backwards = dict(reversed(FILES.items()))
    assert write_disc(tmp_path / "1.iso", "A", FILES) == write_disc(
        tmp_path / "2.iso", "A", backwards
    )


PROGRAM = """
import sys, time
real = time.time
time.time = lambda: real() + float(sys.argv[2])
from pathlib import Path
from pipeline.answers.disc import write_disc
print(write_disc(Path(sys.argv[1]), "GOLDEN", {"$WinPEDriver$/a.inf": b"a", "b/c.txt": b"c"}))
"""


@pytest.mark.parametrize(
    ("zone", "later"), [("Asia/Kathmandu", 0), ("XXX+11:30", 86_400 * 400), ("UTC", 12_345)]
)
def test_the_same_bytes_at_any_time_in_any_zone(tmp_path: Path, zone: str, later: int) -> None:
    path = tmp_path / "x.iso"
    argv = [sys.executable, "-c", PROGRAM, str(path), str(later)]
    env = {"TZ": zone, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(later)}
    elsewhere = run(argv, deadline=60, env=env).output.strip()
    here = write_disc(
        tmp_path / "here.iso", "GOLDEN", {"$WinPEDriver$/a.inf": b"a", "b/c.txt": b"c"}
    )
    assert elsewhere == here


def test_time_goes_on_after_a_disc_is_written(tmp_path: Path) -> None:
    from pycdlib import headervd

    write_disc(tmp_path / "x.iso", "A", {"a": b""})
    assert headervd.time is time  # type: ignore[attr-defined]


@pytest.mark.parametrize("label", ["GOLDEN", "autounattend", "cidata", "a-b_9", "A" * 16])
def test_labels(tmp_path: Path, label: str) -> None:
    write_disc(tmp_path / "x.iso", label, {"a": b""})
    with open_iso(tmp_path / "x.iso") as iso:
        assert iso.label == label


@pytest.mark.parametrize("label", ["", "A" * 17, "with space", "ümlaut", "a\n"])
def test_labels_that_windows_would_not_show(tmp_path: Path, label: str) -> None:
    with pytest.raises(PipelineError, match=r"x\.iso: label .*: expected 1 to 16"):
        write_disc(tmp_path / "x.iso", label, {"a": b""})


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["n" * 65], "is 65 bytes long in UTF-8, at most 64"),
        (["ü" * 33], "is 66 bytes long in UTF-8, at most 64"),
        (["A.txt", "a.TXT"], "'a.TXT' and 'A.txt' differ in case only"),
        (["A/x", "a/y"], "the folders 'a' and 'A' differ in case only"),
        (["a", "A/b"], "'A/b': 'a' is a file already"),
        (["a/b", "a/b/c"], "'a/b/c': 'a/b' is a file already"),
        (["/a"], "a path is names joined by /"),
        (["a//b"], "a path is names joined by /"),
        (["../a"], "a path is names joined by /"),
        ([""], "a path is names joined by /"),
        (["a\\b"], "Windows allows no"),
        (["a:b"], "Windows allows no"),
        (["a?"], "Windows allows no"),
        (["a\n"], "Windows allows no"),
        (["a."], "no final dot"),
        (["a/b "], "no final dot"),
        (["golden/AUX.txt"], "AUX.txt is the name of a device on Windows"),
        (["\U0001f600"], "no characters beyond U+FFFF"),
        (["\udcff"], "no characters beyond U+FFFF"),
        (["/".join("abcdefgh")], f"8 levels deep, at most {DEEPEST}"),
    ],
)
def test_names_that_a_disc_cannot_carry(names: list[str], problem: str) -> None:
    with pytest.raises(PipelineError) as caught:
        check_names("x.iso", dict.fromkeys(names, b""))
    assert problem in caught.value.message


def test_all_wrong_names_are_told_at_once() -> None:
    with pytest.raises(PipelineError) as caught:
        check_names("x.iso", {"a:": b"", "b:": b"", "c": b""})
    assert len(caught.value.message.splitlines()) == 3


NAME = st.text(st.sampled_from("abcXYZ09_-$ .()+üßЖ中~'"), min_size=1, max_size=21).filter(
    lambda name: name[-1] not in ". " and name[0] != " " and len(name.encode()) <= 64
)
PATH = st.lists(NAME, min_size=1, max_size=DEEPEST).map("/".join)


def legal(files: dict[str, bytes]) -> bool:
    try:
        check_names("x.iso", files)
    except PipelineError:
        return False
    return True


@given(st.dictionaries(PATH, st.binary(max_size=5000), min_size=1, max_size=12).filter(legal))
@settings(max_examples=60, deadline=None)
def test_any_legal_names_survive(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.iso"
    write_disc(path, "ANY", files)
    assert read_disc(path) == files
    path.unlink()


def test_many_files_with_one_short_name(tmp_path: Path) -> None:
    files = {f"folder/same-beginning-{number}.txt": b"%d" % number for number in range(300)}
    write_disc(tmp_path / "x.iso", "A", files)
    assert read_disc(tmp_path / "x.iso") == files
