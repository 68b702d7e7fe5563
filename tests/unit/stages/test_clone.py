"""What must hold of a clone: each check fails for the reason that it is there for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.guest.keys import make_key_pair
from pipeline.guest.login import GuestUnreachable, KeyRefused
from pipeline.stages import clone, prove
from pipeline.stages.clone import CHECKS, KEYS, LIMA_CHECKS, Clone
from pipeline.stages.session import Access
from tests.unit.guest.server import Play, serving
from tests.unit.stages import stand_ins
from tests.unit.stages.stand_ins import answering, at_once, record, write

Change = Callable[[Play], None]
LEFTOVERS = ["/C:/ProgramData/golden/payload", "/C:/ProgramData/golden/seal.json"]
ANSWERS = [
    "/C:/Windows/Panther/unattend.xml",
    "/C:/Windows/Panther/Unattend/unattend.xml",
    "/C:/Windows/System32/Sysprep/unattend.xml",
    "/C:/ProgramData/golden/unattend-oobe.xml",
]
BLANKED = "<Password><Value>*SENSITIVE*DATA*DELETED*</Value></Password>"
HELD = "<AdministratorPassword>\r\n  <Value>aABiAA==</Value></AdministratorPassword>"


@pytest.fixture(autouse=True)
def _refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (clone, prove):
        monkeypatch.setattr(module, "connect", at_once)


def build_access(play: Play) -> Access:
    """How the build logged in: the same user, with a key and a host key of its own."""
    key = play.folder / "build-key"
    if not key.exists():
        make_key_pair(key)
    return Access("golden", key, stand_ins.BUILD_HOST_KEY)


def evidence(play: Play, name: str, access: Access | None = None, port: int = 0) -> str:
    """Run the check ``name`` in the guest."""
    check = next(each for each in (*CHECKS, *LIMA_CHECKS) if each.__name__ == name)
    build = access or build_access(play)

    async def main() -> str:
        async with serving(play), at_once(play.port, "golden", play.key, None, 30) as guest:
            return await check(Clone(guest, port or play.port, build))

    return asyncio.run(main())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_good_clone_passes(tmp_path: Path, check: clone.Checks) -> None:
    assert evidence(stand_ins.nocloud(tmp_path / "guest"), check.__name__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("check", LIMA_CHECKS, ids=lambda check: check.__name__)
def test_a_good_clone_of_lima_passes(tmp_path: Path, check: clone.Checks) -> None:
    assert evidence(stand_ins.lima(tmp_path / "guest"), check.__name__)  # type: ignore[attr-defined]


def no_record(play: Play) -> None:
    play.at(clone.RECORD).unlink()


FAULTS: dict[str, tuple[str, Change, str]] = {
    "no disc found": ("first_boot", lambda p: record(p, disc="none"), "'disc': 'none'"),
    "another instance": ("first_boot", lambda p: record(p, instance="x-1"), "recorded .*'x-1'"),
    "another name": ("first_boot", lambda p: record(p, host_name="WIN-1"), "recorded .*WIN-1"),
    "errors": ("first_boot", lambda p: record(p, errors=["runcmd 1"]), "recorded .*runcmd 1"),
    "no record": ("first_boot", no_record, r"reading .*first-boot\.json"),
    "a list": ("first_boot", lambda p: write(p, clone.RECORD, b"[]"), r"first-boot\.json is no"),
    "no JSON": ("first_boot", lambda p: write(p, clone.RECORD, b"{"), r"first-boot\.json is no"),
    "is called otherwise": (
        "host_name",
        lambda p: setattr(p, "answer", answering("WIN-1")),
        "called 'WIN-1', its disc said 'proof'",
    ),
    "build key in the file": (
        "no_leftovers",
        lambda p: write(p, KEYS, build_access(p).key.with_suffix(".pub").read_bytes()),
        f"left over from the build: {KEYS}",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_clone_that_is_not_as_it_should_be_fails(tmp_path: Path, fault: str) -> None:
    name, change, told = FAULTS[fault]
    play = stand_ins.nocloud(tmp_path / "guest")
    change(play)
    with pytest.raises(PipelineError, match=told):
        evidence(play, name)


@pytest.mark.parametrize("path", LEFTOVERS)
def test_what_the_build_used_is_not_left(tmp_path: Path, path: str) -> None:
    play = stand_ins.nocloud(tmp_path / "guest")
    write(play, path)
    with pytest.raises(PipelineError, match=f"left over from the build: {path}$"):
        evidence(play, "no_leftovers")


# Keys


def test_the_host_key_of_the_build_is_no_clones(tmp_path: Path) -> None:
    play = stand_ins.nocloud(tmp_path / "guest")
    theirs = " ".join(play.host_key.export_public_key().decode().split()[:2])
    assert evidence(play, "new_host_key") == theirs
    with pytest.raises(PipelineError, match="answers with the host key of the build"):
        evidence(play, "new_host_key", replace(build_access(play), host_key=theirs))


def test_the_key_of_the_build_opens_nothing(tmp_path: Path) -> None:
    play = stand_ins.nocloud(tmp_path / "guest")
    assert "refuses the key build-key" in evidence(play, "build_key_refused")
    with pytest.raises(PipelineError, match="the build's key still opens the clone"):
        evidence(play, "build_key_refused", replace(build_access(play), key=play.key))


def closed_port() -> socket.socket:
    """A port of this test's at which nobody answers."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held


def test_a_clone_that_does_not_answer_has_refused_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = stand_ins.nocloud(tmp_path / "guest")
    monkeypatch.setattr(clone, "connect", lambda p, u, k, h, _: at_once(p, u, k, h, 0.1))
    with closed_port() as held, pytest.raises(GuestUnreachable) as raised:
        evidence(play, "build_key_refused", port=held.getsockname()[1])
    assert not isinstance(raised.value, KeyRefused)


@pytest.mark.parametrize("opens", [False, True])
def test_without_a_disc_no_key_opens_a_clone(tmp_path: Path, opens: bool) -> None:
    play = Play(tmp_path)
    key = play.key if opens else build_access(play).key

    async def main() -> str:
        async with serving(play):
            return await prove._nobody_logs_in(play.port, Access("golden", key, None))

    if not opens:
        assert "refuses the key build-key" in asyncio.run(main())
        return
    with pytest.raises(PipelineError, match="a key that nobody authorised opens the clone"):
        asyncio.run(main())


# Passwords in the answer files that Windows keeps


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("path", ANSWERS)
def test_no_answer_file_holds_a_password(tmp_path: Path, path: str, encoding: str) -> None:
    play = stand_ins.nocloud(tmp_path / "guest")
    write(play, path, BLANKED.encode(encoding))
    assert evidence(play, "no_passwords") == f"no password in {path}"
    write(play, path, (BLANKED + HELD).encode(encoding))
    with pytest.raises(PipelineError, match=f"{path} still holds a password"):
        evidence(play, "no_passwords")


# Lima


LIMA_FAULTS: dict[str, tuple[Change, str]] = {
    "took it for another": (lambda p: record(p, disc="nocloud"), "expected Lima's disc"),
    "errors": (lambda p: record(p, disc="lima", errors=["key"]), "expected Lima's disc"),
    "no JSON": (lambda p: write(p, clone.RECORD, b"{"), r"first-boot\.json is no"),
    "not told": (lambda p: p.at(clone.LIMA_DONE).unlink(), "limactl would wait for ever"),
}


@pytest.mark.parametrize("fault", LIMA_FAULTS)
def test_lima_that_would_wait_for_ever_is_told_of(tmp_path: Path, fault: str) -> None:
    change, told = LIMA_FAULTS[fault]
    play = stand_ins.lima(tmp_path / "guest")
    change(play)
    with pytest.raises(PipelineError, match=told):
        evidence(play, "lima_is_told")
