"""The stages that look at a guest: a check that fails stops the build, and its reason is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.answers.cloudbase import SERVICE_STEP
from pipeline.definitions.loader import load
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.progress import Silent
from pipeline.foundation.waiting import wait_until_async
from pipeline.guest.ssh import Guest
from pipeline.machine.shutdown import Ending
from pipeline.stages import check, clone, prove
from pipeline.stages.build import Build, Stage
from pipeline.stages.check import round_trip
from pipeline.stages.plan import Examined, examine
from pipeline.stages.runner import run_stage
from pipeline.stages.tasks import Graph
from tests.unit.guest.server import Play
from tests.unit.stages import stand_ins
from tests.unit.stages.stand_ins import Booted, Rack, answering, installed, run_alone, said

READY = ("GOLDEN firstboot ready",)
DECLARED = ["provision/motd", "provision/virtiofs-service"]
LOOKED_AT = {
    "check": ["virtio-fs/round-trip", "bootstrap/sshd", *DECLARED],
    "prove": [
        "virtio-fs/round-trip",
        *(f"nocloud/{each.__name__.replace('_', '-')}" for each in clone.CHECKS),
        *DECLARED,
        "lima/lima-is-told",
        "lima/new-host-key",
        "lima/build-key-refused",
        "no-disc/nobody-logs-in",
        "no-disc/power-button",
    ],
}
Change = Callable[[Rack], None]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return installed(tmp_path)


@pytest.fixture
def rack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rack:
    """Guests in which everything is as it should be, for both stages."""
    made = Rack(
        {
            "": Booted(stand_ins.nocloud(tmp_path / "provisioned")),
            "nocloud": Booted(stand_ins.nocloud(tmp_path / "clone")),
            "lima": Booted(stand_ins.lima(tmp_path / "lima")),
            "no-disc": Booted(_closed(tmp_path / "no-disc"), says=READY),
        }
    )
    for module in (clone, prove):
        monkeypatch.setattr(module, "connect", stand_ins.at_once)
    for stage in (check, prove):
        made.serve(stage, monkeypatch)
    return made


def _closed(folder: Path) -> Play:
    folder.mkdir()
    return Play(folder, accepts=False)


def names(path: Path, *, ok: bool) -> list[str]:
    """The checks that held, or those that failed."""
    kept = json.loads(path.read_text())
    return [f"{item['group']}/{item['name']}" for item in kept if item["ok"] is ok]


@pytest.mark.parametrize("stage", LOOKED_AT)
def test_a_good_guest_passes_every_check(build: Build, rack: Rack, stage: str) -> None:
    """The round trip through virtio-fs, every step in Test mode, every check of a clone."""
    run_alone(build, stage)
    kept = build.folder(stage) / "checks.json"
    assert names(kept, ok=True) == LOOKED_AT[stage]
    assert names(kept, ok=False) == []
    receipt = build.receipt(stage)
    assert receipt is not None
    assert receipt.facts == {"passed": len(LOOKED_AT[stage]), "failed": 0}
    assert [output.path for output in receipt.outputs] == ["checks.json", "junit.xml"]


# Faults: the part of the stage, what is wrong with it, the check that fails, what it says


def wrong(part: str, step: str) -> Change:
    host_name = "PROOF"
    return lambda rack: setattr(rack.machines[part].play, "answer", answering(host_name, step))


def unshared(part: str) -> Change:
    return lambda rack: setattr(rack.machines[part], "shares", False)


def opened(part: str) -> Change:
    return lambda rack: setattr(rack.machines[part].play, "open_to_all", True)


def renamed(rack: Rack) -> None:
    rack.machines["nocloud"].play.answer = answering("WIN-1")


def untold(rack: Rack) -> None:
    rack.machines["lima"].play.at(clone.LIMA_DONE).unlink()


def cut_off(rack: Rack) -> None:
    rack.machines["no-disc"].ending = Ending("host-signal", 0, "SIGTERM")


FAULTS: dict[str, tuple[str, Change, str, str]] = {
    "no share": ("check", unshared(""), "virtio-fs/round-trip", "the share at /Z:"),
    "a step": ("check", wrong("", "motd"), "provision/motd", "motd wrong"),
    "a first step": ("check", wrong("", "sshd"), "bootstrap/sshd", "sshd wrong"),
    "no share in the clone": ("prove", unshared("nocloud"), "virtio-fs/round-trip", "/Z:"),
    "a step in the clone": ("prove", wrong("nocloud", "motd"), "provision/motd", "motd wrong"),
    "its name": ("prove", renamed, "nocloud/host-name", "called 'WIN-1'"),
    "an old key": ("prove", opened("nocloud"), "nocloud/build-key-refused", "still opens"),
    "lima waits": ("prove", untold, "lima/lima-is-told", "limactl would wait"),
    "an old key, lima": ("prove", opened("lima"), "lima/build-key-refused", "still opens"),
    "open to all": ("prove", opened("no-disc"), "no-disc/nobody-logs-in", "nobody authorised"),
    "hangs": ("prove", cut_off, "no-disc/power-button", "ended by SIGTERM"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_failed_check_stops_the_build(
    build: Build, rack: Rack, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "MOUNTED_WITHIN", 0.1)
    stage, change, failed, told = FAULTS[fault]
    change(rack)
    with pytest.raises(PipelineError, match=r"1 of \d+ checks failed") as raised:
        run_alone(build, stage)
    assert f"{failed}: " in raised.value.message
    assert told in raised.value.message
    assert "checks.json" in raised.value.hint
    evidence = raised.value.evidence
    assert evidence is not None
    assert names(evidence / "checks.json", ok=False) == [failed]
    passed = [name for name in LOOKED_AT[stage] if name != failed]
    assert names(evidence / "checks.json", ok=True) == passed  # the others are run all the same
    assert b'failures="1"' in (evidence / "junit.xml").read_bytes()
    # Nothing is there that says that the stage is done, nor its outputs.
    assert build.receipt(stage) is None
    assert [path.name for path in build.workspace.build(build.image.name).iterdir()] == ["install"]


def test_a_failure_after_a_success_leaves_nothing_current(build: Build, rack: Rack) -> None:
    """What an earlier guest passed says nothing of this one: its receipt has another id."""
    run_alone(build, "check")
    before = build.receipt("check")
    rack.machines[""].play.at("/Z:").unlink()
    wrong("", "motd")(rack)
    stage = changed("check")
    with pytest.raises(PipelineError, match="provision/motd"):
        run_stage(build, "check", [stage], Silent())
    assert build.receipt("check") == before
    assert not examined(build, stage).current


def changed(name: str) -> Stage:
    """The stage, with something else that goes in."""
    return Stage(name, name, lambda *_: {"stage": name, "disk": "another"})


def examined(build: Build, stage: Stage) -> Examined:
    (item,) = examine(build, [stage])
    return item


def test_nothing_is_published_before_both_have_passed(build: Build) -> None:
    """What a failed task stands before is not run: that is the task graph's part."""
    graph = Graph(load(build.workspace, {}), build.workspace)
    for stage, before in (("publish", {"check", "prove"}), ("seal", {"check"})):
        made = {task.get("name"): task for task in graph.stage_tasks(stage)}
        for image in graph.definitions.images:
            assert {f"{name}:{image}" for name in before} <= set(made[image]["task_dep"])


def test_what_first_boot_has_switched_on_is_not_held_against_a_clone(
    build: Build, rack: Rack
) -> None:
    steps = {"motd": "ok", SERVICE_STEP: "wrong"}
    play = rack.machines["nocloud"].play
    before = play.answer
    play.answer = lambda line: said("provision", steps) if "agent" in line else before(line)
    run_alone(build, "prove")
    assert f"provision/{SERVICE_STEP}" not in names(build.folder("prove") / "checks.json", ok=True)


# The round trip itself


class Share:
    """What a guest sees at Z:, and where its own files go."""

    def __init__(self, seen: Path, written: Path, *, garbles: str = "") -> None:
        self.seen, self.written, self.garbles = seen, written, garbles

    async def exists(self, path: str) -> bool:
        return (self.seen / path.removeprefix("/Z:/")).exists()

    async def get(self, path: str) -> bytes:
        if self.garbles == "reading":
            return b"\xffstale"
        return (self.seen / path.removeprefix("/Z:/")).read_bytes()

    async def put(self, content: bytes, path: str) -> None:
        garbled = b"\xffhalf" if self.garbles == "writing" else content
        (self.written / path.removeprefix("/Z:/")).write_bytes(garbled)


def go_round(share: Share, folder: Path) -> str:
    return asyncio.run(round_trip(cast(Guest, share), folder))


def test_a_share_that_works_both_ways(tmp_path: Path) -> None:
    assert "each way" in go_round(Share(tmp_path, tmp_path), tmp_path)
    sent, returned = (tmp_path / f"from-{who}.txt" for who in ("host", "guest"))
    assert sent.read_text() != returned.read_text()


@pytest.mark.parametrize(
    ("garbles", "told"),
    [("reading", "the guest read .*stale.* from the share"), ("writing", "the host read .*half")],
)
def test_what_arrives_is_what_was_sent(tmp_path: Path, garbles: str, told: str) -> None:
    with pytest.raises(PipelineError, match=told):
        go_round(Share(tmp_path, tmp_path, garbles=garbles), tmp_path)


def test_a_file_that_never_reaches_the_host_is_a_failed_check(tmp_path: Path) -> None:
    own = tmp_path / "a disk of the guest's own"
    own.mkdir()
    with pytest.raises(PipelineError, match="the host read '' from the share"):
        go_round(Share(tmp_path, own), tmp_path)


def test_a_share_may_take_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows mounts it some time after its SSH server answers."""
    share, looks = Share(tmp_path, tmp_path), []
    there = share.exists

    async def exists(path: str) -> bool:
        looks.append(path)
        return len(looks) > 2 and await there(path)

    async def soon(what: str, look: Any, deadline: float, *, every: float) -> object:
        return await wait_until_async(what, look, deadline, every=every / 1000)

    monkeypatch.setattr(share, "exists", exists)
    monkeypatch.setattr(check, "wait_until_async", soon)
    assert "each way" in go_round(share, tmp_path)
    assert looks == ["/Z:/from-host.txt"] * 3
