"""Drivers from a virtio-win disc: just what the .inf needs, clear words where it is missing."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.foundation.errors import PipelineError
from pipeline.inputs.drivers import Driver, decode_inf, parse_inf, read_drivers
from tests.unit.media import making

INF = """\
; a driver
[Version]
Signature="$Windows NT$"
CatalogFile = {name}.cat
DriverVer = 09/01/2026,100.{release}.104.30200 ; stamped
[SourceDisksNames]
1 = %DiskId1%,,,""
[SourceDisksFiles]
{name}.sys = 1,,
[scsi_inst]
CopyFiles = driver_files
[driver_files]
{name}.sys,,,2
[Strings]
DiskId1 = "disk; one"
"""


def inf(name: str, release: str = "100") -> str:
    return INF.format(name=name, release=release)


def package(name: str, text: str | None = None, encoding: str = "ascii") -> dict[str, bytes]:
    return {
        f"{name}.inf": (text or inf(name)).encode(encoding),
        f"{name}.cat": b"catalog",
        f"{name}.sys": b"code of " + name.encode(),
        f"{name}.pdb": b"symbols",
    }


def at(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


PCI = inf("pvpanic").replace("[SourceDisksNames]", "; PCI\n[SourceDisksNames]")
PROTOCOL = (
    inf("vioprot")
    .replace("vioprot.sys = 1,,", "netkvmno.dll=1")
    .replace("vioprot.sys,,,2", "netkvmno.dll,,,2")
)
DISC = {
    **at("viostor/2k25/amd64", package("viostor")),
    **at("viostor/2k22/amd64", package("viostor", inf("viostor", "99"))),
    **at("viostor/w11/ARM64", package("viostor")),
    **at("NetKVM/2k25/amd64", package("netkvm", encoding="utf-16")),
    **at("NetKVM/2k25/amd64", {"vioprot.inf": PROTOCOL.encode(), "vioprot.cat": b"p"}),
    **at("NetKVM/2k25/amd64", {"netkvmno.dll": b"notify"}),
    **at("viofs/2k25/amd64", package("viofs")),
    **at("viofs/2k25/amd64", {"virtiofs.exe": b"MZ", "virtiofs.pdb": b"symbols"}),
    **at("vioserial/2k25/amd64", package("vioser")),
    **at("pvpanic/2k25/amd64", package("pvpanic")),
    **at("pvpanic/2k25/amd64", {"pvpanic-pci.inf": PCI.encode()}),
    "amd64/2k25/viostor.inf": b"",
    "guest-agent/qemu-ga-x86_64.msi": b"",
    "data/a/b/readme.txt": b"",
}


@pytest.fixture(scope="module")
def virtio() -> bytes:
    return making.disc(DISC, label="virtio-win-0.1.302", view="udf")


def read(virtio: bytes, *names: str, release: str = "2k25") -> dict[str, Driver]:
    found = read_drivers(io.BytesIO(virtio), release, "amd64", names)
    return {driver.name: driver for driver in found}


def test_just_the_files_of_the_inf(virtio: bytes) -> None:
    driver = read(virtio, "viostor")["viostor"]
    assert (driver.inf, driver.version) == ("viostor.inf", "100.100.104.30200")
    assert sorted(driver.files) == ["viostor.cat", "viostor.inf", "viostor.sys"]
    assert driver.files["viostor.sys"] == b"code of viostor"


def test_each_release_has_its_own(virtio: bytes) -> None:
    assert read(virtio, "viostor", release="2k22")["viostor"].version == "100.99.104.30200"


def test_names_and_folders_are_compared_without_case(virtio: bytes) -> None:
    found = read_drivers(io.BytesIO(virtio), "W11", "arm64", ["VIOSTOR"])
    assert [driver.name for driver in found] == ["viostor"]


def test_a_utf_16_inf_is_read_and_another_package_beside_it_is_left(virtio: bytes) -> None:
    found = read(virtio, "netkvm")
    assert list(found) == ["NetKVM"]
    assert sorted(found["NetKVM"].files) == ["netkvm.cat", "netkvm.inf", "netkvm.sys"]


def test_virtiofs_comes_with_its_driver(virtio: bytes) -> None:
    assert sorted(read(virtio, "viofs")["viofs"].files) == [
        *("viofs.cat", "viofs.inf", "viofs.sys", "virtiofs.exe")
    ]


def test_the_inf_may_be_shorter_than_its_folder(virtio: bytes) -> None:
    assert read(virtio, "vioserial")["vioserial"].inf == "vioser.inf"


def test_a_second_inf_of_the_same_package_is_a_driver_too(virtio: bytes) -> None:
    found = read(virtio, "pvpanic", "viostor", "pvpanic")
    assert list(found) == ["pvpanic", "pvpanic-pci", "viostor"]
    assert sorted(found["pvpanic-pci"].files) == ["pvpanic-pci.inf", "pvpanic.cat", "pvpanic.sys"]


def test_an_unknown_driver_lists_those_there_are(virtio: bytes) -> None:
    with pytest.raises(PipelineError) as caught:
        read(virtio, "viostro")
    assert "no driver 'viostro' on the disc; it has: NetKVM, pvpanic, viofs" in str(caught.value)
    assert caught.value.hint == "did you mean 'viostor'?"


def test_a_release_that_is_not_there_lists_those_that_are(virtio: bytes) -> None:
    with pytest.raises(PipelineError) as caught:
        read(virtio, "viostor", release="2k19")
    assert caught.value.message.endswith(
        "no driver viostor for 2k19/amd64 on the disc; it has: 2k22/amd64, 2k25/amd64, w11/arm64"
    )


@pytest.mark.parametrize("name", ["x.cat", "x.sys"])
def test_a_file_that_the_inf_needs_must_be_there(name: str) -> None:
    files = package("x")
    del files[name]
    with pytest.raises(PipelineError, match=f"x/w11/amd64/x.inf needs {name}"):
        read_drivers(io.BytesIO(making.disc(at("x/w11/amd64", files))), "w11", "amd64", ["x"])


def test_a_disc_with_other_things_is_no_virtio_win() -> None:
    with pytest.raises(PipelineError, match="it has: none") as caught:
        read_drivers(making.medium(), "w11", "amd64", ["viostor"])
    assert caught.value.hint == "is it a virtio-win disc?"


def test_two_packages_without_the_folders_name_are_ambiguous() -> None:
    files = at("both/w11/amd64", package("one") | package("two"))
    with pytest.raises(PipelineError, match=r"several \.inf files .*: one\.inf, two\.inf"):
        read_drivers(io.BytesIO(making.disc(files)), "w11", "amd64", ["both"])


def files_of(text: str, architecture: str = "amd64") -> tuple[str, ...]:
    return parse_inf(text.encode(), architecture, "x.inf").files


VERSION = "[version]\nDriverVer=1/2/2026,1.2.3.4\ncatalogfile.NTamd64=x64.cat\nCatalogFile=x.cat\n"


@pytest.mark.parametrize(
    ("body", "files"),
    [
        ("", ("x64.cat",)),
        ("[a]\nCopyFiles=@One.sys\n", ("one.sys", "x64.cat")),
        (
            "[a]\nCopyFiles = @one.sys , list\n[LIST]\nd.sys,s.sys\n",
            ("one.sys", "s.sys", "x64.cat"),
        ),
        ("[a]\ncopyfiles=b, \\\n  c\n[b]\nb.sys\n[c]\nc.sys ;x\n", ("b.sys", "c.sys", "x64.cat")),
        ('[SourceDisksFiles]\n"with space.dll" = 1\n', ("with space.dll", "x64.cat")),
        (
            "[SourceDisksFiles.amd64]\na.sys=1\n[SourceDisksFiles.x86]\nb.sys=1\n",
            ("a.sys", "x64.cat"),
        ),
        ("[a]\nCopyFiles=none_such\n", ("x64.cat",)),
        ("[b]\nb.sys\n", ("x64.cat",)),
    ],
)
def test_files_to_copy(body: str, files: tuple[str, ...]) -> None:
    assert files_of(VERSION + body) == files


def test_other_architectures_have_other_catalogs() -> None:
    assert files_of(VERSION, "arm64") == ("x.cat",)


def test_the_version_may_be_a_string() -> None:
    text = '[Version]\nDriverVer=%V%\nCatalogFile=x.cat\n[Strings]\nV="01/02/2026, 9.8.7"\n'
    assert parse_inf(text.encode(), "amd64", "x.inf").version == "9.8.7"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[Version]\nDriverVer=1/2/2026,1.2\n", "names no CatalogFile"),
        ("[Version]\nCatalogFile=x.cat\n", "no DriverVer with a date and a version"),
        ("", "no DriverVer"),
    ],
)
def test_an_inf_that_windows_would_refuse(text: str, sentence: str) -> None:
    with pytest.raises(PipelineError, match=sentence):
        files_of(text)


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-8", "utf-8-sig", "cp1252", "utf-16-be-mark"]
)
def test_encodings(encoding: str) -> None:
    text = "[Version] é" if encoding != "utf-8" else "[Version] e"
    data = b"\xfe\xff" + text.encode("utf-16-be") if "mark" in encoding else text.encode(encoding)
    assert decode_inf(data) == text


@given(st.binary(max_size=400))
def test_any_bytes_are_an_inf_or_refused(data: bytes) -> None:
    with making.refused_or_read("x.inf"):
        parse_inf(data, "amd64", "x.inf")
