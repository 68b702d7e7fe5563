"""A few nights, rehearsed end to end against publishers and a store on loopback.

Nothing new: nothing is built. A new driver release: one diff, one rebuild, one version, pushed, and
no runner builds it again. A changed step on a runner that has nothing but the layers of that
rebuild: install is pulled. A version near its end: rebuilt from install on, with unchanged inputs.
The tests of this file are one story in order; each needs the one before. One rebuild is real; the
one before expiry is shown up to the decision, and for real with ``GOLDEN_TEST_EXPIRY=1``.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.main import main
from pipeline.definitions.loader import load
from pipeline.foundation.files import write_json
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.foundation.progress import Silent
from pipeline.publishing import catalog
from pipeline.publishing.stores.base import writable
from pipeline.publishing.stores.opening import open_store
from pipeline.rehearsal.medium import make
from pipeline.stages import shelves
from pipeline.stages.build import Build
from pipeline.stages.graph import STAGES as STAGES_OF_AN_IMAGE
from pipeline.stages.plan import decide
from pipeline.stages.receipts import load as load_receipt
from tests.integration.checkout import Checkout, processes, stages
from tests.servers import answer
from tests.services import registry
from tests.tools import require
from tests.unit.stages.test_tonight import entry, index
from tests.unit.upstream.publishers import ARCHIVE, Publishers, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]

IMAGE, PIN = "rehearsal", "night-drivers"
STAGES = ["media", "render", "cidata", "install", "provision", "check", "seal", "prove", "publish"]
DAY = datetime.timedelta(days=1)


class Nights:
    """A checkout under version control, its publishers, and the store of its images."""

    def __init__(self, checkout: Checkout, world: Publishers) -> None:
        self.checkout, self.world = checkout, world
        self.drivers = {
            f"{version}-1": make("drivers", version, Workspace.default(), Silent()).read_bytes()
            for version in ("0.1.302", "0.1.303")
        }

    def start(self) -> None:
        """The image takes its drivers from the publisher; the pin is that of the old release."""
        root = self.checkout.root
        self.world.root = root
        old = self.drivers["0.1.302-1"]
        url = f"{ARCHIVE}virtio-win-0.1.302-1/virtio-win-0.1.302.iso"
        self.world.pin(PIN, "0.1.302", "iso", [self.world.url(url)], old, ARCHIVE)
        definition = root / "images" / f"{IMAGE}.yaml"
        definition.write_text(definition.read_text().replace("rehearsal-virtio-win", PIN))
        self.stores(self.world.url("images"), layers=self.layers)
        self.world.archive({"0.1.302-1": old})
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "checksums", "images")
        self.git("-c", "user.name=x", "-c", "user.email=x@y", "commit", "--quiet", "-m", "Pins")

    @property
    def layers(self) -> Path:
        return self.checkout.root.parent / "shared layers"

    def stores(self, *places: str, layers: Path | None = None) -> None:
        settings = {"stores": places} | ({"layers": str(layers)} if layers else {})
        (self.checkout.root / "golden.yaml").write_text(json.dumps(settings))

    def git(self, *words: str) -> str:
        words = ("git", "-C", str(self.checkout.root), *words)
        return subprocess.run(words, check=True, text=True, capture_output=True).stdout

    def refresh(self, *words: str) -> tuple[int, str]:
        """Exit code and output of ``golden refresh`` for the pin of the story."""
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli.main", "refresh", *words, PIN],
            cwd="/", env=self.checkout.environment(), text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout

    def matrix(self) -> list[dict[str, Any]]:
        include: list[dict[str, Any]] = json.loads(self.checkout.golden("matrix", "--json", IMAGE))[
            "include"
        ]
        return include

    def goal(self) -> str:
        return str(self.checkout.plan(IMAGE)["publish"]["id"])

    def discs_sent(self) -> int:
        return sum(seen.sent for seen in self.world.site.seen if seen.path.endswith(".iso"))


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    folder = tmp_path_factory.mktemp("nights")
    checkout = Checkout.make(folder)
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(folder, checkout.root, patch) as world,
    ):
        made = Nights(checkout, world)
        made.start()
        yield made
        made.checkout.golden("purge", PIN)
    assert processes(str(checkout.root)) == []


def test_a_night_with_nothing_new_builds_nothing(nights: Nights) -> None:
    nights.world.routes["/images/index.json"] = answer(
        index(entry(nights.goal(), image=IMAGE, expires_at=None), image=IMAGE)
    )
    assert nights.refresh("--check")[0] == 0
    assert nights.refresh("--write")[0] == 0
    assert nights.git("status", "--porcelain", "checksums") == ""
    nights.world.site.seen.clear()
    assert nights.matrix() == []
    assert nights.world.asked() == ["/images/index.json"]
    assert stages(nights.checkout.doit(f"build:{IMAGE}")) == []
    assert nights.discs_sent() == 0
    assert not nights.checkout.workspace.build(IMAGE).exists()


def test_a_new_driver_release_is_one_diff_for_a_pull_request(nights: Nights) -> None:
    nights.world.archive(nights.drivers)
    code, said = nights.refresh("--check")
    assert code == 4, said
    assert nights.git("status", "--porcelain", "checksums") == ""
    code, said = nights.refresh("--write")
    assert code == 0, said
    assert f"{PIN}: 0.1.302 → 0.1.303" in said
    assert "measured: downloaded, hashed and kept in the cache" in said
    assert nights.git("diff", "--name-only") == f"checksums/{PIN}.yaml\n"
    diff = nights.git("diff", "--unified=0", "checksums").splitlines()
    lines = [line for line in diff if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert '+  version: "0.1.303"' in lines
    keys = {line[1:].split()[0] for line in lines}
    assert keys <= {"version:", "-", "sha256:", "size:", "etag:"}


def test_it_is_one_rebuild_of_what_uses_the_drivers_and_one_version(nights: Nights) -> None:
    (item,) = nights.matrix()
    assert item["image"] == IMAGE
    assert "was made from other inputs" in item["reason"]
    nights.world.site.seen.clear()
    ran = stages(nights.checkout.doit(f"build:{IMAGE}"))
    assert sorted(ran) == sorted(f"{stage}:{IMAGE}" for stage in STAGES)
    assert nights.discs_sent() == 0, "the refresh has fetched it"
    (version,) = nights.checkout.versions(IMAGE)
    manifest = json.loads(version.read_text())
    assert manifest["inputs"][PIN]["version"] == "0.1.303"
    assert manifest["build_id"] == item["build_id"]
    newest = catalog.load(nights.checkout.workspace.catalog).newest(IMAGE)
    assert newest is not None
    assert newest.version == version.parent.name


def test_once_it_is_in_the_store_no_runner_builds_it_again(nights: Nights, tmp_path: Path) -> None:
    store = tmp_path / "a store"
    nights.checkout.golden("push", IMAGE, "--to", str(store))
    nights.stores(str(store))
    assert nights.matrix() == []
    runner = dict(nights.checkout.environment(), GOLDEN_OUTPUT=str(tmp_path / "fresh"))
    said = subprocess.run(
        nights.checkout.command(f"build:{IMAGE}"), cwd="/", env=runner, check=True, text=True,
        capture_output=True,
    ).stdout  # fmt: skip
    assert stages(said) == []
    assert "in " + str(store) in said
    assert not (tmp_path / "fresh" / "build").exists()


STEP = """  - id: new
    kind: file
    path: 'C:\\Golden\\new.txt'
    content: new
"""


def test_a_changed_step_on_a_runner_with_nothing_but_layers_never_reinstalls(
    nights: Nights, tmp_path: Path
) -> None:
    nights.stores(layers=nights.layers)
    here = Workspace(nights.checkout.root, tmp_path / "fresh", nights.checkout.workspace.cache)
    runner = dict(nights.checkout.environment(), GOLDEN_OUTPUT=str(here.output))

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd="/", env=runner, check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    definition = nights.checkout.root / "images" / f"{IMAGE}.yaml"
    before = definition.read_text()
    definition.write_text(f"{before.rstrip()}\n{STEP}")
    try:
        plan = run(sys.executable, "-m", "pipeline.cli.main", "plan", IMAGE).splitlines()
        told = {words[0]: words[1:] for line in plan if len(words := line.split()) > 1}
        assert told["install"] == ["pull", "cached", "in", *str(nights.layers).split()]
        assert told["provision"][0] == "run"
        run(*nights.checkout.command(f"provision:{IMAGE}"))
    finally:
        definition.write_text(before)
    made = {stage: load_receipt(here.receipt(IMAGE, stage)) for stage in ("install", "provision")}
    runs = nights.checkout.runs(IMAGE)
    assert made["install"] is not None
    assert made["install"].run == runs["install"], "pulled, and not made here"
    assert made["provision"] is not None
    assert made["provision"].run != runs["provision"]


def age(nights: Nights, days: int) -> None:
    """Let everything that is here have been made so many days ago."""
    workspace = nights.checkout.workspace
    then = datetime.datetime.now(datetime.UTC) - days * DAY
    old = catalog.load(workspace.catalog).entries(IMAGE)[-1]
    written = {"built_at": then, "expires_at": then + 180 * DAY}
    times = {name: when.strftime("%Y-%m-%dT%H:%M:%SZ") for name, when in written.items()}
    catalog.add(workspace.catalog, replace(old, **times))  # type: ignore[arg-type]
    for receipt in workspace.build(IMAGE).glob("*/receipt.json"):
        document = json.loads(receipt.read_text())
        write_json(receipt, document | {"finished_at": times["built_at"]})


def test_near_its_end_it_is_to_be_rebuilt_from_install_on_with_the_same_inputs(
    nights: Nights,
) -> None:
    nights.stores()
    before = nights.goal()
    age(nights, 150)
    assert nights.matrix() == []
    age(nights, 170)
    (item,) = nights.matrix()
    assert item["reason"].startswith("version ")
    assert "(in 9 days)" in item["reason"] or "(in 10 days)" in item["reason"]
    assert item["build_id"] == before, "nothing that goes in has changed"
    assert nights.checkout.running(IMAGE) == STAGES[STAGES.index("install") :]
    (reason, *_) = nights.checkout.plan(IMAGE)["install"]["reasons"]
    assert reason.startswith("Windows was installed on ")


@pytest.mark.skipif(not os.environ.get("GOLDEN_TEST_EXPIRY"), reason="another real rebuild")
def test_that_rebuild_is_a_new_version_of_the_same_build(nights: Nights) -> None:
    ran = stages(nights.checkout.doit(f"build:{IMAGE}"))
    assert sorted(ran) == sorted(f"{s}:{IMAGE}" for s in STAGES[STAGES.index("install") :])
    old, new = (json.loads(path.read_text()) for path in nights.checkout.versions(IMAGE))
    assert old["build_id"] == new["build_id"]
    assert old["version"] != new["version"]
    assert nights.matrix() == []


def test_a_fresh_runner_asks_a_registry_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not part of the story: the shipped definitions, and Debian's docker-registry."""
    require("docker-registry")
    workspace = Workspace(ROOT, tmp_path / "output", tmp_path / "cache")
    goal = decide(Build.of(IMAGE, load(workspace, {}), workspace), STAGES_OF_AN_IMAGE)[-1]
    mine = index(entry(goal.examined.id, image=IMAGE, expires_at=None), image=IMAGE)
    with registry(tmp_path / "registry") as host:
        place = f"oci://{host}/golden"
        for name, value in {
            "GOLDEN_OUTPUT": workspace.output,
            "GOLDEN_CACHE": workspace.cache,
            "GOLDEN_STORES": place,
            "GOLDEN_IMAGES": IMAGE,
        }.items():
            monkeypatch.setenv(name, str(value))
        for documents, images in (({}, [IMAGE]), ({catalog.INDEX: mine}, [])):
            shelves.stocked.cache_clear()
            with open_store(place, ROOT, print) as store:
                if documents:
                    writable(store).replace("", documents)
            capsys.readouterr()
            assert main(["matrix", "--json"]) == 0
            include = json.loads(capsys.readouterr().out)["include"]
            assert [item["image"] for item in include] == images
    assert not workspace.build(IMAGE).exists()
