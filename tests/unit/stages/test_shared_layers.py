"""Layers that hosts share: pulled instead of made, made once by two, refused when they are bad."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.definitions.model import Drivers, Image, Release, Settings
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import run
from pipeline.foundation.units import Size
from pipeline.inputs.fetch_types import HttpError, Undelivered
from pipeline.machine import image as qemu_img
from pipeline.publishing.signature import ensure_key
from pipeline.publishing.stores.directory import DirectoryStore
from pipeline.stages import layers
from pipeline.stages.build import Build, Made, Stage, Work
from pipeline.stages.plan import Examined, State, decide, examine
from pipeline.stages.receipts import Receipt
from pipeline.stages.runner import obtain_stage, run_stage

DISK = "disk.qcow2"


class Heard:
    """A progress that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def phase(self, name: str, expected: float | None = None) -> None:
        self.events.append(name)

    def update(self, detail: str) -> None:
        pass

    def event(self, text: str) -> None:
        self.events.append(text)

    def done(self, text: str = "") -> None:
        pass

    def said(self, part: str) -> bool:
        return any(part in event for event in self.events)


@dataclass(frozen=True)
class ToyStage(Stage):
    """A stage whose work is done by its host."""

    host: Any = None

    def make(self, work: Work) -> Made:
        return self.host.make(self.name, work)  # type: ignore[no-any-return]


class Host:
    """A build host with the toy graph ``cidata → install → provision``; the store is shared."""

    def __init__(self, root: Path, store: Path, key: Path | None = None) -> None:
        self.root = root
        workspace = Workspace(root, root / "output", root / "cache")
        image = Image("toy", "Toy", Release.SERVER_2025, "iso", "Edition", Drivers("d"), "w")
        settings = Settings(layers=str(store), signing_key=str(key) if key else None)
        self.build = Build(image, {}, settings, workspace)
        self.values = {"cidata": 1, "install": 1, "provision": 1}
        self.ran: list[str] = []
        self.heard = Heard()
        self.while_making: Callable[[], None] = lambda: None
        self.stages = [
            self.stage("cidata"),
            self.stage("install", stands_on=("cidata",)),
            self.stage("provision", stands_on=("install",), disks=("install",)),
        ]

    def stage(self, name: str, **more: Any) -> Stage:
        def inputs(_: Build, ids: Mapping[str, str]) -> dict[str, Any]:
            return {"value": self.values[name], **{n: ids[n] for n in more.get("stands_on", ())}}

        return ToyStage(name=name, title=name, inputs=inputs, host=self, **more)

    def make(self, name: str, work: Work) -> Made:
        self.ran.append(name)
        self.while_making()
        disk = work.folder / DISK
        if name == "provision":
            qemu_img.overlay(disk, work.upstream("install") / DISK)
        else:
            qemu_img.create(disk, Size(1 << 20))
        return Made((DISK,), facts={"host_key": "ssh-ed25519 AAAA"})

    def item(self, name: str) -> Examined:
        return next(i for i in examine(self.build, self.stages) if i.stage.name == name)

    def obtain(self, name: str = "provision") -> bool:
        return obtain_stage(self.build, name, self.stages, self.heard)

    def run(self) -> list[str]:
        """As the task graph does it: what can't be had is made, after what it needs."""
        self.ran = []
        for stage in self.stages[1:]:
            if not self.obtain(stage.name):
                if stage.name == "install":
                    run_stage(self.build, "cidata", self.stages, self.heard)
                run_stage(self.build, stage.name, self.stages, self.heard)
        return self.ran

    def plan(self) -> list[State]:
        def shared(item: Examined) -> str:
            found = layers.find(self.build, item, self.heard)
            return layers.place(self.build, item.stage.name) if found else ""

        return [d.state for d in decide(self.build, self.stages, shared)]

    def bundle(self, store: Path, name: str) -> Path:
        return store / "layers" / f"{name}-{self.item(name).id}"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "the store"


@pytest.fixture
def hosts(tmp_path: Path, store: Path) -> tuple[Host, Host]:
    return Host(tmp_path / "first", store), Host(tmp_path / "second", store)


def test_a_fresh_host_pulls_what_another_made(hosts: tuple[Host, Host], store: Path) -> None:
    first, second = hosts
    assert first.run() == ["cidata", "install", "provision"]
    assert second.plan() == [State.SKIP, State.PULL, State.PULL]
    assert second.run() == []
    assert second.plan() == [State.SKIP, State.CURRENT, State.CURRENT]
    for name in ("install", "provision"):
        ours, theirs = (host.build.folder(name) / DISK for host in (second, first))
        assert ours.read_bytes() == theirs.read_bytes()
    assert second.build.receipt("install").facts == {"host_key": "ssh-ed25519 AAAA"}  # type: ignore[union-attr]
    run(["qemu-img", "check", second.build.folder("provision") / DISK], deadline=10)
    assert list(store.rglob("*.part")) == []


def test_a_changed_step_pulls_the_disk_below_and_makes_only_the_layer(
    hosts: tuple[Host, Host],
) -> None:
    first, second = hosts
    first.run()
    second.values["provision"] = 2
    assert second.plan() == [State.SKIP, State.PULL, State.RUN]
    assert second.run() == ["provision"]


def test_a_layer_made_on_another_disk_is_not_taken(hosts: tuple[Host, Host], store: Path) -> None:
    """Two hosts that made install on their own have two disks; a layer fits only one of them."""
    first, second = hosts
    second.build = replace(second.build, settings=Settings())
    second.run()
    second.build = replace(second.build, settings=first.build.settings)
    first.run()
    shutil.rmtree(second.build.folder("provision"))
    assert second.run() == ["provision"]
    assert second.heard.said("it stands on another install than the one that is shared")
    shutil.rmtree(second.build.folder("install"))
    assert second.run() == []


def test_a_store_that_lost_a_disk_gets_it_again(hosts: tuple[Host, Host], store: Path) -> None:
    first, second = hosts
    first.run()
    shutil.rmtree(store)
    first.values["provision"] = second.values["provision"] = 2
    assert first.run() == ["provision"]
    assert second.run() == []


@pytest.mark.parametrize("name", ["install", "provision"])
def test_two_hosts_that_want_the_same_stage_make_it_once(
    hosts: tuple[Host, Host], name: str
) -> None:
    first, second = hosts
    begun, go_on = threading.Event(), threading.Event()

    def make() -> None:
        if first.ran[-1] == name:
            begun.set()
            assert go_on.wait(20)

    first.while_making = make
    one = threading.Thread(target=first.run)
    one.start()
    assert begun.wait(20)
    two = threading.Thread(target=second.run)
    two.start()
    while not second.heard.said(f"waiting: {name} is being made for all by"):
        assert two.is_alive()
    go_on.set()
    one.join(20)
    two.join(20)
    assert first.ran == ["cidata", "install", "provision"]
    # What comes after may be made by either, as whoever comes first takes it; never by both.
    assert name not in second.ran
    assert sorted([*first.ran, *second.ran]).count("install") == 1


def forge(path: Path, change: Any) -> None:
    path.chmod(0o644)
    data = json.loads(path.read_bytes())
    change(data)
    path.write_text(json.dumps(data))


def cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-10])


def put(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


BAD: dict[str, Callable[[Path], object]] = {
    "truncated": lambda folder: cut(folder / layers.ARCHIVE),
    "another archive": lambda folder: put(folder / layers.ARCHIVE, b"evil"),
    "another digest": lambda folder: forge(
        folder / layers.DOCUMENT, lambda d: d["receipt"]["outputs"][0].update(sha256="0" * 64)
    ),
    "another id": lambda folder: forge(
        folder / layers.DOCUMENT, lambda d: d["receipt"].update(id="0" * 64)
    ),
    "other inputs": lambda folder: forge(
        folder / layers.DOCUMENT, lambda d: d["receipt"]["inputs"].update(value=7)
    ),
    "a path that leads out": lambda folder: forge(
        folder / layers.DOCUMENT, lambda d: d["receipt"]["outputs"][0].update(path="../x")
    ),
    "no JSON": lambda folder: cut(folder / layers.DOCUMENT),
    "another schema": lambda folder: forge(folder / layers.DOCUMENT, lambda d: d.update(schema=2)),
}


def document(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    return lambda folder: forge(folder / layers.DOCUMENT, change)


def output(**fields: Any) -> Callable[[Path], object]:
    return document(lambda d: d["receipt"]["outputs"][0].update(fields))


def receipt(**fields: Any) -> Callable[[Path], object]:
    return document(lambda d: d["receipt"].update(fields))


# Each of these once ended the build with a traceback, or would have ended a later stage.
BAD |= {
    "a path that is no text": output(path=7),
    "a size that is no number": output(size="1"),
    "a size below zero": output(size=-1),
    "a size beyond any disk": output(size=10**400),
    "a truth value as a size": output(size=True),
    "a digest that is none": output(sha256="x"),
    "outputs that are no list": receipt(outputs={"path": "x"}),
    "an output twice": document(
        lambda d: d["receipt"]["outputs"].append(d["receipt"]["outputs"][0])
    ),
    "an output that is the archive": output(path=layers.ARCHIVE),
    "an archive that is no file": document(lambda d: d.update(archive=[])),
    "parents that are no mapping": receipt(parents=["install"]),
    "facts that are no lines": receipt(facts={"host_key": ["x"]}),
    "a key of more lines": receipt(facts={"host_key": "a\nb"}),
    "facts that lack the key": receipt(facts={}),
    "timings that are no numbers": receipt(timings={"total": "long"}),
    "timings without an end": receipt(timings={"total": float("nan")}),
    "timings without the whole": receipt(timings={}),
    "a moment that is none": receipt(finished_at="yesterday"),
    "a moment at the end of time": receipt(finished_at="9999-12-31T23:59:59Z"),
    "a moment that is a number": receipt(finished_at=5),
    "a run that is none": receipt(run=None),
    "a field that no receipt has": receipt(more=1),
    "a list": lambda folder: put(folder / layers.DOCUMENT, b"[]"),
    "too deep": lambda folder: put(folder / layers.DOCUMENT, b"[" * 200_000),
    "too long": lambda folder: put(folder / layers.DOCUMENT, b" " * (2 << 20)),
    "no text": lambda folder: put(folder / layers.DOCUMENT, b"\xff\xfe"),
    "no archive": lambda folder: (folder / layers.ARCHIVE).unlink(),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_layer_is_refused_and_made_anew(
    hosts: tuple[Host, Host], store: Path, kind: str
) -> None:
    first, second = hosts
    first.run()
    BAD[kind](first.bundle(store, "install"))
    assert second.run() == ["cidata", "install", "provision"]
    assert second.heard.said("refused layers/install-")
    assert not (second.root / "output" / "build" / "x").exists()
    # What was made takes the bad one's place: the next host is better off.
    third = Host(second.root.parent / "third", store)
    assert third.run() == []


Fault = Callable[[Host, pytest.MonkeyPatch], None]


def broken_off(_: Host, patch: pytest.MonkeyPatch) -> None:
    """The network fails while the archive comes."""

    def get(*_: Any) -> None:
        gone = HttpError("https://registry.example: connection reset", transient=True)
        raise Undelivered("no mirror delivered it", [gone])

    patch.setattr(DirectoryStore, "get", get)


def silent(_: Host, patch: pytest.MonkeyPatch) -> None:
    """The store answers nothing before the work, and everything after it."""
    documents, asked = DirectoryStore.documents, []

    def first_fails(store: DirectoryStore, *words: Any) -> Any:
        asked.append(words)
        if len(asked) <= 2:  # obtain, run
            raise HttpError("https://registry.example: 503", transient=True)
        return documents(store, *words)

    patch.setattr(DirectoryStore, "documents", first_fails)


def full(host: Host, patch: pytest.MonkeyPatch) -> None:
    """This host's disk has room for the work and not for what is pulled."""

    def refuse(folder: Path, needed: int, what: str) -> None:
        if what.startswith("the layer of"):
            raise PipelineError(f"{what} needs more than is free in {folder}")

    patch.setattr(layers, "require_space", refuse)


def unpacked_badly(_: Host, patch: pytest.MonkeyPatch) -> None:
    """The system refuses a file while the archive is unpacked."""

    def unpack(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    patch.setattr("pipeline.publishing.archive.unpack", unpack)


@pytest.mark.parametrize("fault", [broken_off, silent, full, unpacked_badly])
def test_what_fails_here_or_on_the_way_replaces_no_good_layer(
    hosts: tuple[Host, Host], store: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    first, second = hosts
    first.run()
    before = {path: path.stat().st_ino for path in store.rglob("layer.*")}
    assert len(before) == 6
    with monkeypatch.context() as patch:
        fault(second, patch)
        assert not second.obtain("install")
        run_stage(second.build, "cidata", second.stages, second.heard)
        assert run_stage(second.build, "install", second.stages, second.heard)
    assert not second.heard.said("refused")
    assert second.heard.said("stays as it is")
    assert {path: path.stat().st_ino for path in store.rglob("layer.*")} == before


def test_a_host_without_the_lease_replaces_nothing(
    hosts: tuple[Host, Host], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may be at it, and they would find their layer gone."""
    first, second = hosts
    first.run()
    folder = first.bundle(store, "install")
    put(folder / layers.ARCHIVE, b"evil")

    def lease(*_: Any) -> None:
        raise PipelineError("the registry refuses the lease")

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "lease", lease)
        assert second.run() == ["cidata", "install", "provision"]
        assert second.heard.said("install was not shared")
    assert (folder / layers.ARCHIVE).read_bytes() == b"evil"
    assert Host(second.root.parent / "third", store).run() == ["cidata", "install", "provision"]
    assert (folder / layers.ARCHIVE).read_bytes() != b"evil"


def test_a_good_layer_that_came_meanwhile_stays(hosts: tuple[Host, Host], store: Path) -> None:
    """What was bad hours ago need not be what is there now."""
    first, second = hosts
    first.run()
    folder = first.bundle(store, "install")
    good = {path: path.read_bytes() for path in folder.iterdir()}
    put(folder / layers.ARCHIVE, b"evil")
    forge(folder / layers.DOCUMENT, lambda d: d["archive"].update(size=4))

    def mended() -> None:
        if second.ran[-1] == "install":
            for path, data in good.items():
                put(path, data)

    second.while_making = mended
    assert second.run() == ["cidata", "install", "provision"]
    assert second.heard.said("refused layers/install-")
    assert {path: path.read_bytes() for path in folder.iterdir()} == good


def test_a_layer_that_grew_old_is_replaced(hosts: tuple[Host, Host], store: Path) -> None:
    first, second = hosts
    first.run()
    before = (first.bundle(store, "install") / layers.DOCUMENT).read_bytes()
    runs = {json.loads(before)["receipt"]["run"]}

    def worn(_: Build, receipt: Receipt) -> tuple[str, ...]:
        return ("old",) if receipt.run in runs else ()

    second.stages = [replace(stage, worn=worn) for stage in second.stages]
    assert second.run() == ["cidata", "install", "provision"]
    assert (second.bundle(store, "install") / layers.DOCUMENT).read_bytes() != before
    third = Host(second.root.parent / "third", store)
    assert third.run() == []


def test_a_disk_that_names_a_file_of_the_host_is_refused(
    hosts: tuple[Host, Host], store: Path, tmp_path: Path
) -> None:
    first, second = hosts
    secret = tmp_path / "secret.qcow2"
    qemu_img.create(secret, Size(1 << 20))
    first.make = lambda name, work: evil(name, work, secret)  # type: ignore[method-assign]
    run_stage(first.build, "cidata", first.stages, first.heard)
    run_stage(first.build, "install", first.stages, first.heard)
    assert not second.obtain("install")
    assert second.heard.said("refers to")


def evil(name: str, work: Work, secret: Path) -> Made:
    qemu_img.overlay(work.folder / DISK, secret)
    return Made((DISK,), facts={"host_key": "ssh-ed25519 AAAA"})


def test_hosts_with_a_signing_key_believe_only_one_another(tmp_path: Path, store: Path) -> None:
    key = ensure_key(Workspace(tmp_path, tmp_path / "o", tmp_path / "c"), Settings())
    stranger = Host(tmp_path / "stranger", store)
    stranger.run()
    first = Host(tmp_path / "first", store, key)
    assert first.run() == ["cidata", "install", "provision"]
    assert first.heard.said("does not allow")
    assert Host(tmp_path / "second", store, key).run() == []


def test_a_store_that_fails_costs_time_and_not_the_image(tmp_path: Path) -> None:
    (tmp_path / "no folder").write_text("")
    host = Host(tmp_path / "host", tmp_path / "no folder" / "store")
    with pytest.raises(OSError, match="Not a directory"):
        (tmp_path / "no folder" / "store").mkdir()
    assert host.run() == ["cidata", "install", "provision"]
    assert host.heard.said("passed over")


def test_windows_that_may_not_leave_the_host_is_refused_before_the_work(tmp_path: Path) -> None:
    host = Host(tmp_path / "host", tmp_path)
    host.build = replace(host.build, settings=Settings(layers="oci://registry.example/layers"))
    with pytest.raises(PipelineError, match="licence nobody accepted"):
        host.obtain("install")
    assert host.ran == []


def test_what_was_asked_for_anew_is_not_pulled(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    first.run()
    second.build = replace(second.build, rebuild=True)
    assert not second.obtain("install")
