"""First boot's discs: their labels, as Windows reads them, and what is on them.

``templates/guest/firstboot.ps1`` knows a NoCloud disc by its label alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.answers.disc import read_disc, write_disc
from pipeline.answers.first_boot import lima_disc, nocloud_disc
from tests.labels import labels

KEYS = ["ssh-ed25519 AAAAC3Nz ann", "ssh-ed25519 AAAAC3Nx bob"]


@pytest.fixture
def nocloud(tmp_path: Path) -> Path:
    path = tmp_path / "seed.iso"
    nocloud_disc(path, KEYS, "box-7", "i-1")
    return path


@pytest.fixture
def lima(tmp_path: Path) -> Path:
    path = tmp_path / "lima.iso"
    lima_disc(path, KEYS)
    return path


def test_a_nocloud_disc_is_called_cidata_on_both_sides(nocloud: Path) -> None:
    assert labels(nocloud) == {"iso9660": "cidata", "joliet": "cidata"}


def test_limas_disc_is_called_autounattend_on_both_sides(lima: Path) -> None:
    assert labels(lima) == {"iso9660": "autounattend", "joliet": "autounattend"}


def test_a_label_is_read_from_each_side_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.iso"
    write_disc(path, "cidata", {"a": b""})
    data = path.read_bytes()
    path.write_bytes(data.replace("cidata".encode("utf-16-be"), "other!".encode("utf-16-be")))
    assert labels(path) == {"iso9660": "cidata", "joliet": "other!"}


def test_the_keys_stand_in_both_files_of_a_nocloud_disc(nocloud: Path) -> None:
    files = read_disc(nocloud)
    user, meta = (yaml.safe_load(files[name]) for name in ("user-data", "meta-data"))
    assert user == {"hostname": "box-7", "ssh_authorized_keys": KEYS}
    assert meta == {"instance-id": "i-1", "local-hostname": "box-7", "public-keys": KEYS}
    assert files["user-data"].startswith(b"#cloud-config\n")


def test_limas_disc_has_a_key_a_line(lima: Path) -> None:
    files = read_disc(lima)
    assert files == {"ssh_authorized_keys": "".join(f"{key}\n" for key in KEYS).encode()}
