"""The nightly's workflow, its units for a build host, and the script that proposes pins."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.definitions.loader import load
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.process import run
from tests.tools import needs
from tests.unit.project.test_docs import problems_of
from tests.unit.project.test_workflows import jobs, read, steps

WORKFLOW = ROOT / ".github" / "workflows" / "nightly.yml"
UNITS = ROOT / "ci" / "systemd"
SERVICE, TIMER = UNITS / "golden-nightly.service", UNITS / "golden-nightly.timer"
PLACE = "/opt/golden-windows"


def values(path: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", path.read_text(), flags=re.MULTILINE)


# The workflow


def test_every_golden_command_in_the_workflow_exists() -> None:
    text = "\n".join(step.get("run", "") for step in steps(WORKFLOW))
    found = re.findall(r"(?<![\w./-])golden [a-z][^|)\n]*", text)
    assert {words.split()[1] for words in found} == {"refresh", "matrix", "gc"}
    assert [problem for words in found for problem in problems_of(words.split())] == []


def test_the_night_is_scheduled_and_never_cut_short_by_the_next() -> None:
    workflow = read(WORKFLOW)
    assert workflow["on"]["schedule"][0]["cron"].count(" ") == 4
    assert workflow["concurrency"]["cancel-in-progress"] == "false"


def test_what_is_built_is_what_the_matrix_says_and_nothing_when_it_is_empty() -> None:
    made = dict(jobs(WORKFLOW))
    build = made["build"]
    assert build["needs"] == "tonight"
    # What `golden matrix --json` prints when nothing is to be done: see test_matrix.py.
    assert build["if"] == "needs.tonight.outputs.matrix != '{\"include\": []}'"
    assert build["strategy"]["matrix"] == "${{ fromJSON(needs.tonight.outputs.matrix) }}"
    assert build["strategy"]["fail-fast"] == "false"


@pytest.mark.parametrize("secret", ["-----BEGIN KEY-----\nx\n-----END KEY-----", ""])
def test_the_key_that_signs_is_named_to_the_pipeline_and_nobody_elses(
    tmp_path: Path, secret: str
) -> None:
    """Only a key that the settings name makes layers count by their signature."""
    found = dict(jobs(WORKFLOW))["build"]["steps"]
    (step,) = [step for step in found if "SIGNING_KEY" in step.get("env", {})]
    assert found.index(step) < [s.get("run") for s in found].index("./doitw build")
    said = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step["run"]], check=True, text=True, capture_output=True,
        env={
            "PATH": os.environ["PATH"], "SIGNING_KEY": secret,
            "RUNNER_TEMP": str(tmp_path), "GITHUB_ENV": str(tmp_path / "env"),
        },
    ).stdout  # fmt: skip
    if not secret:
        assert said.startswith("::warning::")
        assert list(tmp_path.iterdir()) == []
        return
    name, _, key = (tmp_path / "env").read_text().strip().partition("=")
    assert load(Workspace.default(), {name: key}).settings.signing_key == key
    assert Path(key).read_text() == f"{secret}\n"
    assert Path(key).stat().st_mode & 0o777 == 0o600
    assert secret not in said


def test_after_the_build_old_versions_go_and_the_report_is_attached() -> None:
    found = dict(jobs(WORKFLOW))["build"]["steps"]
    runs = [step.get("run", "") for step in found]
    built, kept = runs.index("./doitw build"), runs.index("golden gc")
    assert built < kept
    assert found[kept]["continue-on-error"] == "true"
    (report,) = [s for s in found if s.get("with", {}).get("name", "").startswith("report-")]
    assert found.index(report) > built
    assert "output/publish/*/*/report.html" in report["with"]["path"]


def test_variables_that_the_workflow_sets_are_read_by_the_pipeline() -> None:
    text = "".join(path.read_text() for path in (ROOT / "pipeline").rglob("*.py"))
    workflow = read(WORKFLOW)
    names = {*workflow["env"], *(n for _, job in jobs(WORKFLOW) for n in job.get("env", {}))}
    names |= set(re.findall(r"^(?:Environment=)?(GOLDEN_\w+)=", SERVICE.read_text()))
    assert len(names) >= 5
    assert [name for name in sorted(names) if f'"{name}"' not in text] == []


def test_fields_of_the_matrix_that_the_workflow_uses_exist() -> None:
    from pipeline.cli.matrix import as_json
    from pipeline.stages.build import Build
    from pipeline.stages.tonight import Tonight

    workspace = Workspace.default()
    build = Build.of("rehearsal", load(workspace, {}), workspace)
    fields = set(as_json(Tonight(build, "", "")))
    used = set(re.findall(r"matrix\.(\w+)", WORKFLOW.read_text().replace("outputs.matrix", "")))
    assert used
    assert used <= fields


# The units


def test_programs_and_commands_of_the_service_exist() -> None:
    checked = 0
    for line in values(SERVICE, "Exec(?:Start|StartPre)"):
        words = shlex.split(line.lstrip("-+!"))
        if not words[0].startswith(PLACE):
            continue
        program = Path(words[0]).relative_to(PLACE)
        name = "./doitw" if program.name == "doitw" else program.name
        assert str(program) in ("doitw", ".venv/bin/golden")
        assert list(problems_of([name, *words[1:]])) == []
        checked += 1
    assert checked == 3


def test_machines_get_kvm_and_the_service_little_else() -> None:
    text = SERVICE.read_text()
    assert values(SERVICE, "DeviceAllow") == ["/dev/kvm rw"]
    assert values(SERVICE, "CapabilityBoundingSet") == [""]
    assert values(SERVICE, "NoNewPrivileges") == ["yes"]
    for breaks in ("MemoryDenyWriteExecute", "PrivateDevices", "RestrictNamespaces"):
        assert not re.search(rf"^{breaks}=", text, flags=re.MULTILINE), breaks


def test_news_of_pins_are_no_failure_of_the_night() -> None:
    (line,) = [x for x in values(SERVICE, "ExecStartPre") if "refresh" in x]
    assert line.startswith("-")
    assert "--write" not in line


class BuildHost:
    """A checkout with the wrapper and a unit that names a file for this host; ``id`` as asked."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin = folder / "the checkout", folder / "bin"
        self.host, self.ran = folder / "host.env", folder / "ran"
        (self.root / "ci" / "systemd").mkdir(parents=True)
        shutil.copy(ROOT / "ci" / "as-nightly", self.root / "ci")
        text = SERVICE.read_text().replace("/etc/golden-windows.env", str(self.host))
        (self.root / "ci" / "systemd" / SERVICE.name).write_text(text)
        self.bin.mkdir()
        for name in ("runuser", "sudo"):
            self._program(name, f'echo "{name} $1 $2 $3" > "{self.ran}"; shift 3; exec "$@"')

    def _program(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.bin / name).chmod(0o755)

    def run(self, user: str, *words: str) -> subprocess.CompletedProcess[str]:
        self._program("id", f"echo {user}")
        return subprocess.run(
            [self.root / "ci" / "as-nightly", *words], cwd="/", text=True, capture_output=True,
            check=False, env={"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": "/nowhere"},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("user", "through"),
    [("golden", None), ("root", "runuser -u golden --"), ("admin", "sudo -u golden --")],
)
def test_by_hand_it_is_the_nightlys_user_folders_and_settings(
    tmp_path: Path, user: str, through: str | None
) -> None:
    host = BuildHost(tmp_path)
    host.host.write_text('# more\nGOLDEN_STORES="/srv/a b,/srv/*"\nHOME=/var/lib/moved\n')
    said = dict(line.split("=", 1) for line in host.run(user, "env").stdout.splitlines())
    unit = dict(line.split("=", 1) for line in values(SERVICE, "Environment"))
    assert {"GOLDEN_OUTPUT", "GOLDEN_CACHE", "HOME"} <= set(unit)
    expected = unit | {"HOME": "/var/lib/moved", "GOLDEN_STORES": "/srv/a b,/srv/*"}
    assert {name: said[name] for name in expected} == expected
    assert said["PATH"].startswith(f"{host.root}/.venv/bin:")
    assert (host.ran.read_text().strip() if host.ran.exists() else None) == through


def test_by_hand_words_arrive_as_they_are_and_so_does_the_exit_code(tmp_path: Path) -> None:
    host = BuildHost(tmp_path)
    done = host.run("golden", "sh", "-c", 'pwd; printf "%s\\n" "$@"; exit 7', "-", "a b", "*")
    assert done.stdout.splitlines() == [str(host.root), "a b", "*"]
    assert done.returncode == 7
    assert host.run("golden").returncode == 2


def test_the_recipe_leaves_nothing_to_root_and_accepts_the_licence() -> None:
    """Nothing of the checkout is made by root; the licence and the environment come first."""
    recipe = (ROOT / "docs" / "nightly.md").read_text().partition("## On a build host")[2]
    steps = [
        "useradd",
        f"install -d -o golden {PLACE}",
        "sudo -u golden git clone",
        "ci/as-nightly ./doitw list",
        "'accept_eula: true' | sudo -u golden tee golden.yaml",
        "ci/as-nightly golden doctor",
        "enable --now golden-nightly.timer",
    ]
    order = [recipe.index(step) for step in steps]
    assert order == sorted(order)
    home = next(v for v in values(SERVICE, "Environment") if v.startswith("HOME="))
    assert f"--home-dir {home.removeprefix('HOME=')} --create-home" in recipe
    (place,) = values(SERVICE, "WorkingDirectory")
    assert place in recipe
    for folder in ("GOLDEN_OUTPUT", "GOLDEN_CACHE"):
        (value,) = (v for v in values(SERVICE, "Environment") if v.startswith(folder))
        assert value.partition("=")[2] in recipe, folder


@needs("systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With the checkout where they say it is."""
    (tmp_path / "place").symlink_to(ROOT)
    for unit in (SERVICE, TIMER):
        text = unit.read_text().replace(PLACE, str(tmp_path / "place"))
        (tmp_path / unit.name).write_text(text)
    paths = [tmp_path / unit.name for unit in (SERVICE, TIMER)]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths],
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "golden-nightly" in line]
    assert said == []
    when = values(TIMER, "OnCalendar")[0]
    assert "Next elapse" in run(["systemd-analyze", "calendar", when], deadline=30).output


@needs("systemd-analyze")
def test_the_service_is_exposed_little() -> None:
    run(["systemd-analyze", "security", "--offline=yes", "--threshold=40", SERVICE], deadline=30)


# The script that proposes


class Forge:
    """A repository with a remote, and a gh that notes what it is told."""

    def __init__(self, folder: Path) -> None:
        self.remote, self.root = folder / "remote.git", folder / "check out"
        self.log, self.open = folder / "gh.log", folder / "open"
        self.said = folder / "refresh.txt"
        self.env = {
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        (folder / "bin").mkdir()
        gh = folder / "bin" / "gh"
        gh.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$*" >> "{self.log}"\n'
            f'case "$1 $2" in\n"pr list") [ -e "{self.open}" ] && echo 1 || echo 0 ;;\n'
            f'"pr create") touch "{self.open}" ;;\nesac\n'
        )
        gh.chmod(0o755)
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.remote), at=folder)
        self.git("clone", "--quiet", str(self.remote), str(self.root), at=folder)
        (self.root / "ci").mkdir()
        shutil.copy(ROOT / "ci" / "propose", self.root / "ci" / "propose")
        self.write("1")
        self.commit("somebody@example.org", "Pins", "HEAD:main")

    def git(self, *words: str, at: Path | None = None) -> str:
        return subprocess.run(
            ["git", *words], cwd=at or self.root, env=self.env, check=True, text=True,
            capture_output=True,
        ).stdout  # fmt: skip

    def write(self, version: str) -> None:
        (self.root / "checksums").mkdir(exist_ok=True)
        (self.root / "checksums" / "virtio-win.yaml").write_text(f"version: {version}\n")
        (self.root / "checksums" / "winfsp.yaml").write_text("version: 1\n")

    def commit(self, mail: str, subject: str, target: str) -> None:
        self.git("add", ".")
        who = ["-c", "user.name=x", "-c", f"user.email={mail}"]
        self.git(*who, "commit", "--quiet", "-m", subject)
        self.git("push", "--quiet", "--force", "origin", target)

    def night(self, version: str) -> str:
        """Start from main again, as a runner does, and propose what the refresh has left."""
        self.git("switch", "--quiet", "--detach", "origin/main")
        self.write(version)
        self.said.write_text(f"virtio-win: 1 → {version}\n  because it is listed\n")
        self.log.write_text("")
        return subprocess.run(
            [self.root / "ci" / "propose", self.said], cwd="/", env=self.env, check=True,
            text=True, capture_output=True,
        ).stdout  # fmt: skip

    def told(self) -> list[str]:
        return [" ".join(line.split()[:2]) for line in self.log.read_text().splitlines()]

    def proposed(self) -> str:
        return self.git("show", "--format=%s%n%b", "nightly/pins", at=self.remote)


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


@needs("git")
def test_nothing_changed_nothing_proposed(forge: Forge) -> None:
    assert forge.night("1") == "no pin has changed\n"
    assert forge.told() == []
    assert "nightly/pins" not in forge.git("branch", at=forge.remote)


@needs("git")
def test_a_changed_pin_is_one_commit_and_one_pull_request_with_the_reason(forge: Forge) -> None:
    forge.night("2")
    shown = forge.proposed()
    assert shown.startswith("Pins: virtio-win\nvirtio-win: 1 → 2\n")
    assert "-version: 1\n+version: 2" in shown
    assert forge.git("rev-list", "--count", "main..nightly/pins", at=forge.remote) == "1\n"
    assert forge.told() == ["auth setup-git", "pr list", "pr create"]
    assert "winfsp" not in shown


@needs("git")
def test_the_next_night_repeats_nothing_and_updates_what_is_newer(forge: Forge) -> None:
    forge.night("2")
    before = forge.git("rev-parse", "nightly/pins", at=forge.remote)
    assert "proposed already" in forge.night("2")
    assert forge.told() == ["auth setup-git"]
    assert forge.git("rev-parse", "nightly/pins", at=forge.remote) == before
    forge.night("3")
    assert forge.told() == ["auth setup-git", "pr list", "pr edit"]
    assert "+version: 3" in forge.proposed()
    assert forge.git("rev-list", "--count", "main..nightly/pins", at=forge.remote) == "1\n"


@needs("git")
def test_somebodys_own_work_on_the_branch_is_left_alone(forge: Forge) -> None:
    forge.night("2")
    forge.git("fetch", "--quiet", "origin", "nightly/pins")
    forge.git("switch", "--quiet", "--detach", "FETCH_HEAD")
    (forge.root / "images").mkdir()
    (forge.root / "images" / "x.yaml").write_text("edition: new\n")
    forge.commit("somebody@example.org", "The images follow", "HEAD:nightly/pins")
    assert "left alone" in forge.night("3")
    assert forge.proposed().startswith("The images follow")
