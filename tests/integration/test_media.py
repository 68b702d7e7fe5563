"""Media made and read by other programs: wimlib, genisoimage, 7-Zip, xorriso, isoinfo.

They are independent of this project and of pycdlib: what they make must be read, and what is
written here they must read alike.
"""

from __future__ import annotations

import http.server
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.answers.disc import write_disc
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.process import run
from pipeline.inputs.drivers import read_drivers
from pipeline.inputs.iso import open_iso
from pipeline.inputs.media import find_edition, read_medium
from tests.tools import needs

pytestmark = pytest.mark.integration

LABEL = "SSS_X64FREE_EN-US_DV9"
EDITIONS = {
    "Windows Server 2025 SERVERSTANDARDCORE": "ServerStandardEval",
    "Windows Server 2025 SERVERSTANDARD": "ServerStandardEval",
}
EXTENT = (1 << 30) - 2048  # the longest extent of a file in UDF


def capture(folder: Path, wim: Path) -> Path:
    """A WIM of two images with Microsoft's properties, made by wimlib; 8 MB of noise."""
    tree = folder / "tree"
    tree.mkdir()
    for number in range(8):
        (tree / f"random{number}").write_bytes(os.urandom(1_000_000))
    for index, (name, edition) in enumerate(EDITIONS.items()):
        properties = {
            "DISPLAYNAME": f"{name} (Desktop)",
            "WINDOWS/EDITIONID": edition,
            "WINDOWS/ARCH": "9",
            "WINDOWS/LANGUAGES/LANGUAGE": "en-US",
            "WINDOWS/LANGUAGES/DEFAULT": "en-US",
            "WINDOWS/VERSION/BUILD": "26100",
            "WINDOWS/VERSION/SPBUILD": "32230",
            "WINDOWS/INSTALLATIONTYPE": "Server",
        }
        options = [f"--image-property={key}={value}" for key, value in properties.items()]
        verb = ["wimappend"] if index else ["wimcapture"]
        run([*verb, tree, wim, name, f"{name} described", *options], deadline=60)
    return wim


def windows_iso(folder: Path, source: Path) -> Path:
    """An ISO laid out like Microsoft's: all in UDF, nothing in ISO 9660."""
    iso = folder / "windows server.iso"
    options = ["-quiet", "-udf", "-iso-level", "3", "-allow-limited-size", "-hide", "*"]
    run(["genisoimage", *options, "-V", LABEL, "-o", iso, source], deadline=300)
    return iso


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sources").mkdir(parents=True)
    (folder / "setup.exe").write_bytes(b"MZ")
    return folder


def as_wim(wim: Path, sources: Path) -> None:
    wim.rename(sources / "install.wim")


def as_esd(wim: Path, sources: Path) -> None:
    esd = sources / "install.esd"
    run(["wimlib-imagex", "export", wim, "all", esd, "--solid"], deadline=120)


def as_swm(wim: Path, sources: Path) -> None:
    run(["wimsplit", wim, sources / "install.swm", "3"], deadline=60)
    assert (sources / "install3.swm").exists()


Shape = Callable[[Path, Path], None]


@pytest.mark.parametrize("shape", [as_wim, as_esd, as_swm])
@needs("wimcapture", "wimappend", "wimsplit", "wimlib-imagex", "genisoimage")
def test_media_of_every_shape_are_read(tmp_path: Path, source: Path, shape: Shape) -> None:
    shape(capture(tmp_path, tmp_path / "made.wim"), source / "sources")
    medium = read_medium(windows_iso(tmp_path, source))
    assert medium.kind == "install." + getattr(shape, "__name__", "").removeprefix("as_")
    assert medium.label == LABEL
    assert (medium.build, medium.architecture) == ("26100.32230", "amd64")
    assert medium.languages == ("en-US",)
    assert {image.name: image.edition_id for image in medium.images} == EDITIONS
    edition = find_edition(medium, "Windows Server 2025 SERVERSTANDARD")
    assert (edition.index, edition.installation_type) == (2, "Server")
    assert edition.size == 8_000_000


@needs("wimcapture", "wimappend", "wimsplit", "wimlib-imagex", "genisoimage")
def test_a_split_medium_without_its_last_part_is_refused(tmp_path: Path, source: Path) -> None:
    as_swm(capture(tmp_path, tmp_path / "made.wim"), source / "sources")
    last = max((source / "sources").glob("install?.swm"))
    last.unlink()
    with pytest.raises(PipelineError, match=f"missing: sources/{last.name}"):
        read_medium(windows_iso(tmp_path, source))


@needs("wimcapture", "wimappend", "wimlib-imagex")
def test_wimlib_tells_the_same(tmp_path: Path) -> None:
    from pipeline.inputs.wim import read_wim

    path = capture(tmp_path, tmp_path / "made.wim")
    told = run(["wimlib-imagex", "info", path], deadline=20).output
    with path.open("rb") as stream:
        wim = read_wim(stream)
    assert re.findall(r"^Name: +(.*)$", told, re.MULTILINE) == [image.name for image in wim.images]
    assert f"GUID:           0x{wim.identity.hex()}" in told
    sizes = [int(size) for size in re.findall(r"^Total Bytes: +(\d+)$", told, re.MULTILINE)]
    assert sizes == [image.size for image in wim.images]


def sparse(path: Path, size: int, marks: dict[int, bytes]) -> None:
    """A large file of holes with some bytes at some places."""
    with path.open("wb") as stream:
        stream.truncate(size)
        for position, data in marks.items():
            stream.seek(position)
            stream.write(data)


@needs("genisoimage", "7z")
def test_a_file_is_read_across_extents(tmp_path: Path, source: Path) -> None:
    size = EXTENT + 100_000_000
    end = b"the very end of the file"
    marks = {0: b"start", EXTENT - 4: b"across the border", size - len(end): end}
    sparse(source / "sources" / "install.wim", size, marks)
    image = windows_iso(tmp_path, source)
    with open_iso(image) as iso, iso.open("SOURCES/INSTALL.WIM") as stream:
        assert iso.size("sources/install.wim") == size
        for position, data in marks.items():
            stream.seek(position)
            assert stream.read(len(data)) == data
        stream.seek(EXTENT - 1000)
        assert stream.read(2000)[996:1013] == b"across the border"
    listed = run(["7z", "l", "-slt", image, "sources/install.wim"], deadline=60).output
    assert f"\nSize = {size}\n" in listed


@needs("genisoimage", "7z")
def test_a_medium_cut_short_is_refused(tmp_path: Path, source: Path) -> None:
    sparse(source / "sources" / "install.wim", 5_000_000, {})
    image = windows_iso(tmp_path, source)
    with image.open("r+b") as stream:
        stream.truncate(3_000_000)
    with pytest.raises(PipelineError, match=r"windows server\.iso: (cut short|damaged)"):
        read_medium(image)


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves one file by ranges, and counts requests and bytes."""

    protocol_version = "HTTP/1.1"
    path_served: Path
    requests: list[int]

    def do_GET(self) -> None:
        data = self.path_served.read_bytes()
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups()  # type: ignore[union-attr]
        part = data[int(first) : int(last) + 1]
        self.requests.append(len(part))
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", '"one"')
        end = int(first) + len(part) - 1
        self.send_header("Content-Range", f"bytes {first}-{end}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served() -> Iterator[type[Ranges]]:
    handler = type("Served", (Ranges,), {"requests": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.url = f"http://127.0.0.1:{server.server_port}/windows.iso"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


@needs("wimcapture", "wimappend", "genisoimage")
def test_a_remote_medium_is_read_by_a_few_ranges(
    tmp_path: Path, source: Path, served: type[Ranges]
) -> None:
    from pipeline.inputs.http import open_range

    for number in range(900):
        (source / "sources" / f"{number}.dll").write_bytes(b"MZ")
    as_wim(capture(tmp_path, tmp_path / "made.wim"), source / "sources")
    sparse(source / "sources" / "boot.wim", 60_000_000, {})
    served.path_served = windows_iso(tmp_path, source)
    with open_range(served.url) as stream:  # type: ignore[attr-defined]
        medium = read_medium(stream, "windows.iso")
    assert [image.name for image in medium.images] == list(EDITIONS)
    assert len(served.requests) < 40
    assert sum(served.requests) < 10_000_000 < served.path_served.stat().st_size


FILES = {
    "autounattend.xml": b"<unattend/>",
    "$WinPEDriver$/NetKVM/netkvm.inf": b"[Version]" * 1000,
    "golden/agent.ps1": b"agent",
    "golden/payload/OpenSSH-Win64-v10.0.0.0.msi": b"x" * 100_000,
    "golden/payload/empty file.txt": b"",
    "golden/" + "n" * 60 + ".txt": b"64 characters",
}


@needs("7z")
def test_7zip_extracts_our_disc(tmp_path: Path) -> None:
    write_disc(tmp_path / "d.iso", "GOLDEN", FILES)
    run(["7z", "x", f"-o{tmp_path / 'out'}", tmp_path / "d.iso"], deadline=60)
    out = tmp_path / "out"
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == FILES


@needs("xorriso")
def test_xorriso_extracts_our_disc(tmp_path: Path) -> None:
    write_disc(tmp_path / "d.iso", "GOLDEN", FILES)
    argv = ["xorriso", "-osirrox", "on", "-indev", str(tmp_path / "d.iso"), "-extract", "/"]
    run([*argv, tmp_path / "out"], deadline=60)
    out = tmp_path / "out"
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == FILES


@needs("isoinfo")
def test_isoinfo_lists_our_disc(tmp_path: Path) -> None:
    write_disc(tmp_path / "d.iso", "GOLDEN", FILES)
    facts = run(["isoinfo", "-d", "-i", tmp_path / "d.iso"], deadline=20).output
    assert "Volume id: GOLDEN\n" in facts
    assert "Joliet with UCS level 3 found" in facts
    names = run(["isoinfo", "-J", "-f", "-i", tmp_path / "d.iso"], deadline=20).output
    assert {f"/{name}" for name in FILES} <= set(names.splitlines())


INF = b"[Version]\r\nDriverVer=09/01/2026,100.1.2.3\r\nCatalogFile=viostor.cat\r\n"
INF += b"[SourceDisksFiles]\r\nviostor.sys=1,,\r\n"


@needs("genisoimage")
def test_drivers_are_read_from_a_disc_of_another_program(tmp_path: Path) -> None:
    folder = tmp_path / "virtio" / "viostor" / "2k25" / "amd64"
    folder.mkdir(parents=True)
    contents = {"viostor.inf": INF, "viostor.cat": b"c", "viostor.sys": b"s", "viostor.pdb": b""}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    options = ["-quiet", "-J", "-R", "-V", "virtio-win-0.1.302"]
    folder, image = tmp_path / "virtio", tmp_path / "v.iso"
    run(["genisoimage", *options, "-o", image, folder], deadline=60)
    (driver,) = read_drivers(tmp_path / "v.iso", "2k25", "amd64", ["viostor"])
    del contents["viostor.pdb"]
    assert (driver.version, driver.files) == ("100.1.2.3", contents)
