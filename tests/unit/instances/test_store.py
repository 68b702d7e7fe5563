"""Instances as folders: made whole, kept, changed by rule, removed; the image below left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.answers.disc import read_disc
from pipeline.definitions.model import Firmware
from pipeline.definitions.rules import HostName
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import sha256_file
from pipeline.foundation.process import run
from pipeline.foundation.units import Size
from pipeline.instances import instance as records
from pipeline.instances import options, state, store
from pipeline.instances.instance import Home, Instance, NoInstance
from pipeline.instances.options import Options
from pipeline.machine.spec import Share
from pipeline.publishing.local import Published
from tests.tools import needs
from tests.unit.instances.samples import WINDOWS, made, publish_real, workspace

NAMES = st.from_regex(options.NAME, fullmatch=True)


@pytest.fixture
@needs("qemu-img")
def base(tmp_path: Path) -> Published:
    return Published.of(publish_real(tmp_path / "store"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(workspace(tmp_path), "one")


@given(
    st.builds(
        Instance,
        name=NAMES,
        disk=st.just(Path("/a/b c/disk.qcow2")),
        firmware=st.sampled_from(Firmware),
        memory=st.integers(1, 1 << 40).map(Size),
        share=st.none() | st.builds(Share, st.just(Path("/s")), st.text(min_size=1)),
        user_key=st.none() | st.just(Path("/k")),
    )
)
def test_a_record_is_read_as_it_was_written(instance: Instance) -> None:
    assert Instance.of(json.loads(json.dumps(instance.data()))) == instance


@given(NAMES, st.sampled_from(["golden", "a", "vm", "one"]))
def test_any_name_gives_a_host_name_that_windows_takes(name: str, user: str) -> None:
    host_name = store.host_name(name, user)
    (rule,) = get_args(HostName)[1:]
    assert rule.allows(host_name)
    assert host_name.lower() != user.lower()


def test_what_is_made_stands_on_the_image_and_leaves_it_alone(home: Home, base: Published) -> None:
    before = sha256_file(base.disk)
    instance = store.create(home, base, Options(memory=Size(2 << 30)))
    assert records.load(home) == instance
    assert (instance.memory, instance.cpus, instance.user) == (2 << 30, 2, "someone")
    said = json.loads(run(["qemu-img", "info", "--output=json", home.disk], deadline=20).output)
    assert said["backing-filename"] == str(base.disk.resolve())
    assert said["backing-filename-format"] == "qcow2"
    assert sha256_file(base.disk) == before == instance.sha256
    assert home.folder.stat().st_mode & 0o77 == 0
    assert home.key.stat().st_mode & 0o77 == 0
    assert [path.name for path in home.workspace.instances.iterdir()] == ["one"]


def test_the_disc_holds_public_keys_and_who_the_machine_is(
    home: Home, base: Published, tmp_path: Path
) -> None:
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAAmine me\n")
    store.create(home, base, Options(ssh_key=tmp_path / "id.pub"))
    files = read_disc(home.disc)
    own = (home.folder / "key.pub").read_text().strip()
    assert files["user-data"].decode() == (
        "#cloud-config\nhostname: one\nssh_authorized_keys:\n"
        f"  - {own}\n  - ssh-ed25519 AAAAmine me\n"
    )
    assert b"instance-id: one-" in files["meta-data"]
    assert b"PRIVATE" not in home.disc.read_bytes()


def test_two_instances_of_one_name_are_two_to_the_guest(home: Home, base: Published) -> None:
    store.create(home, base, Options())
    first = read_disc(home.disc)["meta-data"]
    store.remove(home)
    store.create(home, base, Options())
    assert read_disc(home.disc)["meta-data"] != first


def test_what_cannot_be_made_leaves_nothing(home: Home, base: Published, tmp_path: Path) -> None:
    for asked in (Options(share=str(tmp_path)), Options(ssh_key=tmp_path / "absent")):
        with pytest.raises(PipelineError):
            store.create(home, base, asked)
    assert store.homes(home.workspace) == []
    assert not home.folder.exists()


def test_what_a_killed_one_left_half_made_is_cleared(home: Home, base: Published) -> None:
    half = home.workspace.instances / ".one.new"
    half.mkdir(parents=True)
    (half / "disk.qcow2").write_bytes(b"half")
    assert store.homes(home.workspace) == []
    store.create(home, base, Options())
    assert [path.name for path in home.workspace.instances.iterdir()] == ["one"]


def test_i1_an_instance_whose_image_was_replaced_is_not_started(
    home: Home, base: Published
) -> None:
    instance = store.create(home, base, Options())
    store.check_base(instance)
    with pytest.raises(PipelineError, match="was replaced; starting would damage"):
        store.check_base(replace(instance, size=instance.size + 1))
    base.disk.unlink()
    with pytest.raises(PipelineError, match=r"stands on sample@.*, whose disk .* is gone"):
        store.check_base(instance)
    assert home.disk.exists()


def test_hardware_may_change_and_the_key_of_the_first_boot_may_not(home: Home) -> None:
    before = replace(WINDOWS, name="one", user_key=Path("/k"))
    after, words = store.change(home, before, Options(cpus=4, ssh_key=Path("/k")))
    assert (after.cpus, words) == (4, ["cpus 2 -> 4"])
    assert store.change(home, before, Options()) == (before, [])
    with pytest.raises(PipelineError, match="has had its first boot"):
        store.change(home, before, Options(ssh_key=Path("/other")))


def test_logs_of_this_run_and_the_one_before(home: Home) -> None:
    for run_number in range(3):
        store.rotate_logs(home)
        assert list(home.log.iterdir()) == []
        home.com1.write_text(f"run {run_number}")
    assert (home.earlier_log / "com1.log").read_text() == "run 1"


def test_a_running_instance_is_not_removed(tmp_path: Path) -> None:
    home = made(workspace(tmp_path), WINDOWS)
    with state.holding(home.supervised), pytest.raises(PipelineError, match="is running"):
        store.remove(home)
    assert home.record.exists()
    store.remove(home)
    assert list(home.workspace.instances.iterdir()) == []


def test_no_instance_and_a_broken_one(home: Home) -> None:
    with pytest.raises(NoInstance, match="there is no instance 'one'"):
        records.load(home)
    home.folder.mkdir(parents=True)
    for text in ("{}", "[]", "nonsense", '{"schema": 2}'):
        home.record.write_text(text)
        with pytest.raises(PipelineError, match="is not an instance of schema 1"):
            records.load(home)


def test_a_larger_disk_may_be_asked_for_and_a_smaller_one_never(
    home: Home, base: Published
) -> None:
    with pytest.raises(PipelineError, match=r"its disk has 1M already, and can only grow"):
        store.create(home, base, Options(disk=Size(1 << 19)))
    assert not home.folder.exists()
    made = store.create(home, base, Options(disk=Size(4 << 20)))
    assert store.disk_size(home) == 4 << 20
    assert store.change(home, made, Options(disk=Size(4 << 20))) == (made, [])
    assert store.change(home, made, Options(disk=Size(8 << 20))) == (made, ["disk 4M -> 8M"])
    assert store.disk_size(home) == 4 << 20
    store.grow(home, Options(disk=Size(8 << 20)))
    store.grow(home, Options())
    assert store.disk_size(home) == 8 << 20
    with pytest.raises(PipelineError, match="can only grow"):
        store.change(home, made, Options(disk=Size(4 << 20)))


def test_a_disk_that_takes_its_content_from_another_file_is_refused(
    home: Home, base: Published, tmp_path: Path
) -> None:
    """Whoever made it chose that file: the guest would read it."""
    (tmp_path / "id_rsa").write_bytes(bytes(1 << 20))
    base.disk.unlink()
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b"]
    run([*words, tmp_path / "id_rsa", base.disk], deadline=20)
    with pytest.raises(PipelineError, match=r"takes its content from other files: .*id_rsa"):
        store.create(home, replace(base, size=base.disk.stat().st_size), Options())
    assert not home.folder.exists()
