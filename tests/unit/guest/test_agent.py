"""The agent's output read as results, and provisioning with its uploads and restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.progress import Silent
from pipeline.guest.agent import Bundle, StepResult, parse_run, require_done
from pipeline.guest.provision import Patience, provision, restart, upload
from pipeline.guest.ssh import Result, connect
from pipeline.machine.machine import Machine
from tests.unit.guest.server import Answer, Play, serving


def said(*steps: tuple[str, str], result: str, message: str = "") -> str:
    lines = [
        json.dumps({"step": step, "kind": "msi", "state": state, "seconds": 1.5, "message": "m"})
        for step, state in steps
    ]
    end = {"plan": "p", "result": result, "steps": len(steps), "seconds": 2, "message": message}
    return "\r\n".join(["noise", "{not json", "[1]", *lines, json.dumps(end), ""])


def test_lines_become_results_and_noise_is_ignored() -> None:
    run = parse_run("p", Result(0, said(("a", "ok"), ("b", "changed"), result="done"), ""))
    assert [step.step for step in run.results] == ["a", "b"]
    assert run.results[1] == StepResult("b", "msi", "changed", 1.5, "m")
    assert (run.plan, run.result, run.exit, run.seconds) == ("p", "done", 0, 2.0)


@pytest.mark.parametrize(
    ("code", "output", "error"),
    [
        (0, "", "it said nothing"),
        (2, "", "exit code 2"),
        (0, said(result="failed"), "exit code 0"),
        (9009, "", "9009"),
        (-1, said(result="done"), "exit code -1"),
    ],
)
def test_exit_code_and_words_must_agree(code: int, output: str, error: str) -> None:
    with pytest.raises(PipelineError, match=error):
        parse_run("p", Result(code, output, ""))


def test_what_the_agent_complained_of_is_shown() -> None:
    with pytest.raises(PipelineError, match="unknown kind: msu2"):
        parse_run("p", Result(2, "", "unknown kind: msu2"))


def test_what_was_not_understood_is_said_in_the_agents_words() -> None:
    words = "step winfsp: the key 'payloads' is missing"
    end = {"plan": "", "result": "failed", "steps": 0, "seconds": 0.0, "message": words}
    output = f"noise\r\n{json.dumps(end)}\r\n"
    with pytest.raises(PipelineError) as raised:
        parse_run("provision", Result(2, output, "#< CLIXML"))
    assert f"the agent did not understand plan provision: {words}\n" in f"{raised.value}\n"
    assert r"C:\ProgramData\golden\provision.json" in raised.value.hint


def test_a_failed_step_is_named_with_kind_and_message() -> None:
    run = parse_run("p", Result(1, said(("a", "ok"), ("b", "failed"), result="failed"), ""))
    with pytest.raises(PipelineError, match=r"plan p: step b \(msi\) failed: m") as raised:
        require_done(run)
    assert "log\\p.log" in raised.value.hint


def test_wrong_in_test_mode_names_the_first_step() -> None:
    run = parse_run("p", Result(3, said(("a", "wrong"), ("b", "wrong"), result="wrong"), ""))
    with pytest.raises(PipelineError, match=r"step a \(msi\) wrong"):
        require_done(run)


# Provisioning


class Resets:
    """The RESET events of a machine that restarts whenever it is told to."""

    def __init__(self, play: Play, works: bool = True) -> None:
        self.play = play
        self.works = works

    async def get(self) -> dict[str, Any]:
        if not self.works:
            await asyncio.sleep(600)
        assert self.play.commands[-1] == "shutdown.exe /r /t 2 /f"
        return {"event": "RESET"}


class FakeMachine:
    """Enough of a machine to be restarted."""

    def __init__(self, play: Play, works: bool = True) -> None:
        self.resets = Resets(play, works)
        self.evidence = play.folder

    def listen(self, *names: str) -> nullcontext[Resets]:
        assert names == ("RESET",)
        return nullcontext(self.resets)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    agent = tmp_path / "agent.ps1"
    agent.write_bytes(b"agent")
    big = tmp_path / "big.msi"
    big.write_bytes(b"\xd0\xcf" * 100)
    return Bundle("provision", agent, b'{"schema": 1}', {"x/big.msi": big, "small.txt": b"hi"})


def answers(play: Play, runs: Iterable[Answer]) -> None:
    left = iter(runs)

    def answer(command: str) -> Answer:
        return next(left) if "agent.ps1" in command else (0, b"", b"")

    play.answer = answer


def run(play: Play, bundle: Bundle, patience: Patience | None = None) -> Any:
    async def main() -> Any:
        async with serving(play), connect(play.port, "golden", play.key, None, 20) as guest:
            machine = cast(Machine, FakeMachine(play))
            return await provision(machine, guest, bundle, Silent(), patience)

    return asyncio.run(main())


DONE: Answer = (0, said(("a", "ok"), ("b", "changed"), result="done").encode(), b"")
REBOOT: Answer = (4, said(("a", "reboot"), result="reboot").encode(), b"")


def test_the_agent_runs_from_what_was_uploaded(play: Play, bundle: Bundle) -> None:
    answers(play, [DONE])
    run(play, bundle)
    here = "C:\\ProgramData\\golden"
    (command,) = play.commands
    assert command == (
        "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass "
        f"-File {here}\\agent.ps1 -Mode Apply -Plan {here}\\provision.json"
    )
    folder = play.at("/C:/ProgramData/golden")
    assert (folder / "agent.ps1").read_bytes() == b"agent"
    assert (folder / "payload/x/big.msi").stat().st_size == 200
    assert (folder / "payload/small.txt").read_bytes() == b"hi"


def test_a_restart_is_made_and_the_plan_goes_on(play: Play, bundle: Bundle) -> None:
    answers(play, [REBOOT, REBOOT, DONE])
    done = run(play, bundle)
    assert [command.split()[0] for command in play.commands] == [
        "powershell.exe", "shutdown.exe", "powershell.exe", "shutdown.exe", "powershell.exe",
    ]  # fmt: skip
    assert done.result == "done"
    assert {step.step: step.state for step in done.results} == {"a": "changed", "b": "changed"}


def test_what_became_of_each_step_is_evidence_also_when_one_fails(
    play: Play, bundle: Bundle
) -> None:
    failed = said(("a", "ok"), ("b", "failed"), result="failed").encode()
    answers(play, [REBOOT, (1, failed, b"")])
    with pytest.raises(PipelineError, match="step b"):
        run(play, bundle)
    kept = json.loads((play.folder / "steps.json").read_text())
    assert [(step["step"], step["state"]) for step in kept] == [("a", "changed"), ("b", "failed")]


def test_restarts_are_bounded(play: Play, bundle: Bundle) -> None:
    answers(play, [REBOOT] * 10)
    with pytest.raises(PipelineError, match="a still asks for a restart after 2"):
        run(play, bundle, Patience(restarts=2))
    assert sum("shutdown" in command for command in play.commands) == 2


def test_a_failure_stops_and_names_the_step(play: Play, bundle: Bundle) -> None:
    answers(play, [(1, said(("winfsp", "failed"), result="failed").encode(), b"")])
    with pytest.raises(PipelineError, match=r"step winfsp \(msi\) failed"):
        run(play, bundle)


def test_what_is_there_does_not_travel_again(play: Play, bundle: Bundle) -> None:
    folder = play.at("/C:/ProgramData/golden")
    sent: list[list[str]] = []

    async def main() -> None:
        async with serving(play), connect(play.port, "golden", play.key, None, 20) as guest:
            sent.append(await upload(guest, bundle))
            sent.append(await upload(guest, bundle))
            (folder / "payload/small.txt").write_bytes(b"longer")
            (folder / "agent.ps1").unlink()
            sent.append(await upload(guest, bundle))
            (folder / "uploaded.json").write_bytes(b"{cut")
            sent.append(await upload(guest, bundle))

    asyncio.run(main())
    names = [[path.rpartition("/")[2] for path in paths] for paths in sent]
    everything = ["agent.ps1", "provision.json", "big.msi", "small.txt"]
    assert names == [everything, [], ["agent.ps1", "small.txt"], everything]


def _restart(play: Play, works: bool, deadline: float) -> None:
    async def main() -> None:
        async with serving(play), connect(play.port, "golden", play.key, None, 20) as guest:
            await restart(cast(Machine, FakeMachine(play, works)), guest, deadline)

    asyncio.run(main())


def test_a_restart_without_a_reset_is_not_believed(play: Play) -> None:
    with pytest.raises(PipelineError, match=r"did not restart within 0\.05 s"):
        _restart(play, works=False, deadline=0.05)


def test_a_refused_restart_says_why(play: Play) -> None:
    play.answer = lambda command: (5, b"", b"Access is denied.")
    with pytest.raises(PipelineError, match="Access is denied"):
        _restart(play, works=True, deadline=5)
