"""What is wrong is named: every break of a valid workspace, by file, line, column and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.definitions import source
from pipeline.definitions.problems import DefinitionError

BROKEN = yaml.safe_load(Path(__file__).with_name("broken.yaml").read_text())


def test_the_valid_workspace_has_no_problems(shop: Any) -> None:
    assert shop.problems() == []


@pytest.mark.parametrize("case", BROKEN, ids=[f"{c['file'][:2]}:{c['new'][:40]}" for c in BROKEN])
def test_a_break_is_named(shop: Any, case: dict[str, Any]) -> None:
    shop.edit(case["file"], case["old"], case["new"])
    assert shop.problems() == case["says"]


@pytest.mark.parametrize("case", BROKEN[::7], ids=lambda case: case["new"][:40])
def test_the_parser_in_python_serves_as_well(
    shop: Any, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyYAML comes without libyaml on some hosts; places are the same then."""
    monkeypatch.setattr(source, "LOADER", yaml.SafeLoader)
    shop.edit(case["file"], case["old"], case["new"])
    assert shop.problems() == case["says"]


def test_all_problems_of_all_files_come_at_once_and_sorted(shop: Any) -> None:
    shop.edit(shop.image, "memory: 4G", "memory: 4")
    shop.edit(shop.image, "title: Windows 11", "tilte: Windows 11")
    shop.edit(shop.pins, "size: 5000", "size: large")
    shop.write("images/other.yaml", "title: [")
    shop.write("golden.yaml", "build: [win12]\naccept_eula: yes\n")
    lines = shop.problems()
    assert [line.split(": ")[0] for line in lines] == [
        "checksums/all.yaml:7:9",
        "golden.yaml:1:9",
        "golden.yaml:2:14",
        "images/other.yaml:1:9",
        "images/win11.yaml:2:1",
        "images/win11.yaml:2:1",
        "images/win11.yaml:15:11",
    ]


def test_the_error_counts_and_keeps_its_problems(shop: Any) -> None:
    shop.edit(shop.image, "memory: 4G", "memory: 4")
    shop.edit(shop.image, "keep: 2", "keep: x")
    with pytest.raises(DefinitionError) as caught:
        shop.load()
    assert caught.value.hint == "2 problems in 1 file; nothing was run"
    assert [problem.path for problem in caught.value.problems] == ["machine.memory", "publish.keep"]


def test_a_bad_value_does_not_hide_what_else_is_wrong(shop: Any) -> None:
    shop.edit(shop.image, "memory: 4G", "memory: much")
    shop.edit(shop.image, "media: win\n", "media: winn\n")
    assert [line.split(": ")[1] for line in shop.problems()] == ["media", "machine.memory"]


def test_a_checksums_file_that_cannot_be_read_makes_no_pin_look_missing(shop: Any) -> None:
    shop.write(shop.pins, "win: [")
    (line,) = shop.problems()
    assert line.startswith("checksums/all.yaml:1:7: not YAML")


def test_a_broken_pin_is_not_a_missing_one(shop: Any) -> None:
    shop.edit(shop.pins, 'sha256: "ABCDEF', 'sha256: "XYZDEF')
    assert [line.split(": ")[1] for line in shop.problems()] == ["virtio-win.sha256"]


def test_a_pin_defined_in_two_files(shop: Any) -> None:
    shop.write("checksums/more.yaml", "\nwin:\n  version: 1\n")
    assert shop.problems() == [
        "checksums/more.yaml:2:1: win: a pin of this name is in checksums/all.yaml:2:1 already"
    ]


def test_other_files_in_the_folders(shop: Any) -> None:
    shop.write("images/forgotten.yml", "")
    shop.write("images/Big_One.yaml", (shop.root / shop.image).read_text())
    shop.write("images/.draft.yaml", "[")
    shop.write("images/win11/notes.yaml", "[")
    big, forgotten = shop.problems()
    assert big.startswith("images/Big_One.yaml: expected the file to have a name such as")
    assert big.endswith('found "Big_One"')
    assert forgotten == (
        "images/forgotten.yml: expected the ending .yaml; rename it to forgotten.yaml"
    )


def test_missing_folders(shop: Any) -> None:
    (shop.root / shop.pins).unlink()
    (shop.root / "checksums").rmdir()
    assert "checksums: expected a folder, found none" in shop.problems()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"title: \xff", "images/x.yaml:1:8: expected UTF-8, found other bytes"),
        (
            b"a: b\nc: \x00",
            "images/x.yaml:2:4: not YAML: found a character that YAML does not allow",
        ),
        (b"# " + b"x" * (1 << 20), "images/x.yaml: expected a definition, found more than 1 MiB"),
        (b"a: " + b"[" * 60000, "images/x.yaml:1:1: expected a definition, found deep nesting"),
        (b"- " * 9000, "images/x.yaml:1:1: expected a definition, found deep nesting"),
        (b"{a: " * 3000, "images/x.yaml:1:1: expected a definition, found deep nesting"),
        (b"- 1\n", "images/x.yaml:1:1: expected a mapping, found a list"),
        (b"hello\n", 'images/x.yaml:1:1: expected a mapping, found "hello"'),
    ],
    ids=["latin-1", "nul", "huge", "deep flow", "deep block", "deep mapping", "list", "word"],
)
def test_files_that_are_no_definition(shop: Any, data: bytes, line: str) -> None:
    shop.write("images/x.yaml", data)
    assert shop.problems() == [line]


def test_an_empty_image_lists_what_it_needs(shop: Any) -> None:
    shop.write("images/x.yaml", "# nothing yet\n")
    assert [line.split(": ")[1] for line in shop.problems()] == [
        "drivers",
        "edition",
        "media",
        "release",
        "title",
        "winfsp",
    ]


def test_an_unreadable_file(shop: Any) -> None:
    (shop.root / "images" / "x.yaml").mkdir()
    assert shop.problems() == ["images/x.yaml: cannot be read: Is a directory"]


def test_a_payload_behind_a_link_out_of_the_checkout(shop: Any, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside") / "greet.ps1"
    outside.write_text("'hello'\n")
    (shop.root / "scripts" / "link.ps1").symlink_to(outside)
    shop.edit(shop.image, "scripts/greet.ps1", "scripts/link.ps1")
    (line,) = shop.problems()
    assert "expected a file below the repository root" in line


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"GOLDEN_ACCEPT_EULA": "yes"}, 'GOLDEN_ACCEPT_EULA: expected "1" or "0", found "yes"'),
        (
            {"GOLDEN_IMAGES": "win11,win10"},
            'GOLDEN_IMAGES: no such image in images/: "win10"; did you mean "win11"?',
        ),
    ],
)
def test_the_environment_is_checked(shop: Any, environ: dict[str, str], line: str) -> None:
    assert shop.problems(environ) == [line]
