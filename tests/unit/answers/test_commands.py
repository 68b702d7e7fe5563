"""``golden render`` and ``golden lint`` on every shipped image, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.main import main
from tests.unit.answers import goldens, samples


@pytest.mark.parametrize("image", sorted(samples.shipped()))
def test_what_is_rendered_passes_lint_and_is_the_golden(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", image, "--out", str(tmp_path)]) == 0
    made = {path.name: path.read_bytes() for path in (tmp_path / image).iterdir()}
    assert {name: made[name] for name in goldens.kept(image)} == goldens.kept(image)
    files = [str(tmp_path / image / name) for name in made if name.endswith(".xml")]
    assert len(files) == 2
    capsys.readouterr()
    assert main(["lint", *files]) == 0, capsys.readouterr().out


def test_lint_does_see_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = min(samples.shipped())
    text = samples.rendered(image)["autounattend.xml"].decode()
    broken = tmp_path / "autounattend.xml"
    broken.write_text(text.replace("/IMAGE/NAME", "/IMAGE/LABEL"))
    assert main(["lint", str(broken)]) == 1
    assert "/IMAGE/LABEL" in capsys.readouterr().out
