"""The wrapper: what it says where it may not install, and that it is a sound shell script."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.foundation.paths import ROOT
from pipeline.foundation.process import run
from tests.tools import needs

BASIC = ("sh", "dirname", "sed", "sort", "tr", "cmp", "cat", "env", "ls")
MANAGERS = {
    "apt-get": "sudo apt-get install --no-install-recommends",
    "dnf": "sudo dnf install",
    "zypper": "sudo zypper install",
    "pacman": "sudo pacman -S --needed",
}


def bare_host(folder: Path, manager: str) -> dict[str, str]:
    """A PATH with the basic tools, one package manager, and a user who is not root."""
    tools = folder / "bin"
    tools.mkdir()
    for name in BASIC:
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    for name, body in {"id": "echo 1000", "sudo": "exit 1", "apt-cache": "exit 1"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    (tools / manager).write_text("#!/bin/sh\necho INSTALLED >&2; exit 9\n")
    (tools / manager).chmod(0o755)
    return {"PATH": str(tools)}


def wrapper(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a copy of the wrapper in a checkout whose path has a space, from elsewhere."""
    checkout = folder / "check out"
    checkout.mkdir()
    shutil.copy(ROOT / "doitw", checkout)
    return subprocess.run(
        [checkout / "doitw", "list"], cwd="/", env=environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("manager", MANAGERS)
def test_where_it_may_not_install_it_prints_the_command(tmp_path: Path, manager: str) -> None:
    done = wrapper(tmp_path, bare_host(tmp_path, manager))
    assert done.returncode == 3
    assert MANAGERS[manager] in done.stderr
    assert "qemu" in done.stderr
    assert "INSTALLED" not in done.stderr


def test_on_debian_12_virtiofsd_is_part_of_another_package(tmp_path: Path) -> None:
    done = wrapper(tmp_path, bare_host(tmp_path, "apt-get"))
    if not any(os.access(path, os.X_OK) for path in ("/usr/libexec/virtiofsd",
                                                     "/usr/lib/qemu/virtiofsd")):  # fmt: skip
        assert "qemu-system-common" in done.stderr
    assert " virtiofsd" not in done.stderr


@needs("shellcheck")
def test_shellcheck_is_silent() -> None:
    scripts = [
        ROOT / "doitw",
        ROOT / ".ci" / "run",
        ROOT / "ci" / "propose",
        ROOT / "ci" / "as-nightly",
    ]
    run(["shellcheck", *scripts], deadline=60)
