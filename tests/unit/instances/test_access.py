"""OpenSSH reads the configuration as it is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.foundation.process import run
from pipeline.instances import access
from pipeline.instances.instance import Home
from tests.tools import needs
from tests.unit.instances.samples import WINDOWS, made, workspace


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return made(workspace(tmp_path / "100% mine"), WINDOWS)


def test_the_first_host_key_is_pinned(home: Home) -> None:
    assert access.pinned(home) is None
    access.pin(home, "ssh-ed25519 AAAA")
    assert access.pinned(home) == "ssh-ed25519 AAAA"
    assert home.known_hosts.read_text() == "agent ssh-ed25519 AAAA\n"


@needs("ssh")
def test_openssh_understands_every_line(home: Home, tmp_path: Path) -> None:
    access.write_config(home, replace(WINDOWS, user_key=tmp_path / "my key"), 2222)
    output = run(["ssh", "-G", "-F", home.ssh_config, "agent"], deadline=20).output
    said = output.replace("%%", "%").splitlines()  # some options are shown expanded, some not
    assert {"hostname 127.0.0.1", "port 2222", "user golden", "hostkeyalias agent"} <= set(said)
    assert {"identitiesonly yes", "stricthostkeychecking true"} <= set(said)
    keys = [line for line in said if line.startswith("identityfile ")]
    assert keys == [f"identityfile {home.key}", f"identityfile {tmp_path / 'my key'}"]
    assert f"userknownhostsfile {home.known_hosts}" in said


def test_the_line_can_be_pasted(home: Home) -> None:
    assert access.ssh_line(home) == f"ssh -F '{home.ssh_config}' agent"
    assert access.ssh_command(home, "dir", "C:\\")[-2:] == ["dir", "C:\\"]
