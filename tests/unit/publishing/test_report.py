"""The report: what it tells, that it escapes, asks nobody for anything, and can be read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from PIL import Image

from pipeline.foundation.paths import ROOT
from pipeline.publishing.film import WIDTH, Frame, film_strip
from pipeline.publishing.report import Story, render

TEMPLATES = ROOT / "templates"


def manifest(version: str = "26100.1-20261124.1", **timings: float) -> dict[str, Any]:
    return {
        "image": "toy",
        "title": "Toy <Windows>",
        "version": version,
        "build_id": "b" * 64,
        "rehearsal": True,
        "built_at": "2026-11-24T10:00:00Z",
        "windows": {
            "build": "26100.1",
            "edition": "Toy",
            "architecture": "amd64",
            "language": "en-US",
            "release": "2k25",
        },
        "machine": {
            "firmware": "uefi",
            "cpus": 2,
            "memory": 1 << 30,
            "tpm": True,
            "secure_boot": False,
        },
        "disk": {
            "file": "disk.qcow2",
            "format": "qcow2",
            "compression": "zstd",
            "size": 5 << 20,
            "virtual_size": 4 << 30,
            "sha256": "d" * 64,
        },
        "inputs": {"toy-windows": {"version": "26100.1", "identity": "i" * 64}},
        "timings": timings or {"install": 60.0, "seal": 20.0},
        "tools": {"qemu": "7.2.22"},
        "checks": {"passed": 1, "failed": 1},
        "licence": {"note": "A stand-in.", "expires_at": "2027-05-23T10:00:00Z"},
    }


RESULTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "check": [
        {"group": "virtio-fs", "name": "round-trip", "ok": True, "evidence": "both ways"},
        {"group": "provision", "name": "evil", "ok": False, "evidence": "<script>x</script>"},
    ]
}
FRAME = Frame("install", "windowsPE", "data:image/webp;base64,AAAA", 480, 300)
STORY = Story(manifest(), [], RESULTS, [], [FRAME])


def page(story: Story) -> Any:
    return html.document_fromstring(render(story, TEMPLATES).decode())


def text(story: Story) -> str:
    return " ".join(page(story).text_content().split())


def test_it_tells_what_the_manifest_says() -> None:
    told = text(STORY)
    for part in (
        "Toy <Windows>",
        "26100.1-20261124.1",
        "d" * 64,
        "4.00 GiB",
        "TPM 2.0",
        "2027-05-23",
    ):
        assert part in told
    assert "1 of 2 checks failed" in told
    assert "first version" in told


def test_what_guests_say_stays_text() -> None:
    assert page(STORY).xpath("//script") == []
    assert "<script>x</script>" in text(STORY)


def test_failed_checks_lie_open_and_others_do_not() -> None:
    groups = {d.xpath("string(summary)"): d.get("open") for d in page(STORY).xpath("//details")}
    assert groups == {"check: virtio-fs — 1 passed": None, "check: provision — 1 of 1 failed": ""}


def test_times_are_held_against_the_median_of_the_last_builds() -> None:
    earlier = [manifest(f"26100.1-2026110{n}.1", install=s, seal=20.0) for n, s in
               enumerate((10.0, 30.0, 1000.0), 1)]  # fmt: skip
    bars = {bar.stage: bar for bar in replace(STORY, earlier=earlier).bars()}
    assert (bars["install"].usual, bars["install"].verdict) == ("0:30", "100 % slower")
    assert (bars["install"].length, bars["install"].mark) == (100.0, 50.0)
    assert bars["seal"].verdict == "as usual"
    assert {bar.verdict for bar in STORY.bars()} == {"first build"}


def test_changes_are_named_and_their_absence_too() -> None:
    story = replace(STORY, earlier=[manifest("26100.1-20261101.1")])
    assert "built anew from the same inputs" in text(story)
    assert "virtio-win: 0.1.300 → 0.1.302" in text(
        replace(story, changes=["virtio-win: 0.1.300 → 0.1.302"])
    )


def test_nothing_is_asked_of_anybody() -> None:
    found = page(STORY)
    policy = found.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert found.xpath("//link | //iframe | //object | //embed | //form | //base") == []
    sources = found.xpath("//@src | //@href | //@srcset | //@action")
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"url\(|@import", found.xpath("string(//style)"))


def test_everything_has_a_name() -> None:
    found = page(STORY)
    assert found.get("lang") == "en"
    assert all(image.get("alt") for image in found.xpath("//img"))
    assert all(part.get("aria-label") for part in found.xpath("//*[@role='img']"))
    headings = {h.get("id") for h in found.xpath("//h2")}
    assert {s.get("aria-labelledby") for s in found.xpath("//section")} == headings
    assert all(th.get("scope") for th in found.xpath("//th"))
    levels = [int(h.tag[1]) for h in found.xpath("//h1|//h2|//h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def _schemes() -> list[dict[str, str]]:
    style = page(STORY).xpath("string(//style)")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part)) for part in (light, dark)]


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_at_least_that_of_wcag_aa(scheme: int) -> None:
    colours = _schemes()[scheme]
    for front in ("text", "quiet", "accent", "good", "bad", "warn"):
        for back in ("page", "card"):
            high, low = sorted(
                (_luminance(colours[front]), _luminance(colours[back])), reverse=True
            )
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{front} on {back}"


def shots(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (720, 400), "navy").save(folder / name)


def test_the_strip_is_in_order_small_and_names_its_parts(tmp_path: Path) -> None:
    shots(tmp_path / "a", ["0001-windowsPE.png", "0000-firmware.ppm"])
    shots(tmp_path / "b" / "lima", ["0000-boot.png"])
    (tmp_path / "a" / "0002-broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "a" / "com1.log").write_text("no picture")
    frames = film_strip([("install", tmp_path / "a"), ("prove", tmp_path / "b")])
    assert [(f.stage, f.phase) for f in frames] == [
        ("install", "firmware"), ("install", "windowsPE"), ("prove, lima", "boot"),
    ]  # fmt: skip
    assert {f.width for f in frames} == {WIDTH}
    assert all(f.url.startswith("data:image/webp;base64,") for f in frames)


def test_a_long_strip_keeps_its_ends(tmp_path: Path) -> None:
    shots(tmp_path, [f"{n:04}-phase{n}.png" for n in range(50)])
    frames = film_strip([("install", tmp_path)], most=5)
    assert [f.phase for f in frames] == ["phase0", "phase12", "phase24", "phase37", "phase49"]
