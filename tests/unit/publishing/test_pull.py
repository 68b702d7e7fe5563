"""Pulling as it should go: once, resumed, shared by two, warned about, and never over a disk."""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.waiting import wait_until
from pipeline.inputs.fetch_mirrors import Policy
from pipeline.publishing import catalog, local, signature, withdrawn
from pipeline.publishing.catalog import Catalog
from pipeline.publishing.pull import Options, Pulled, Wanted, choose, pull
from pipeline.publishing.refusals import PullFailed
from pipeline.publishing.stores.opening import open_store
from pipeline.publishing.trust import Anchors, RolledBack, Trust
from tests import services
from tests.hostile import Handler, Shop

DISK = os.urandom(3 << 20)
QUICK = Options(policy=Policy(retries=0))


class Told(Silent):
    """Keeps what is worth a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, text: str) -> None:
        self.lines.append(text)


@dataclass
class World:
    base: Path
    key: Path

    @property
    def published(self) -> Path:
        return self.base / "store"

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.base, self.base / "output", self.base / "cache")

    def pull(
        self, place: str, wanted: str = "toy", options: Options = QUICK, told: Told | None = None
    ) -> Pulled:
        anchors = Anchors(fingerprints=(services.fingerprint(self.key),))
        trust = Trust(place, self.workspace, anchors)
        progress = told or Told()
        with open_store(place, self.base, progress.event) as store:
            return pull(store, Wanted.parse(wanted), self.workspace, trust, progress, options)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, services.signing_key(tmp_path / "keys"))
    services.publish(made.published, made.key, disk=DISK)
    return made


class Counting(Shop):
    """Counts what is asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def finish_request(self, request: object, client_address: object) -> None:
        counting = self

        class Noting(Handler):
            def do_GET(self) -> None:
                counting.asked.append(self.path)
                super().do_GET()

        Noting(request, client_address, self)  # type: ignore[arg-type]


def test_what_is_there_is_not_transferred_again(world: World) -> None:
    with Counting(world.published) as shop:
        first = world.pull(shop.url)
        assert first.fresh
        assert (first.folder / "disk.qcow2").read_bytes() == DISK
        assert all(path.stat().st_mode & 0o222 == 0 for path in first.folder.iterdir())
        shop.asked.clear()
        again = world.pull(shop.url)
        assert again == replace(first, fresh=False)
        assert sorted(shop.asked) == ["/index.json", "/index.json.sig"]


def _pull(base: Path, place: str) -> None:
    World(base, base / "keys" / "key").pull(place)


def test_two_at_once_share_one_transfer(world: World) -> None:
    with Counting(world.published) as shop:
        both = [
            multiprocessing.Process(target=_pull, args=(world.base, shop.url)) for _ in range(2)
        ]
        for one in both:
            one.start()
        for one in both:
            one.join(60)
        assert [one.exitcode for one in both] == [0, 0]
        assert len([path for path in shop.asked if path.endswith("disk.qcow2")]) == 1


def test_a_killed_pull_goes_on(world: World) -> None:
    """The server holds the disk back after a part; the pull is killed; the rest follows."""
    path = f"/toy/{services.VERSION}/disk.qcow2"
    ranges: list[str | None] = []

    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DISK)))
        handler.end_headers()
        handler.wfile.write(DISK[: 1 << 20])
        handler.wfile.flush()
        handler.rfile.read(1)

    def rest(handler: Handler) -> None:
        ranges.append(handler.headers.get("Range"))
        start = int(str(ranges[-1]).removeprefix("bytes=").removesuffix("-"))
        extent = f"bytes {start}-{len(DISK) - 1}/{len(DISK)}"
        handler.answer(DISK[start:], 206, Content_Range=extent)

    with Shop(world.published) as shop:
        shop.replies[path] = half
        pulling = multiprocessing.get_context("fork").Process(
            target=_pull, args=(world.base, shop.url)
        )
        pulling.start()
        part = world.workspace.partial / f"{services.entry(disk=DISK).sha256}.part"
        wait_until("a part", lambda: part.exists() and part.stat().st_size == 1 << 20, 30, 0.01)
        assert pulling.pid
        os.kill(pulling.pid, signal.SIGKILL)
        pulling.join(10)
        assert not list(world.workspace.pulled.glob("*/[!.]*"))
        shop.replies[path] = rest
        folder = world.pull(shop.url).folder
    assert ranges == [f"bytes={1 << 20}-"]
    assert (folder / "disk.qcow2").read_bytes() == DISK
    assert not list(world.workspace.partial.glob("*.part"))


def test_another_version_of_that_name_is_left_alone(world: World) -> None:
    folder = world.pull("store").folder
    manifest = json.loads((folder / "manifest.json").read_text())
    shutil.rmtree(world.published / "toy")
    services.publish(world.published, world.key, disk=DISK[::-1])
    with pytest.raises(PullFailed, match="is another toy"):
        world.pull("store")
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert (folder / "disk.qcow2").read_bytes() == DISK


@pytest.mark.parametrize(
    ("days", "said"), [(-3, "ended on"), (3, "ends in 2 days"), (40, ""), (None, "")]
)
def test_it_warns_before_the_evaluation_ends(world: World, days: int | None, said: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    ends = None if days is None else now + datetime.timedelta(days=days)
    text = None if ends is None else ends.strftime("%Y-%m-%dT%H:%M:%SZ")
    shutil.rmtree(world.published)
    one = services.entry(disk=DISK, expires_at=text)
    services.publish(world.published, world.key, one, DISK)
    told = Told()
    assert world.pull("store", told=told).fresh
    warnings = [line for line in told.lines if line.startswith("warning")]
    assert bool(warnings) == bool(said)
    assert said in "".join(warnings)


def test_a_withdrawn_version_needs_force(world: World) -> None:
    index = world.published / catalog.INDEX
    key = world.key

    def sign(file: Path) -> Path:
        return signature.sign(file, key)

    def yanked(found: Catalog) -> Catalog:
        return catalog.mark(found, "toy", services.VERSION, yanked=True)

    catalog.change(index, yanked, sign)
    wanted = f"toy@{services.VERSION}"
    with pytest.raises(PullFailed, match="withdrawn") as said:
        world.pull("store", wanted)
    assert said.value.exit_code == 28
    told = Told()
    assert world.pull("store", wanted, replace(QUICK, force=True), told).fresh
    assert any("withdrawn" in line for line in told.lines)


def test_the_newest_is_the_newest_that_is_offered() -> None:
    found = Catalog().of(
        "toy",
        [
            services.entry("26100.1-20261123.9"),
            services.entry("26100.1-20261123.10"),
            services.entry("26100.1-20261123.11", yanked=True),
        ],
    )
    for text in ("toy", "toy@latest", "toy@"):
        assert choose(found, Wanted.parse(text), "here").version.endswith(".10")
    with pytest.raises(PullFailed) as said:
        choose(found, Wanted("toy", "7"), "here")
    assert said.value.exit_code == 29
    assert "26100.1-20261123.9" in said.value.hint


def test_leftovers_of_another_state_do_not_come_along(world: World) -> None:
    stray = world.workspace.pulled / "toy" / f".{services.VERSION}.part" / "stray"
    stray.parent.mkdir(parents=True)
    stray.write_text("from an earlier attempt")
    folder = world.pull("store").folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS", "SHA256SUMS.sig", "disk.qcow2", "manifest.json", "report.html",
    ]  # fmt: skip


def test_a_disk_that_refuses_is_a_sentence(world: World) -> None:
    world.workspace.cache.mkdir()
    world.workspace.pulled.write_text("in the way")
    with pytest.raises(PullFailed, match="images") as said:
        world.pull("store")
    assert said.value.exit_code == 1


def test_every_signer_is_remembered(world: World) -> None:
    """The catalog by one key, the version by another, both allowed: later no option is needed."""
    other = services.signing_key(world.base / "keys", "other")
    folder = world.published / "toy" / services.VERSION
    services.write_sums(folder, other)
    allowed = world.base / "allowed"
    lines = [
        signature.allowed_signers_line(signature.public_key(key)) for key in (world.key, other)
    ]
    allowed.write_text("\n".join([*lines, ""]))
    for anchors in (Anchors(allowed=allowed), Anchors()):
        shutil.rmtree(world.workspace.pulled, ignore_errors=True)
        trust = Trust("store", world.workspace, anchors)
        with open_store("store", world.base, print) as store:
            wanted = Wanted("toy")
            assert pull(store, wanted, world.workspace, trust, Silent(), QUICK).fresh


def test_a_store_that_has_lost_its_catalog_is_not_an_empty_one(world: World) -> None:
    place = str(world.published)
    with pytest.raises(PullFailed, match="has no catalog") as never:
        world.pull(str(world.base / "never seen"))
    assert never.value.exit_code == 29
    world.pull(place)
    world.published.rename(world.base / "away")
    with pytest.raises(RolledBack, match="has no catalog, although") as said:
        world.pull(place)
    assert said.value.exit_code == 25
    assert "mounted" in said.value.hint
    Path(said.value.hint.rpartition("remove ")[2]).unlink()
    with pytest.raises(PullFailed):
        world.pull(place)


def test_what_a_store_withdraws_is_not_launched_any_more(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read again, the store says so; and it says so, too, when it offers the version again."""
    place, index = str(world.published), world.published / catalog.INDEX
    second = services.entry("26100.1-20261123.2", DISK)
    services.publish(world.published, world.key, second, DISK)
    sign = lambda file: signature.sign(file, world.key)  # noqa: E731
    for wanted in ("toy@26100.1-20261123.1", "toy"):
        complete(world.pull(place, wanted).folder)
    assert local.find("toy", world.workspace).version == second.version

    def marked(*, yanked: bool) -> None:
        how = partial(catalog.mark, image="toy", version=second.version, yanked=yanked)
        catalog.change(index, how, sign)

    marked(yanked=True)
    assert world.pull(place).entry.version.endswith(".1")
    assert local.find("toy", world.workspace).version.endswith(".1")
    assert capsys.readouterr().err == ""
    assert local.find(f"toy@{second.version}", world.workspace).version == second.version
    assert f"was withdrawn in {place}" in capsys.readouterr().err
    marked(yanked=False)
    world.pull(place)
    assert local.find("toy", world.workspace).version == second.version


def test_a_withdrawn_version_that_was_insisted_on_is_remembered_as_such(world: World) -> None:
    index, place = world.published / catalog.INDEX, str(world.published)
    sign = lambda file: signature.sign(file, world.key)  # noqa: E731
    how = partial(catalog.mark, image="toy", version=services.VERSION, yanked=True)
    catalog.change(index, how, sign)
    wanted = f"toy@{services.VERSION}"
    complete(world.pull(place, wanted, replace(QUICK, force=True)).folder)
    with pytest.raises(PipelineError, match="no published version"):
        local.find("toy", world.workspace)
    assert local.find(wanted, world.workspace).version == services.VERSION


def test_another_version_of_that_name_is_not_meant(world: World) -> None:
    world.pull(str(world.published))
    other = Catalog(9, {"toy": (services.entry(disk=b"another", yanked=True),)})
    withdrawn.remember("elsewhere", other, world.workspace)
    assert withdrawn.by("toy", services.VERSION, world.workspace) == []


def complete(folder: Path) -> None:
    """What launching asks of a manifest, besides what a made-up one says."""
    path = folder / "manifest.json"
    told = json.loads(path.read_text())
    machine = {"firmware": "uefi", "cpus": 2, "memory": 1 << 30, "tpm": True, "secure_boot": True}
    more = {"title": "Toy", "machine": machine, "built_at": "2026-11-23T10:00:00Z"}
    told["disk"] |= {"virtual_size": 1 << 20}
    path.chmod(0o644)
    path.write_text(json.dumps(told | more))
