"""Whatever one types into a definition: an error that points into the file, or data; no crash."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.definitions.loader import load
from pipeline.definitions.model import Definitions, Image
from pipeline.definitions.problems import DefinitionError, Problem
from pipeline.definitions.rules import IMAGE_NAME, PIN_NAME, Pattern
from pipeline.definitions.shapes import fields_of
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.units import Sha256, Size

FILES = ("images/rehearsal.yaml", "checksums/rehearsal.yaml")
SCRIPT = "images/rehearsal/hello.py"
# Pieces that mean something to YAML or to a reader that is not careful.
_MARKS = (": ", "- ", "[", "]", "{", "}", "&a ", "*a", "!!binary ", "! ", "|\n", ">\n", "'", '"')
_BREAKS = (
    "\t",
    "\n",
    "\n  ",
    "# ",
    "? ",
    "<<: ",
    "---\n",
    "...\n",
    "\x00",
    "\u2028",
    "\x85",
    "\ufeff",
)
_WORDS = (
    "null",
    "~",
    "true",
    "1e9",
    "0x1F",
    "=",
    "-1",
    "9" * 40,
    '"\\0"',
    "../",
    "%",
    "`",
    "é",
    "🪟",
)
PIECES = st.sampled_from((*_MARKS, *_BREAKS, *_WORDS)) | st.text(max_size=3)


FOLDER = tempfile.TemporaryDirectory(prefix="golden-definitions-")  # goes with the process


@functools.cache
def workspace() -> Workspace:
    """One folder for all examples: the rehearsal alone."""
    root = Path(FOLDER.name)
    for name in (*FILES, SCRIPT):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((ROOT / name).read_bytes())
    return Workspace(root, root / "output", root / "cache")


def outcome(name: str, data: bytes) -> Definitions | DefinitionError:
    place = workspace()
    original = (ROOT / name).read_bytes()
    (place.root / name).write_bytes(data)
    try:
        return load(place, {})
    except DefinitionError as error:
        return error
    finally:
        (place.root / name).write_bytes(original)


def points_into(problem: Problem, name: str, data: bytes) -> bool:
    """Whether the place is one that an editor can go to."""
    other = problem.place.file != name and problem.place.file in FILES
    lines = len((ROOT / problem.place.file).read_bytes().splitlines()) if other else 0
    lines = lines or max(1, len(data.splitlines()))
    inside = 1 <= problem.place.line <= lines and problem.place.column >= 1
    return inside and (other or problem.place.file == name)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(FILES))
    text = (ROOT / name).read_text()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from((0, 0, 1, 2, 5, 40)))
        text = text[:at] + draw(PIECES) + text[at + length :]
    return name, text.encode("utf-8", "replace")


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_mutated_file_is_data_or_errors_inside_the_files(case: tuple[str, bytes]) -> None:
    name, data = case
    result = outcome(name, data)
    if isinstance(result, DefinitionError):
        assert result.problems
        assert all(points_into(problem, name, data) for problem in result.problems), str(result)
        assert all("\n" not in str(problem) for problem in result.problems)
    else:
        assert set(result.images) == {"rehearsal"}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FILES), st.binary(max_size=200))
def test_a_file_of_any_bytes(name: str, data: bytes) -> None:
    result = outcome(name, data)
    if name == FILES[0]:
        assert isinstance(result, DefinitionError)  # an image has keys that must be there


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 1 << 50).map(lambda count: Size(count << 10)))
def test_a_size_is_read_as_it_is_written(size: Size) -> None:
    assert Size.parse(str(size)) == size


@given(st.text(alphabet="0123456789KMGTkB. -", max_size=8))
def test_a_size_is_parsed_or_refused_with_what_was_expected(text: str) -> None:
    if re.fullmatch("[1-9][0-9]*[KMGT]", text):
        assert Size.parse(text) > 0
    else:
        with pytest.raises(ValueError, match="such as"):
            Size.parse(text)


@given(st.text(alphabet="0123456789abcdefABCDEFg\n", min_size=62, max_size=66))
def test_a_digest_is_64_hexadecimal_digits(text: str) -> None:
    if re.fullmatch("[0-9a-fA-F]{64}", text):
        assert Sha256.parse(text) == text.lower()
    else:
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            Sha256.parse(text)


def _names(rule: Pattern, limit: int) -> Callable[[str], bool]:
    return lambda text: (
        rule.allows(text)
        == (
            0 < len(text) <= limit
            and not re.search("[^a-z0-9.-]" if rule is PIN_NAME else "[^a-z0-9-]", text)
            and text[0].isalnum()
            and text[-1].isalnum()
        )
    )


@given(st.text(alphabet="ab9-._A\n", max_size=70))
def test_names_of_images_and_pins(text: str) -> None:
    assert _names(IMAGE_NAME, 40)(text)
    assert _names(PIN_NAME, 64)(text)


@given(st.text(alphabet="aZ09-.\n", max_size=18))
def test_host_names(text: str) -> None:
    (rule,) = fields_of(Image)["host_name"].shape.rules
    good = re.fullmatch("[A-Za-z0-9-]{1,15}", text) and not text.isdigit()
    assert rule.allows(text) == bool(good and text[0] != "-" and text[-1] != "-")
