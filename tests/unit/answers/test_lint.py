"""``golden lint``: what it prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.answers.lint import lint, main
from pipeline.answers.rules.rule import RULES
from tests.unit.answers import goldens, samples
from tests.unit.answers.mutate import bases, element, swap


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A flawless file in a folder with spaces."""
    path = tmp_path / "some answers" / "Autounattend.xml"
    path.parent.mkdir()
    path.write_text(bases()["uefi"])
    return path


@pytest.fixture
def warned(tmp_path: Path) -> Path:
    """A file with an unknown setting."""
    path = tmp_path / "warned.xml"
    text = element("HideEULAPage", "<HideEulaPage>true</HideEulaPage>")(bases()["uefi"])
    path.write_text(text)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A file with an error."""
    path = tmp_path / "bad.xml"
    path.write_text(swap("<Extend>true", "<Size>9</Size><Extend>true")(bases()["uefi"]))
    return path


def test_a_flawless_file_ends_with_0(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(good)]) == 0
    assert capsys.readouterr().out == "1 file: 0 errors, 0 warnings\n"


def test_a_warning_ends_with_0(warned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(warned)]) == 0
    assert "warning" in capsys.readouterr().out.splitlines()[0]


def test_an_error_ends_with_1_and_has_line_and_fix(
    good: Path, bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(good), str(bad)]) == 1
    first, last = capsys.readouterr().out.splitlines()
    line = next(
        number
        for number, text in enumerate(bad.read_text().splitlines(), 1)
        if "<CreatePartition " in text
        and "<Extend>" in "".join(bad.read_text().splitlines()[number : number + 3])
    )
    assert first == (
        f"{bad}:{line}: error: windowsPE/Microsoft-Windows-Setup/DiskConfiguration/Disk"
        "/CreatePartitions/CreatePartition[3]: Size and Extend=true exclude each other"
        " (keep one) [partition-extent]"
    )
    assert last == "2 files: 1 error, 0 warnings"


def test_json_says_the_same(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(bad), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["file"] == str(bad)
    assert (found["severity"], found["rule"]) == ("error", "partition-extent")
    assert set(found) == {"file", "line", "severity", "path", "rule", "message", "fix"}


def test_a_file_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lint([tmp_path / "gone.xml", tmp_path]) == 1
    assert capsys.readouterr().out.count("cannot be read") == 2


def test_a_plan_is_known_by_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan"
    path.write_text('{"schema": 3, "name": "x", "steps": []}')
    assert lint([path]) == 1
    assert "plan-schema" in capsys.readouterr().out


@pytest.mark.parametrize("image", sorted(samples.shipped()))
def test_everything_that_is_rendered_is_quiet(
    image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lint(sorted((goldens.FOLDER / image).iterdir())) == 0
    assert capsys.readouterr().out == "4 files: 0 errors, 0 warnings\n"


def test_files_by_others_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(sorted(samples.FOREIGN.glob("*.xml"))) == 0
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings\n")


def test_no_files_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def test_the_rules_are_listed_with_their_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rules"]) == 0
    printed = capsys.readouterr().out
    for rule in RULES:
        assert rule.id in printed
