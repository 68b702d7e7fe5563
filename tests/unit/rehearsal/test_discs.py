"""First-boot discs as the stand-in reads them: the well-formed and the others."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml as reference
from hypothesis import given
from hypothesis import strategies as st

from pipeline.answers.first_boot import nocloud_disc
from pipeline.rehearsal.guest import discs, linux
from pipeline.rehearsal.guest.winpath import Drives

READ_LABEL = linux.label
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE5leHQgdG8gbm90aGluZw ann@host"
OTHER = KEY.replace("5leHQ", "6leHQ")
CONFIG = f"""#cloud-config
hostname: 'proof'  # quoted
ssh_authorized_keys:
  - {KEY}
users:
  - name: ann
    groups: [Administrators]
    ssh_authorized_keys:
    - {OTHER}
  - name: bob
runcmd:
  - echo hello
  - [cmd, /c, echo, x]
"""


@pytest.fixture(autouse=True)
def _labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    label_all(monkeypatch, "CIDATA")


def label_all(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    """Every disc has this label."""
    monkeypatch.setattr(linux, "label", lambda disc: label)


def nocloud(
    root: Path, user: str, meta: str = "instance-id: i-1\nlocal-hostname: meta\n"
) -> Drives:
    """A drive with such a disc."""
    (root / "Meta-Data").write_text(meta)
    (root / "user-data").write_text(user)
    return Drives({"C": root / "none", "D": root})


def test_cloud_config(tmp_path: Path) -> None:
    found = discs.find(nocloud(tmp_path, CONFIG))
    assert (found.disc, found.instance, found.host_name) == ("nocloud", "i-1", "proof")
    assert found.keys == [KEY, OTHER]
    assert found.users == ["ann", "bob"]
    assert found.commands == ["echo hello", "cmd /c echo x"]
    assert found.errors == []


@pytest.mark.parametrize(
    "keys",
    [f"public-keys:\n  - {KEY}\n", f"public-keys:\n  0: {KEY}\n", f"public-keys: ['{KEY}']\n"],
)
def test_keys_of_the_meta_data(tmp_path: Path, keys: str) -> None:
    user = f"#cloud-config\nusers:\n  - name: ann\n    ssh-authorized-keys:\n      - {OTHER}\n"
    found = discs.find(nocloud(tmp_path, user, f"instance-id: i-1\n{keys}"))
    assert (found.keys, found.errors) == ([KEY, OTHER], [])


def test_the_small_yaml_agrees_with_a_real_one() -> None:
    expected = reference.safe_load(CONFIG)
    assert discs.yaml(CONFIG) == expected


@pytest.mark.parametrize(
    ("user", "error"),
    [
        (f"#cloud-config\nssh_authorized_keys:\n  - {KEY}\nnonsense\n", "malformed"),
        (f"#cloud-config\nssh_authorized_keys:\n  - {KEY}\n  - hello\n", "not a public key"),
        (f"#cloud-config\nhostname: '12'\nssh_authorized_keys:\n  - {KEY}\n", "not a host name"),
        (f"ssh_authorized_keys:\n  - {KEY}\n", "neither #cloud-config nor #ps1"),
    ],
)
def test_keys_survive_whatever_else_is_wrong(tmp_path: Path, user: str, error: str) -> None:
    found = discs.find(nocloud(tmp_path, user))
    assert found.keys == [KEY]
    assert error in found.errors[0]


def test_a_script_is_noted(tmp_path: Path) -> None:
    assert discs.find(nocloud(tmp_path, "#ps1\nexit 0\n")).scripts == ["user-data"]


def test_limas_disc_is_known_by_its_keys_or_its_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "provision.system").mkdir()
    (tmp_path / "provision.system/00000000").write_text("one")
    drives = Drives({"D": tmp_path})
    label_all(monkeypatch, "autounattend")
    assert (discs.find(drives).disc, discs.find(drives).keys) == ("lima", [])
    (tmp_path / "ssh_authorized_keys").write_text(f"# comment\n{KEY}\n")
    label_all(monkeypatch, "")
    found = discs.find(drives)
    assert (found.disc, found.keys) == ("lima", [KEY])
    assert found.scripts == ["provision.system/00000000"]
    (tmp_path / "provision.system/00000000").write_text("another")
    assert discs.find(drives).instance != found.instance


@pytest.mark.parametrize(("label", "disc"), [("cidata", "nocloud"), ("cidat", "none")])
def test_the_label_makes_a_disc_nocloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str, disc: str
) -> None:
    label_all(monkeypatch, label)
    assert discs.find(nocloud(tmp_path, CONFIG)).disc == disc


def test_the_label_of_a_disc_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nocloud_disc(tmp_path / "seed.iso", [KEY], "proof", "i-1")
    real = Path
    monkeypatch.setattr(
        linux, "Path", lambda name: tmp_path / "seed.iso" if name == "/dev/sr0" else real(name)
    )
    assert READ_LABEL("sr0") == "cidata"
    assert READ_LABEL("absent") == ""


def test_no_disc(tmp_path: Path) -> None:
    assert discs.find(Drives({"C": tmp_path})).disc == "none"


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(ValueError):
        discs.yaml(text)
