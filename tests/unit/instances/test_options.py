"""What may be asked of an instance: names, shares, keys, and what a share may never show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import Size
from pipeline.instances import options
from pipeline.instances.instance import Home, Instance
from pipeline.instances.options import Options
from pipeline.machine.spec import Share
from tests.unit.instances.samples import WINDOWS, publish, workspace


@pytest.mark.parametrize("name", ["a", "windows-11", "x" * 40])
def test_names(name: str) -> None:
    assert options.check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a/b", "..", ".a", "a b", "x" * 41, "a\n"])
def test_names_that_would_not_do_as_folder_or_host(name: str) -> None:
    with pytest.raises(PipelineError, match="can't be called"):
        options.check_name(name)


def test_a_share_has_a_tag_of_its_own_or_the_usual_one(tmp_path: Path) -> None:
    odd = tmp_path / "with:colon"
    odd.mkdir()
    assert options.parse_share("/data") == Share(Path("/data"))
    assert options.parse_share("/data:work") == Share(Path("/data"), "work")
    assert options.parse_share(str(odd)) == Share(odd)
    assert options.parse_share(f"{odd}:work") == Share(odd, "work")
    assert options.parse_share("/data:not a tag") == Share(Path("/data:not a tag"))
    assert options.parse_share("here").directory == Path.cwd() / "here"


def test_what_is_asked_for_replaces_what_was_and_is_said_in_words() -> None:
    asked = Options(share="/data:work", memory=Size(8 << 30), cpus=4, port=2222)
    after = options.apply(WINDOWS, asked)
    assert (after.memory, after.cpus, after.port, after.fixed) == (8 << 30, 4, 2222, True)
    assert list(options.changes(WINDOWS, after)) == [
        "memory 4G -> 8G",
        "cpus 2 -> 4",
        "port 0 -> 2222",
        "share none -> /data (work)",
    ]
    assert list(options.changes(after, options.apply(after, Options()))) == []
    assert options.apply(after, Options(share="none")).share is None


@pytest.mark.parametrize(
    "asked", [Options(cpus=0), Options(cpus=256), Options(port=0), Options(port=65536)]
)
def test_values_that_are_none(asked: Options) -> None:
    with pytest.raises(PipelineError, match="a number from"):
        options.apply(WINDOWS, asked)


def sharing(home: Home, folder: Path) -> Instance:
    """An instance on a published version that lies outside of the output folder."""
    disk = home.workspace.root.parent / "store" / "sample" / "1" / "disk.qcow2"
    return replace(WINDOWS, disk=disk, share=Share(folder))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(workspace(tmp_path), "one")
    made.folder.mkdir(parents=True)
    publish(tmp_path / "store", "sample", "1")
    return made


@pytest.mark.parametrize(
    "shared",
    [
        "",
        "store",
        "store/sample/1",
        "root",
        "out put",
        "out put/instances",
        "out put/instances/one",
    ],
)
def test_i5_a_share_that_contains_image_product_or_instance_is_refused(
    home: Home, tmp_path: Path, shared: str
) -> None:
    with pytest.raises(PipelineError, match=r"one: .*shared folder .* (contains|lies within)"):
        options.check_share(home, replace(sharing(home, tmp_path / shared), name="one"))


def test_i5_nor_through_a_link_nor_within_what_is_produced(home: Home, tmp_path: Path) -> None:
    link, within = tmp_path / "link", home.workspace.output / "publish" / "other"
    within.mkdir(parents=True)
    link.symlink_to(tmp_path / "store")
    with pytest.raises(PipelineError, match="contains"):
        options.check_share(home, sharing(home, link))
    with pytest.raises(PipelineError, match="lies within"):
        options.check_share(home, sharing(home, within))


def test_i5_a_share_that_contains_the_users_private_key_is_refused(
    home: Home, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    mine = replace(sharing(home, keys), user_key=keys / "id")
    with pytest.raises(PipelineError, match="contains"):
        options.check_share(home, mine)


def test_a_folder_made_for_it_is_shared(home: Home, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    options.check_share(home, sharing(home, tmp_path / "mine"))
    with pytest.raises(PipelineError, match="does not exist"):
        options.check_share(home, sharing(home, tmp_path / "absent"))


def test_the_public_half_of_a_key_is_found_from_either_half(tmp_path: Path) -> None:
    private, public = tmp_path / "id", tmp_path / "id.pub"
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(PipelineError, match="ssh-keygen -y"):
        options.public_key(private)
    public.write_text("ssh-ed25519 AAAA me\n")
    assert options.public_key(private) == options.public_key(public) == "ssh-ed25519 AAAA me"
    with pytest.raises(PipelineError, match="no SSH key"):
        options.public_key(tmp_path / "absent")
