"""The workflows: sound, frugal with rights, and every command and file of ours in them exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.foundation.paths import ROOT
from tests.unit.project.test_docs import TOP, problems_of

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# What a job may do beyond reading the sources, by its name: propose pins, ask a private registry
# what is there, push a version.
MORE_RIGHTS = {
    "refresh": {("contents", "write"), ("pull-requests", "write")},
    "tonight": {("packages", "read")},
    "build": {("packages", "write")},
}
every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def read(path: Path) -> dict[str, Any]:
    """The workflow, every scalar as a text: YAML would read the key ``on`` as a truth value."""
    loaded: dict[str, Any] = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
    return loaded


def jobs(path: Path) -> list[tuple[str, dict[str, Any]]]:
    return list(read(path)["jobs"].items())


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for _, job in jobs(path) for step in job["steps"]]


def commands(path: Path) -> Iterator[list[str]]:
    for step in steps(path):
        for line in step.get("run", "").splitlines():
            for part in re.split(r"&&|\|\||;", line):
                yield shlex.split(part, comments=True)


def test_there_is_one_that_runs_the_readmes_test_command() -> None:
    ci = ROOT / ".github" / "workflows" / "ci.yml"
    assert ["./doitw", "test"] in list(commands(ci))
    assert "./doitw test" in (ROOT / "README.md").read_text()
    assert {"push", "pull_request"} <= set(read(ci)["on"])


@every_workflow
def test_rights_are_read_only_and_runs_do_not_pile_up(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "github.ref" in workflow["concurrency"]["group"]
    for name, job in jobs(path):
        assert 0 < int(job["timeout-minutes"]) <= 180, name
        given = set(job.get("permissions", {}).items()) - {("contents", "read")}
        assert given <= MORE_RIGHTS.get(name, set()), name


@every_workflow
def test_whoever_signs_in_to_the_registry_may_do_there_what_the_job_is_for(path: Path) -> None:
    """A private registry answers nobody whose token may not read packages."""
    for name, job in jobs(path):
        text = "\n".join(step.get("run", "") for step in job["steps"])
        if "docker login" not in text:
            continue
        wanted = "write" if "./doitw build" in text else "read"
        assert job["permissions"] == {"contents": "read", "packages": wanted}, name


@every_workflow
def test_actions_are_of_a_major_version_and_keep_no_credentials(path: Path) -> None:
    for step in steps(path):
        if "uses" not in step:
            continue
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), step["uses"]
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


@every_workflow
def test_commands_of_ours_exist(path: Path) -> None:
    found = list(commands(path))
    assert found
    assert [problem for words in found for problem in problems_of(words)] == []


@every_workflow
def test_files_of_ours_exist(path: Path) -> None:
    words = [word.removeprefix("./") for command in commands(path) for word in command]
    ours = [word for word in words if word.split("/")[0] in TOP]
    for name in ours:
        assert (ROOT / name).exists(), name


@every_workflow
def test_no_text_from_outside_reaches_a_shell(path: Path) -> None:
    for step in steps(path):
        assert "${{" not in step.get("run", "")


def test_the_agent_runs_on_real_windows_in_windows_powershell() -> None:
    job = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["windows"]
    systems = job["strategy"]["matrix"]["os"]
    assert systems
    assert all(re.fullmatch(r"windows-20\d\d", name) for name in systems)
    shells = {step["shell"] for step in job["steps"] if "run" in step}
    assert shells == {"powershell"}, "pwsh would be PowerShell 7"
    runs = " ".join(step.get("run", "") for step in job["steps"])
    assert "powershell.exe" in runs
    assert "tests/powershell/windows/real.ps1" in runs
