"""docs/settings.md is as the code is: keys, variables, exit codes, what Windows takes, steps."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.refresh import NEW
from pipeline.definitions import schema
from pipeline.definitions.check_steps import FORMS
from pipeline.definitions.loader import load
from pipeline.definitions.model import Image
from pipeline.definitions.problems import DefinitionError
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.machine.examination import SMALLEST_DISK, WINDOWS_DISK, WINDOWS_MEMORY
from pipeline.publishing.refusals import EXIT_CODES
from tests.unit.project.test_docs import blocks

PAGE = (ROOT / "docs" / "settings.md").read_text()
# Where variables are read. Guest scripts write GOLDEN_… lines that are none.
READERS = [
    ROOT / "doitw",
    ROOT / "dodo.py",
    *(ROOT / "pipeline").rglob("*.py"),
    *(ROOT / "ci").rglob("*"),
    *(ROOT / ".github").rglob("*.yml"),
    *(ROOT / "templates" / "consumers").rglob("*.j2"),
]


def section(title: str) -> str:
    """The text below a heading."""
    return re.split(r"^## ", PAGE.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells[1:] if not set("".join(row)) <= set("-")]


def kind(rule: dict[str, Any]) -> str:
    match rule:
        case {"anyOf": _}:
            return "text"
        case {"type": "array"}:
            return "list"
        case {"type": "boolean"}:
            return "`true` or `false`"
        case {"type": "integer", "minimum": low, "maximum": high}:
            return f"{low} to {high}"
    raise AssertionError(rule)


def default(rule: dict[str, Any]) -> str:
    value = rule.get("default")
    if isinstance(value, list):
        return f"`[{', '.join(value)}]`"
    return "nothing" if value is None else f"`{json.dumps(value)}`"


def test_every_key_of_golden_yaml_is_there_as_the_model_has_it() -> None:
    properties = schema.schemas()["settings.schema.json"]["properties"]
    expected = [
        [f"`{name}`", kind(rule), default(rule),
         " ".join(rule["description"].split()).replace("``", "`")]
        for name, rule in properties.items()
    ]  # fmt: skip
    assert rows(section("golden.yaml")) == expected


def test_the_example_of_golden_yaml_is_one(tmp_path: Path) -> None:
    for folder in ("images", "checksums", "schemas"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (example,) = blocks(section("golden.yaml"), "yaml")
    (tmp_path / "golden.yaml").write_text(example)
    settings = load(Workspace(tmp_path, tmp_path, tmp_path), {}).settings
    assert settings.accept_eula
    (named,) = re.findall(r"\$schema=(\S+)", example)
    assert (ROOT / named).exists()


def test_every_variable_is_there_and_no_other() -> None:
    used = {
        name
        for path in READERS
        if path.is_file()
        for name in re.findall(r"GOLDEN_[A-Z_]*[A-Z]\b", path.read_text())
    }
    assert len(used) >= 15
    told = [
        name
        for row in rows(section("The environment"))
        for name in re.findall(r"GOLDEN_\w+", row[0])
    ]
    assert sorted(told) == sorted(used)


def test_only_variables_of_ours_and_the_systems_are_read() -> None:
    """One name, one prefix: whatever else the code reads belongs to somebody else."""
    theirs = {
        "CI", "GITHUB_TOKEN", "PATH", "SSH_AUTH_SOCK", "TERM", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR",
    }  # fmt: skip
    ours = [p for p in (ROOT / "pipeline").rglob("*.py") if "rehearsal/guest" not in p.as_posix()]
    pattern = r'environ(?:\.get\(|\[)"(\w+)"|"(\w+)" (?:not )?in os\.environ'
    found = [pair for path in ours for pair in re.findall(pattern, path.read_text())]
    read = {"".join(pair) for pair in found}
    assert len(read) >= 10
    assert {name for name in read if not name.startswith("GOLDEN_")} <= theirs


def _codes(error: type[PipelineError]) -> set[int]:
    return {error.exit_code}.union(*(_codes(below) for below in error.__subclasses__()))


def test_every_exit_code_is_there() -> None:
    for path in (ROOT / "pipeline").rglob("*.py"):
        if "rehearsal/guest" not in path.as_posix():
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            importlib.import_module(name.removesuffix(".__init__"))
    told = {int(row[0]) for row in rows(section("Exit codes").partition("Of `./doitw`")[0])}
    assert told == _codes(PipelineError) | set(EXIT_CODES) | {NEW}


def _amount(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _takes(name: str, image: Image) -> list[str]:
    made = load(Workspace.default(), {})
    names = (image.drivers.pin, image.winfsp, image.openssh)
    besides = sum(made.pins[pin].size or 0 for pin in names if pin)
    medium = made.pins[image.media].size
    assert medium
    machine = image.machine
    needs = " and ".join(
        word
        for word, holds in (("TPM", machine.tpm), ("Secure Boot", machine.secure_boot))
        if holds
    )
    sizes = [_amount(medium), _amount(besides), str(machine.memory), str(machine.disk)]
    return [f"`{name}`", *sizes, needs]


def test_what_each_windows_takes_is_as_pinned() -> None:
    images = load(Workspace.default(), {}).images
    expected = [_takes(name, image) for name, image in images.items() if not image.rehearsal]
    assert rows(section("What Windows takes")) == expected


@pytest.mark.parametrize("page", ["settings.md", "nightly.md"])
def test_the_room_for_windows_is_one_number(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert f"{WINDOWS_DISK >> 30} GiB" in text


def test_memory_and_the_rehearsals_room_are_the_doctors() -> None:
    text = section("What Windows takes")
    assert f"{WINDOWS_MEMORY >> 30} GiB of memory" in text
    assert f"{SMALLEST_DISK >> 30} GiB" in text


def _with_steps(root: Path, content: bytes) -> Workspace:
    """A workspace whose server takes the page's steps; each of their files has this content."""
    for folder in ("images", "checksums"):
        shutil.copytree(ROOT / folder, root / folder)
    (example,) = blocks(section("Steps of one's own"), "yaml")
    for name in re.findall(r"images/mine/[\w.-]+", example):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    image = root / "images" / "windows-server-2025.yaml"
    image.write_text(f"{image.read_text()}{example}")
    return Workspace(root, root, root)


def test_the_steps_are_ones_that_an_image_takes(tmp_path: Path) -> None:
    made = load(_with_steps(tmp_path, b"x"), {}).images["windows-server-2025"]
    assert {step.kind for step in made.provision} == set(FORMS)
    assert [step.id for step in made.provision if step.sha256] == ["monitoring"]


def test_a_step_with_a_digest_takes_no_other_file(tmp_path: Path) -> None:
    place = r"images/windows-server-2025\.yaml:\d+:13: provision\[3\]\.sha256: expected 2d7116"
    with pytest.raises(DefinitionError, match=place) as caught:
        load(_with_steps(tmp_path, b"y"), {})
    assert len(caught.value.message.splitlines()) == 1
