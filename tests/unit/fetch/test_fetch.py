"""fetch on good days: what lies where afterwards, and that nothing is done twice."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.definitions.model import Kind, Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Sha256
from pipeline.inputs import fetch as fetching
from pipeline.inputs.fetch import Policy, fetch, purge, verified
from pipeline.inputs.fetch_part import Part
from tests.servers import Server, Site
from tests.unit.fetch.conftest import MSI, MakePin, Recorder


@pytest.fixture
def fetched(server: Server, workspace: Workspace, make_pin: MakePin) -> Pin:
    pin = make_pin(server.url("a file.msi"))
    fetch(pin, workspace, Silent())
    return pin


@pytest.fixture
def unread(fetched: Pin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is fetched, nothing may be hashed or requested."""

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(fetching, "_hash", refuse)
    monkeypatch.setattr(fetching, "_client", refuse)
    monkeypatch.setattr(fetching, "Part", refuse)


def test_the_artifact_lies_under_its_digest(
    server: Server, workspace: Workspace, make_pin: MakePin
) -> None:
    pin = make_pin(server.url("winfsp-2.2.msi?token=secret"))
    path = fetch(pin, workspace, Silent())
    assert path == workspace.artifacts / str(pin.sha256) / "winfsp-2.2.msi"
    assert path.read_bytes() == MSI
    assert path.stat().st_mode & 0o777 == 0o444
    assert verified(pin, workspace) == path
    assert [p.name for p in workspace.partial.iterdir()] == [f"{pin.sha256}.lock"]


def test_the_receipt(server: Server, workspace: Workspace, make_pin: MakePin) -> None:
    pin = make_pin(server.url("winfsp-2.2.msi?token=secret"))
    path = fetch(pin, workspace, Silent())
    receipt = json.loads(workspace.fetch_receipt("winfsp").read_text())
    assert receipt["pin"] == "winfsp"
    assert receipt["version"] == "2.2"
    assert receipt["sha256"] == pin.sha256
    assert receipt["size"] == len(MSI)
    assert receipt["path"] == os.fspath(path)
    assert receipt["mtime_ns"] == path.stat().st_mtime_ns
    assert receipt["url"].startswith("http://127.0.0.1")
    assert receipt["seconds"] >= 0
    assert receipt["fetched_at"].endswith("+00:00")
    assert "secret" not in json.dumps(receipt)


@pytest.mark.usefixtures("unread")
def test_nothing_verified_is_fetched_or_hashed_again(fetched: Pin, workspace: Workspace) -> None:
    receipt = workspace.fetch_receipt("winfsp")
    before = receipt.stat()
    assert fetch(fetched, workspace, Silent()).read_bytes() == MSI
    assert receipt.stat().st_mtime_ns == before.st_mtime_ns
    assert receipt.stat().st_ino == before.st_ino


@pytest.mark.usefixtures("unread")
def test_another_workspace_with_the_same_cache_profits(fetched: Pin, workspace: Workspace) -> None:
    first = workspace.fetch_receipt("winfsp").read_bytes()
    other = replace(workspace, output=workspace.output.with_name("second output"))
    assert fetch(fetched, other, Silent()) == verified(fetched, workspace)
    assert other.fetch_receipt("winfsp").read_bytes() == first


@pytest.mark.usefixtures("unread")
def test_a_lost_receipt_comes_back_byte_for_byte(fetched: Pin, workspace: Workspace) -> None:
    receipt = workspace.fetch_receipt("winfsp")
    before = receipt.read_bytes()
    receipt.unlink()
    fetch(fetched, workspace, Silent())
    assert receipt.read_bytes() == before


def test_an_end_right_after_the_rename_loses_nothing(
    server: Server,
    site: Site,
    workspace: Workspace,
    make_pin: MakePin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: Part) -> None:
        raise KeyboardInterrupt

    pin = make_pin(server.url())
    with monkeypatch.context() as patch:
        patch.setattr(Part, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(pin, workspace, Silent())
    path = verified(pin, workspace)
    assert path == fetch(pin, workspace, Silent())
    assert len(site.seen) == 1


def test_a_touched_artifact_is_hashed_but_not_fetched(
    fetched: Pin, workspace: Workspace, site: Site
) -> None:
    path = verified(fetched, workspace)
    assert path
    os.utime(path, ns=(1, 1))
    assert verified(fetched, workspace) is None
    assert fetch(fetched, workspace, Silent()) == path
    assert verified(fetched, workspace) == path
    assert len(site.seen) == 1


def test_a_damaged_artifact_is_fetched_again(
    fetched: Pin, workspace: Workspace, site: Site, progress: Recorder
) -> None:
    path = verified(fetched, workspace)
    assert path
    path.chmod(0o644)
    path.write_bytes(MSI[:-1] + b"!")
    assert fetch(fetched, workspace, progress).read_bytes() == MSI
    assert any("damaged" in event for event in progress.events)
    assert len(site.seen) == 2


def test_the_same_content_under_another_name_is_linked(
    fetched: Pin, workspace: Workspace, site: Site
) -> None:
    renamed = replace(fetched, urls=("http://127.0.0.1:1/renamed.msi",))
    path = fetch(renamed, workspace, Silent())
    assert (path.name, path.read_bytes()) == ("renamed.msi", MSI)
    assert len(site.seen) == 1


def test_a_size_that_the_pin_gets_wrong_later_is_said(fetched: Pin, workspace: Workspace) -> None:
    with pytest.raises(PipelineError, match="pin says 7 bytes"):
        fetch(replace(fetched, size=7), workspace, Silent())


def test_purge_forgets_everything(fetched: Pin, workspace: Workspace, site: Site) -> None:
    purge(fetched, workspace)
    assert verified(fetched, workspace) is None
    assert not (workspace.artifacts / str(fetched.sha256)).exists()
    assert not workspace.fetch_receipt("winfsp").exists()
    fetch(fetched, workspace, Silent())
    assert len(site.seen) == 2


def test_progress_tells_share_rate_and_time(
    server: Server, workspace: Workspace, make_pin: MakePin, progress: Recorder
) -> None:
    fetch(make_pin(server.url()), workspace, progress)
    assert progress.phases == ["downloading winfsp 2.2"]
    assert progress.updates[-1].startswith("520 B of 520 B (100 %), ")
    assert progress.updates[-1].endswith("left")
    assert "verified" in progress.ended[0]


def test_pins_that_can_not_be_fetched(workspace: Workspace, make_pin: MakePin) -> None:
    for pin, words in (
        (make_pin(made="medium"), "made by the rehearsal"),
        (make_pin(), "neither a URL nor a file"),
        (make_pin("http://127.0.0.1:1/x", sha256=None), "no SHA-256"),
    ):
        assert verified(pin, workspace) is None
        with pytest.raises(PipelineError, match=words):
            fetch(pin, workspace, Silent())


def test_a_cache_that_can_not_be_written_is_a_sentence(
    server: Server, workspace: Workspace, make_pin: MakePin
) -> None:
    workspace.cache.write_text("a file where the folder should be")
    with pytest.raises(PipelineError, match=r"/cache.*(while fetching winfsp)"):
        fetch(make_pin(server.url()), workspace, Silent())


class TestLocalFiles:
    """Pins with ``file``: hashed once, used where they lie."""

    @pytest.fixture
    def medium(self, tmp_path: Path) -> Path:
        path = tmp_path / "retail medium.msi"
        path.write_bytes(MSI)
        return path

    @pytest.fixture
    def pin(self, medium: Path, make_pin: MakePin) -> Pin:
        return make_pin(file=str(medium))

    def test_used_in_place(self, pin: Pin, medium: Path, workspace: Workspace) -> None:
        assert fetch(pin, workspace, Silent()) == medium
        assert verified(pin, workspace) == medium
        receipt = json.loads(workspace.fetch_receipt("winfsp").read_text())
        state = medium.stat()
        assert receipt["path"] == str(medium)
        assert receipt["size"] == state.st_size
        assert (receipt["mtime_ns"], receipt["inode"]) == (state.st_mtime_ns, state.st_ino)
        assert not list(workspace.cache.rglob("*.msi"))

    def test_hashed_once(
        self, pin: Pin, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fetch(pin, workspace, Silent())
        monkeypatch.setattr(fetching, "_hash", None)
        fetch(pin, replace(workspace, output=workspace.output / "other"), Silent())

    def test_a_replaced_file_is_noticed_even_with_its_times_kept(
        self, pin: Pin, medium: Path, workspace: Workspace
    ) -> None:
        fetch(pin, workspace, Silent())
        other = medium.with_name("other")
        other.write_bytes(MSI[:-1] + b"!")
        shutil.copystat(medium, other)
        other.replace(medium)
        assert verified(pin, workspace) is None
        with pytest.raises(PipelineError, match="SHA-256") as caught:
            fetch(pin, workspace, Silent())
        assert str(pin.sha256) in str(caught.value)
        assert "edition" in caught.value.hint

    def test_a_path_below_the_root(self, workspace: Workspace, make_pin: MakePin) -> None:
        workspace.root.mkdir()
        (workspace.root / "local.msi").write_bytes(MSI)
        pin = make_pin(file="local.msi")
        assert fetch(pin, workspace, Silent()) == workspace.root / "local.msi"

    def test_what_is_wrong_is_said(
        self, pin: Pin, medium: Path, workspace: Workspace, tmp_path: Path
    ) -> None:
        page = tmp_path / "page.iso"
        page.write_text("<html><title>Sign in</title>")
        for wrong, words in (
            (replace(pin, file=str(tmp_path / "absent")), "not a file on this host"),
            (replace(pin, file=str(tmp_path)), "not a file on this host"),
            (replace(pin, size=7), "the pin winfsp says 7"),
            (replace(pin, file=str(page), kind=Kind.ISO, size=None), 'web page titled "Sign in"'),
            (replace(pin, sha256=Sha256("0" * 64)), "the pin winfsp says\n    0000"),
        ):
            with pytest.raises(PipelineError, match=words):
                fetch(wrong, workspace, Silent())
            assert verified(wrong, workspace) is None

    def test_purge_leaves_the_file(self, pin: Pin, medium: Path, workspace: Workspace) -> None:
        fetch(pin, workspace, Silent())
        purge(pin, workspace)
        assert medium.read_bytes() == MSI
        assert verified(pin, workspace) is None
        assert not workspace.fetch_receipt("winfsp").exists()


def test_the_policy_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Policy().total = 1.0  # type: ignore[misc]
