"""The whole way of a plan: uploaded over SSH, applied by the real agent, restarts, results.

The host's side is the pipeline's own code, unchanged; the guest's is the fake machine behind a real
SSH server. The plans are those of a shipped image, with tiny files as artifacts.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.answers.credentials import Credentials
from pipeline.answers.payloads import Artifact, resolve
from pipeline.answers.planning import Plan
from pipeline.answers.plans import AUTHORIZED_KEYS, bootstrap_plan, provision_plan
from pipeline.definitions.model import Image, Step
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.progress import Silent
from pipeline.guest.agent import TEST, AgentRun, Bundle, run_agent
from pipeline.guest.checks import Result
from pipeline.guest.login import GuestUnreachable
from pipeline.guest.provision import Patience, provision, upload
from pipeline.guest.ssh import CommandTimeout, Guest
from pipeline.machine.watch import MachineFault
from pipeline.stages import check, jobs, payloads, session
from pipeline.stages.build import Made, Work
from pipeline.stages.cidata import KEY
from tests.powershell.fake_machine import GUEST, FakeMachine, find_powershell, package
from tests.powershell.ssh_machine import (
    NO_SUCH_PROGRAM,
    PENDING,
    SshMachine,
    left_over,
    powered,
    words,
)
from tests.unit.answers import samples
from tests.unit.answers.artifacts import MadeUp
from tests.unit.stages.stand_ins import IMAGE, installed

pytestmark = pytest.mark.powershell

SCRIPT = "param($Word)\n[IO.File]::AppendAllText((Join-Path $env:GOLDEN_MACHINE 'said'), $Word)\n"
OWN = (
    Step("motd", "file", path=r"C:\Golden\motd.txt", content="Gr\u00fc\u00dfe\n"),
    Step("script", "script", file="own script.ps1", arguments=("two words",)),
    Step("again", "reboot", when="always"),
    Step("after", "registry", key=r"HKLM:\SOFTWARE\X", name="n", type="DWord", value="7"),
)
Talk = Callable[[SshMachine, Guest], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Tiny(MadeUp):
    """Artifacts that the fake machine can install; WinFsp asks for a restart."""

    def pin(self, name: str) -> Artifact:
        """See :class:`~pipeline.answers.payloads.Artifacts`."""
        path = self.root / f"{name}.artifact"
        path.write_text(package(f"{{{name}}}", exit=3010 if name == "winfsp" else 0))
        return Artifact(path)


def image() -> Image:
    """A shipped image, with steps of its own."""
    return dataclasses.replace(samples.shipped()["windows-server-2022"][0], provision=OWN)


def tiny(folder: Path) -> Tiny:
    """All that the plans name, made below ``folder``."""
    (folder / "own script.ps1").write_text(SCRIPT)
    # What this one starts would meet no doubles; test_logon_secret.py runs it.
    ours = folder / "templates" / "guest" / "logon-secret.ps1"
    ours.parent.mkdir(parents=True, exist_ok=True)
    ours.write_text("exit 0\n")
    return Tiny(folder)


def bundle_of(plan: Plan, folder: Path) -> Bundle:
    """What the stages make of a plan."""
    resolved = resolve(plan, tiny(folder))
    return Bundle(plan.name, GUEST / "agent.ps1", resolved.json(), dict(resolved.payloads))


def by_hand(*steps: dict[str, Any], **payloads: bytes) -> Bundle:
    """A plan written down in a test."""
    document = {"schema": 1, "name": "provision", "steps": list(steps)}
    files = {name.replace("_", "."): data for name, data in payloads.items()}
    return Bundle("provision", GUEST / "agent.ps1", json.dumps(document).encode(), files)


def talk(fake: FakeMachine, what: Talk) -> None:
    """Log in to the machine and do something there; afterwards nothing of it may be left."""

    async def main() -> None:
        async with powered(fake) as (machine, guest):
            await what(machine, guest)

    asyncio.run(main())
    assert left_over(fake.folder) == []


# A shipped image's two plans, from the first login to a run that changes nothing


@dataclass(slots=True)
class Journey:
    """What was seen on the way."""

    fake: FakeMachine
    runs: dict[str, AgentRun] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    uploads: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[str, list[list[str]]] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    beacons: list[str] = field(default_factory=list)
    travelled_again: list[str] = field(default_factory=list)

    async def go(self, machine: SshMachine, guest: Guest) -> None:
        folder = self.fake.folder
        boot = bundle_of(bootstrap_plan(image()), folder)
        ours = bundle_of(provision_plan(image()), folder)

        async def part(name: str, work: Awaitable[AgentRun]) -> None:
            for seen in (machine.uploads, machine.calls):
                seen.clear()
            before = machine.restarts
            self.runs[name] = await work
            self.restarts[name] = machine.restarts - before
            self.uploads[name], self.calls[name] = machine.uploads[:], machine.calls[:]

        await part("bootstrap", provision(machine.machine, guest, boot, Silent()))
        await part("first", provision(machine.machine, guest, ours, Silent()))
        self.travelled_again = await upload(guest, ours)
        await part("test", run_agent(guest, TEST, "provision", 60))
        await part("second", provision(machine.machine, guest, ours, Silent()))
        self.commands = machine.commands
        self.beacons = [beacon.text for beacon in machine.console.beacons]


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    made = Journey(FakeMachine(tmp_path_factory.mktemp("a guest")))
    talk(made.fake, made.go)
    return made


def states(run: AgentRun) -> dict[str, str]:
    return {step.step: step.state for step in run.results}


def test_the_bootstrap_plan_needs_no_restart(journey: Journey) -> None:
    run = journey.runs["bootstrap"]
    assert (run.exit, journey.restarts["bootstrap"]) == (0, 0)
    assert states(run)["openssh"] == "changed"
    keys = journey.fake.c / "ProgramData/ssh/administrators_authorized_keys"
    assert keys.read_text().startswith("ssh-ed25519 ")


def test_every_step_is_reported_once_in_the_order_of_the_plan(journey: Journey) -> None:
    plan = json.loads((journey.fake.golden / "provision.json").read_text())
    run = journey.runs["first"]
    assert [step.step for step in run.results] == [step["id"] for step in plan["steps"]]
    assert [step.kind for step in run.results] == [step["kind"] for step in plan["steps"]]
    assert (run.exit, run.result) == (0, "done")


def test_an_installer_and_a_step_that_ask_for_a_restart_get_one_each(journey: Journey) -> None:
    assert journey.restarts["first"] == 2
    found = states(journey.runs["first"])
    # What asked for the restart had changed something; after the restart it is as desired.
    assert {found[name] for name in ("winfsp", "again", "after", "script")} == {"changed"}
    assert found["restart"] == "ok"


def test_after_a_restart_nothing_is_done_twice(journey: Journey) -> None:
    called = [call[0] for call in journey.calls["first"]]
    assert called.count("msiexec.exe") == 1
    drivers = [step for step in journey.runs["first"].results if step.kind == "driver"]
    assert called.count("pnputil.exe") == len(drivers) > 5
    assert (journey.fake.folder / "said").read_text() == "two words"


def test_the_console_tells_of_every_run(journey: Journey) -> None:
    ends = [line for line in journey.beacons if line.startswith("plan ")]
    assert ends == [
        "plan bootstrap done",
        "plan provision reboot",
        "plan provision reboot",
        "plan provision done",
        "plan provision done",
        "plan provision done",
    ]
    assert any(line.endswith(" winfsp reboot") for line in journey.beacons)


def test_nothing_travels_twice(journey: Journey) -> None:
    payloads = [path for path in journey.uploads["first"] if "/payload/" in path]
    assert len(payloads) == len(set(payloads)) > 10
    assert journey.uploads["first"].count("/C:/ProgramData/golden/provision.json") == 1
    assert "/C:/ProgramData/golden/agent.ps1" not in journey.uploads["first"]  # bootstrap's run
    assert (journey.travelled_again, journey.uploads["second"]) == ([], [])


def test_in_test_mode_everything_is_as_desired_and_nothing_is_called(journey: Journey) -> None:
    run = journey.runs["test"]
    assert (run.exit, set(states(run).values())) == (0, {"ok"})
    assert (journey.calls["test"], journey.uploads["test"]) == ([], [])


def test_applied_again_nothing_changes(journey: Journey) -> None:
    run = journey.runs["second"]
    assert (run.exit, set(states(run).values())) == (0, {"ok"})
    assert (journey.calls["second"], journey.restarts["second"]) == ([], 0)


def test_commands_are_what_the_contract_says(journey: Journey) -> None:
    assert set(journey.commands) == {
        "shutdown.exe /r /t 2 /f",
        *(
            "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "
            rf"C:\ProgramData\golden\agent.ps1 -Mode {mode} -Plan C:\ProgramData\golden\{plan}.json"
            for mode, plan in (
                ("Apply", "bootstrap"),
                ("Apply", "provision"),
                ("Test", "provision"),
            )
        ),
    }


# The check stage, from the build's key in the plan to the error that stops a build

KEYS = "ProgramData/ssh/administrators_authorized_keys"


@dataclass(slots=True)
class Looked:
    """What the stage made of a guest as declared, and of one that somebody has meddled with."""

    fake: FakeMachine
    work: Work
    made: Made | None = None
    good: list[Result] = field(default_factory=list)
    error: PipelineError | None = None

    async def go(self, machine: SshMachine, guest: Guest) -> None:
        for plan in ("bootstrap", "provision"):
            await provision(machine.machine, guest, jobs.bundle(self.work, plan), Silent())
        self.good = await self.look(machine, self.work)
        self.made = check.concluded(self.work, self.good)
        (self.fake.c / "Golden/motd.txt").write_text("another\n")
        (self.fake.c / KEYS).write_text("ssh-ed25519 AAAA somebody\n")
        again = dataclasses.replace(self.work, folder=self.fake.folder / "again")
        again.evidence.mkdir(parents=True)
        results = await self.look(machine, again)
        with pytest.raises(PipelineError) as raised:
            check.concluded(again, results)
        self.error = raised.value

    async def look(self, machine: SshMachine, work: Work) -> list[Result]:
        """The stage's own work; the folder that it shares is drive Z:."""
        drive = machine.drives / "Z:"
        drive.unlink(missing_ok=True)
        drive.symlink_to(work.folder / "share")
        results, _ = await check._check(work)
        return list(results)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Looked:
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    fake = FakeMachine(tmp_path_factory.mktemp("a checked guest"))
    build = dataclasses.replace(installed(fake.folder / "host"), image=image())
    build.folder("install").parent.mkdir(parents=True)
    build.workspace.build(IMAGE).joinpath("install").rename(build.folder("install"))
    work = Work(build, fake.folder / "work", "id")
    work.evidence.mkdir(parents=True)
    made = Looked(fake, work)

    async def go(machine: SshMachine, guest: Guest) -> None:
        monkeypatch.setattr(check, "session", lambda *_: booted(machine, guest))
        await made.go(machine, guest)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(check, "overlay", lambda work, _: work.folder / "disk.qcow2")
        patient = classmethod(lambda cls, _: cls(1.0, 1800.0, 60.0))
        monkeypatch.setattr(session.Patience, "of", patient)
        monkeypatch.setattr(payloads, "Sources", lambda _: tiny(fake.folder))
        talk(fake, go)
    return made


@asynccontextmanager
async def booted(machine: SshMachine, guest: Guest) -> AsyncIterator[Any]:
    """A session with the guest that runs already; it is not powered off."""
    watcher = SimpleNamespace(enter=lambda _: None, timings={})
    yield SimpleNamespace(
        machine=machine, guest=guest, watcher=watcher, power_off=lambda: asyncio.sleep(0)
    )


def test_every_step_that_the_agent_looked_at_is_a_check(looked: Looked) -> None:
    plans = {name: looked.fake.golden / f"{name}.json" for name in ("bootstrap", "provision")}
    steps = [
        (name, step["id"])
        for name, plan in plans.items()
        for step in json.loads(plan.read_text())["steps"]
    ]
    assert {("bootstrap", "authorized-keys"), ("provision", "again")} <= set(steps)
    assert [(r.group, r.name) for r in looked.good] == [("virtio-fs", "round-trip"), *steps]
    assert [r for r in looked.good if not r.ok] == []
    assert looked.made is not None
    assert looked.made.facts == {"passed": len(steps) + 1, "failed": 0}


def test_the_key_of_the_build_is_in_the_plan_that_is_looked_at(looked: Looked) -> None:
    plan = (looked.fake.golden / "bootstrap.json").read_text()
    key = (looked.work.upstream("install") / f"{KEY}.pub").read_text().strip()
    assert key in plan
    assert Credentials.placeholder().public_key not in plan


def test_a_step_that_does_not_hold_any_more_stops_the_build(looked: Looked) -> None:
    """The agent's own words reach the error and the file that CI systems read."""
    error = looked.error
    assert error is not None
    assert error.message.splitlines() == [
        f"{image().name}: 2 of {len(looked.good)} checks failed:",
        f"    bootstrap/authorized-keys: {AUTHORIZED_KEYS} has other content",
        r"    provision/motd: C:\Golden\motd.txt has other content",
    ]
    assert "checks.json" in error.hint
    cases = ET.parse(looked.fake.folder / "again" / "evidence" / "junit.xml").iter("testcase")
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    assert failed == ["authorized-keys", "motd"]


# Failures: the error names the step, its kind and what was said

NOTE = {"id": "note", "kind": "file", "path": "C:\\note.txt", "content": "x"}


def digest(data: bytes) -> str:
    from pipeline.foundation.files import sha256_bytes

    return sha256_bytes(data)


def step(name: str, kind: str, payload: str, data: bytes, **more: Any) -> dict[str, Any]:
    """A step with one payload."""
    return {
        "id": name,
        "kind": kind,
        "payloads": [{"file": payload, "sha256": digest(data)}],
        **more,
    }


LOG = "Action 1: InstallServices\nError 1923\nAction ended: Return value 3.\n"
BROKEN = package("{B}", exit=1603, log=LOG).encode()
EXITS = b"Write-Output 'no room left'\nexit 7\n"
FAILURES = {
    "hash": (
        by_hand(NOTE, step("data", "file", "a.bin", b"right", path="C:\\a.bin"), a_bin=b"wrong"),
        (
            rf"plan provision: step data \(file\) failed: the payload a\.bin has SHA-256 "
            rf"{digest(b'wrong')}, the plan says {digest(b'right')}"
        ),
    ),
    "msi-1603": (
        by_hand(step("app", "msi", "b.msi", BROKEN), NOTE, b_msi=BROKEN),
        (
            r"plan provision: step app \(msi\) failed: msiexec\.exe ended with exit code 1603 .*"
            r"InstallServices / Error 1923 / Action ended"
        ),
    ),
    "script": (
        by_hand(step("own", "script", "s.ps1", EXITS), s_ps1=EXITS),
        (
            r"plan provision: step own \(script\) failed: powershell\.exe ended with exit code 7; "
            r"it said: no room left"
        ),
    ),
    "not-understood": (
        by_hand(NOTE | {"kind": "magic"}),
        r"did not understand plan provision: step note: the kind 'magic' is not known",
    ),
}


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PipelineError]:
    """Each failing plan's error, all from one machine."""
    if find_powershell() is None:
        pytest.skip("no powershell and no pwsh on PATH: the guest scripts are not run")
    found = {}

    async def fail(machine: SshMachine, guest: Guest) -> None:
        for name, (bundle, _) in FAILURES.items():
            with pytest.raises(PipelineError) as raised:
                await provision(machine.machine, guest, bundle, Silent())
            found[name] = raised.value
        assert machine.restarts == 0

    talk(FakeMachine(tmp_path_factory.mktemp("failures")), fail)
    return found


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_names_step_kind_and_reason(
    failures: dict[str, PipelineError], name: str
) -> None:
    error = failures[name]
    with pytest.raises(PipelineError, match=FAILURES[name][1]):
        raise error
    assert error.hint
    assert not isinstance(error, GuestUnreachable | MachineFault)


# Deadlines, restarts, broken connections


def test_a_hang_is_cut_by_the_deadline(machine: FakeMachine) -> None:
    machine.change(programs={"msiexec.exe": {"hang": True}})
    data = package("{H}").encode()
    bundle = by_hand(step("app", "msi", "h.msi", data), h_msi=data)

    async def hang(guest_machine: SshMachine, guest: Guest) -> None:
        with pytest.raises(CommandTimeout, match=r"not done in the guest within 3 s: .*agent\.ps1"):
            await provision(guest_machine.machine, guest, bundle, Silent(), Patience(run=3))
        assert left_over(machine.folder) != []  # it still runs: nobody has ended it in the guest

    talk(machine, hang)


def test_a_restart_that_waits_is_asked_for_and_taken(machine: FakeMachine) -> None:
    machine.add_key(PENDING[0])
    bundle = by_hand({"id": "restart", "kind": "reboot"}, NOTE)
    seen = []

    async def wait(guest_machine: SshMachine, guest: Guest) -> None:
        run = await provision(guest_machine.machine, guest, bundle, Silent())
        seen.extend([states(run), guest_machine.restarts, guest.host_key])
        assert guest_machine.host_key.export_public_key().decode().startswith(guest.host_key)

    talk(machine, wait)
    assert seen[:2] == [{"restart": "changed", "note": "changed"}, 1]


def test_a_machine_that_goes_away_is_no_failed_plan(machine: FakeMachine) -> None:
    """A power cut in the middle of a run is told as one, not as an agent that went wrong."""
    machine.change(programs={"msiexec.exe": {"hang": True}})
    data = package("{G}").encode()
    bundle = by_hand(step("app", "msi", "g.msi", data), g_msi=data)

    async def cut(guest_machine: SshMachine, guest: Guest) -> None:
        run = asyncio.create_task(provision(guest_machine.machine, guest, bundle, Silent()))
        while not guest_machine.commands:
            await asyncio.sleep(0.01)
        await guest_machine.power_off()
        with pytest.raises(GuestUnreachable, match="the connection broke"):
            await run

    talk(machine, cut)


# The stand-in for cmd.exe itself


def test_words_of_a_command_line() -> None:
    assert words(r'a.exe -File "C:\Program Files\x.ps1" ""') == [
        "a.exe",
        "-File",
        r"C:\Program Files\x.ps1",
        "",
    ]
    with pytest.raises(ValueError, match="its own meaning for &"):
        words("a.exe & b.exe")


def test_a_program_that_windows_lacks(machine: FakeMachine) -> None:
    async def ask(_machine: SshMachine, guest: Guest) -> None:
        result = await guest.run("bash -c true", 20)
        assert result.code == NO_SUCH_PROGRAM
        assert "not recognized" in result.err

    talk(machine, ask)


def test_an_agent_that_is_not_there_is_no_success(machine: FakeMachine) -> None:
    """Windows PowerShell's exit code for it has a lowest byte of 0, and SSH clients see no more."""

    async def ask(_machine: SshMachine, guest: Guest) -> None:
        with pytest.raises(PipelineError, match=r"did not run plan provision(.|\n)*does not exist"):
            await run_agent(guest, TEST, "provision", 20)

    talk(machine, ask)
