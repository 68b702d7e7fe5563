"""Real machines: tiny guests of a few dozen bytes that boot, speak, wait, loop, panic, power off.

Each guest is a boot sector made here. They run under whatever accelerator the probe finds, in a
fraction of a second; one test boots UEFI firmware.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from pipeline.definitions.model import Firmware
from pipeline.foundation.errors import MissingRequirement, PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Size
from pipeline.foundation.waiting import Timeout, wait_until
from pipeline.machine import image
from pipeline.machine.accelerator import choose
from pipeline.machine.boot import boot
from pipeline.machine.loop import run
from pipeline.machine.machine import Machine
from pipeline.machine.qemu import ask_qemu
from pipeline.machine.runtime import base, runtime_folder
from pipeline.machine.sidecars import virtiofsd_binary
from pipeline.machine.spec import MachineSpec, Share
from pipeline.machine.watch import Fault, Limits, MachineFault, Phase, answer_cd_prompt, watch
from tests.tools import require

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("own_runtime")]

# Guests, in real mode


def say(text: str) -> bytes:
    """``mov dx, 0x3f8``, then for each character ``mov al, …; out dx, al``."""
    return b"\xba\xf8\x03" + b"".join(b"\xb0" + bytes([c]) + b"\xee" for c in text.encode())


SLEEP = b"\xfb\xf4\xeb\xfc"  # again: sti; hlt; jmp again
RESET = b"\xb0\x06\xba\xf9\x0c\xee" + SLEEP  # write 6 to port 0xcf9
PANIC = b"\xb0\x01\xba\x05\x05\xee" + SLEEP  # write 1 to pvpanic's port 0x505
POWER_OFF = b"\xba\x04\x06\xb8\x00\x20\xef" + SLEEP  # write 0x2000 to PM1a_CNT
KEY = b"\xb4\x00\xcd\x16"  # wait for a key; the character is in al
ONLY_SPACE = b"\x3c\x20\x75\xf8"  # cmp al, ' '; jne back to KEY
# Enable the power button's event, then sleep until its status bit is set.
BUTTON = b"\xba\x02\x06\xb8\x00\x01\xef\xba\x00\x06\xfb\xf4\xed\xf6\xc4\x01\x74\xf8"
ALIVE = say("\r\nGOLDEN pass alive\r\n")


def disk(folder: Path, *code: bytes) -> Path:
    """A disk whose boot sector is ``code``."""
    path = folder / "a disk, raw.img"
    sector = b"\xfa\x31\xc0\x8e\xd8\x8e\xd0\xbc\x00\x7c" + b"".join(code)  # cli; a stack
    assert len(sector) <= 510
    path.write_bytes((sector.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
    return path


@pytest.fixture(autouse=True, scope="session")
def _programs() -> None:
    require("qemu-system-x86_64", "qemu-img", "setpriv")


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One for all tests, so that the probe runs once."""
    folder = tmp_path_factory.mktemp("a workspace")
    return Workspace(folder / "root", folder / "output", folder / "cache")


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    return tmp_path / "evidence, of a run"


def spec(tmp_path: Path, *code: bytes) -> MachineSpec:
    return MachineSpec(
        name="tiny",
        firmware=Firmware.BIOS,
        cpus=1,
        memory=Size(64 << 20),
        disk=disk(tmp_path, *code),
        disk_format="raw",
        throwaway=True,
    )


def gone(pid: int) -> bool:
    """The process is dead; one that nobody has waited for yet counts as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def family(pid: int) -> set[int]:
    """A process and its descendants."""
    found = {pid}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found |= {p for child in children.read_text().split() for p in family(int(child))}
    return found


def assert_gone(pids: set[int]) -> None:
    wait_until("all of them ended", lambda: all(gone(pid) for pid in pids), 20, 0.02)


def assert_nothing_left() -> None:
    with runtime_folder() as mine:  # sweeps
        assert [path for path in base().iterdir() if path.is_dir()] == [mine]


@asynccontextmanager
async def speaking(
    what: MachineSpec, workspace: Workspace, evidence: Path
) -> AsyncIterator[Machine]:
    async with boot(what, workspace, evidence) as machine:
        await machine.console.wait_for("GOLDEN pass alive", 30)
        yield machine


# Boot and end


def test_a_guest_boots_speaks_and_leaves_evidence(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    async def main() -> None:
        async with speaking(spec(tmp_path, ALIVE, SLEEP), workspace, evidence) as machine:
            assert [beacon.text for beacon in machine.console.beacons] == ["pass alive"]
            assert "SeaBIOS" in " ".join(machine.console.lines)
            with socket.create_connection(("127.0.0.1", machine.ssh_port), 5):
                pass
            shot = await machine.screenshot("a phase")
            assert shot
            assert shot.name == "0000-a-phase.png"
            assert shot.read_bytes().startswith(b"\x89PNG")
            assert (await machine.disk_traffic())[1] == 0
            kept = [await machine.screenshot("again") for _ in range(6)]
            assert kept[3:] == [None] * 3  # the cursor blinks: two screens at most
            assert machine.process.pid in family(os.getpid())
        assert not machine.alive
        assert not machine.ending().clean
        assert machine.ending().reason == "host-qmp-quit"

    run(main())
    assert b"GOLDEN pass alive" in (evidence / "com1.log").read_bytes()
    assert "qemu-system-x86_64" in (evidence / "command.txt").read_text()
    logged = (evidence / "qmp.log").read_text().splitlines()
    assert any('"qmp_capabilities"' in line for line in logged)
    assert json.loads(logged[0].split(" ", 2)[2])["QMP"]
    assert_nothing_left()


def test_the_cd_prompt_is_answered_with_a_space(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    prompt = say("Press any key to boot from CD or DVD")
    guest = spec(tmp_path, prompt, b"\xfb", KEY, ONLY_SPACE, ALIVE, SLEEP)

    async def main() -> None:
        async with (
            boot(guest, workspace, evidence) as machine,
            watch(machine, [Phase("firmware", 60)], Silent(), also=[answer_cd_prompt]),
        ):
            await machine.console.wait_for("GOLDEN pass alive", 30)

    run(main())
    assert (evidence / "qmp.log").read_text().count('"send-key"') == 1


def test_a_command_line_that_qemu_refuses_is_said_with_its_words(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    broken = replace(spec(tmp_path, SLEEP), disk=tmp_path / "absent.img")

    async def main() -> None:
        async with boot(broken, workspace, evidence):
            pass

    with pytest.raises(PipelineError, match=r"did not start: exit code 1(.|\n)*absent\.img"):
        run(main())
    assert_nothing_left()


def test_a_port_that_is_taken_is_named(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    async def main(port: int) -> None:
        async with boot(replace(spec(tmp_path, SLEEP), ssh_port=port), workspace, evidence):
            pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PipelineError) as raised:
            run(main(port))
    assert raised.value.message == f"tiny: port {port} of 127.0.0.1 is taken by another program"
    assert_nothing_left()


# The ladder


def ended_by(
    machine_spec: MachineSpec,
    workspace: Workspace,
    evidence: Path,
    *,
    soft: Callable[[Machine], Awaitable[object]] | None = None,
    before: Callable[[Machine], None] = lambda _: None,
) -> tuple[str, bool]:
    async def main() -> tuple[str, bool]:
        async with speaking(machine_spec, workspace, evidence) as machine:
            before(machine)
            command = (lambda: soft(machine)) if soft else None
            ending = await machine.shutdown(command, 1)
            assert gone(machine.process.pid)
            assert machine.process.returncode is not None
            return ending.rung, ending.clean

    return run(main())


def test_the_guests_own_command_ends_it(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    guest = spec(tmp_path, ALIVE, b"\xfb", KEY, POWER_OFF)

    async def press(machine: Machine) -> None:
        await machine.press("ret")

    assert ended_by(guest, workspace, evidence, soft=press) == ("guest", True)


def test_the_power_button_ends_it(tmp_path: Path, workspace: Workspace, evidence: Path) -> None:
    guest = spec(tmp_path, ALIVE, BUTTON, POWER_OFF)
    assert ended_by(guest, workspace, evidence) == ("power-button", True)


def test_a_deaf_guest_is_cut_off_and_that_is_told(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    guest = spec(tmp_path, ALIVE, SLEEP)

    async def refused(machine: Machine) -> None:
        raise PipelineError("SSH does not answer")

    assert ended_by(guest, workspace, evidence, soft=refused) == ("quit", False)


def test_a_frozen_qemu_is_killed(
    tmp_path: Path, workspace: Workspace, evidence: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.machine.monitor.DEADLINE", 0.5)
    monkeypatch.setattr("pipeline.machine.machine.SIGNAL_PATIENCE", 0.5)
    guest = spec(tmp_path, ALIVE, SLEEP)

    def freeze(machine: Machine) -> None:
        machine.process.send_signal(signal.SIGSTOP)

    assert ended_by(guest, workspace, evidence, before=freeze) == ("SIGKILL", False)


def test_a_guest_that_powers_off_is_waited_for(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    async def main() -> None:
        guest = spec(tmp_path, ALIVE, b"\xfb", KEY, POWER_OFF)
        async with speaking(guest, workspace, evidence) as machine:
            with pytest.raises(Timeout, match="did not power off within"):
                await machine.wait_end(0.1)
            await machine.press("spc")
            ending = await machine.wait_end(20)
            assert ending.clean
            assert ending.rung == ""

    run(main())


# The watch


def faulted(
    machine_spec: MachineSpec,
    workspace: Workspace,
    evidence: Path,
    act: Callable[[Machine], Awaitable[None]] | None = None,
    limits: Limits | None = None,
) -> MachineFault:
    async def main() -> None:
        async with (
            boot(machine_spec, workspace, evidence) as machine,
            watch(machine, [Phase("all", 60)], Silent(), limits or Limits(look=0.2)),
        ):
            if act:
                await machine.console.wait_for("GOLDEN pass alive", 30)
                await act(machine)
            await asyncio.sleep(60)

    with pytest.raises(MachineFault) as raised:
        run(main())
    assert raised.value.evidence == evidence
    assert_nothing_left()
    return raised.value


@pytest.mark.parametrize(
    ("guest", "fault"),
    [
        (ALIVE + PANIC, Fault.PANIC),
        (ALIVE + RESET, Fault.BOOT_LOOP),
        (ALIVE + POWER_OFF, Fault.POWERED_OFF),
    ],
    ids=["panic", "boot-loop", "power-off"],
)
def test_what_the_guest_does_is_named(
    tmp_path: Path, workspace: Workspace, evidence: Path, guest: bytes, fault: Fault
) -> None:
    assert faulted(spec(tmp_path, guest), workspace, evidence).fault is fault


def test_an_empty_disk_is_nothing_to_boot_from(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    empty = spec(tmp_path, SLEEP)
    empty.disk.write_bytes(bytes(1 << 20))
    assert faulted(empty, workspace, evidence).fault is Fault.NOTHING_BOOTS


def test_a_guest_that_does_nothing_is_noticed(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    limits = Limits(idle=0.5, look=0.1, screen=0.2)
    error = faulted(spec(tmp_path, ALIVE, SLEEP), workspace, evidence, limits=limits)
    assert error.fault is Fault.NO_PROGRESS
    assert "last beacon was 'pass alive'" in error.hint


def test_qemus_death_is_noticed(tmp_path: Path, workspace: Workspace, evidence: Path) -> None:
    async def kill(machine: Machine) -> None:
        machine.process.kill()

    error = faulted(spec(tmp_path, ALIVE, SLEEP), workspace, evidence, kill)
    assert error.fault is Fault.QEMU_DIED
    assert "SIGKILL" in error.message


def with_share(machine_spec: MachineSpec, tmp_path: Path) -> MachineSpec:
    try:
        virtiofsd_binary()
    except MissingRequirement:
        require("virtiofsd")
    shared = tmp_path / "a shared folder"
    shared.mkdir()
    return replace(machine_spec, share=Share(shared))


def test_virtiofsds_death_is_noticed(tmp_path: Path, workspace: Workspace, evidence: Path) -> None:
    async def kill(machine: Machine) -> None:
        machine.sidecars[0].process.kill()

    guest = with_share(spec(tmp_path, ALIVE, SLEEP), tmp_path)
    error = faulted(guest, workspace, evidence, kill)
    assert error.fault is Fault.SIDECAR_DIED
    assert "virtiofsd" in error.message


def test_uefi_with_secure_boot_tpm_share_and_all_disks(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    require("swtpm")
    image.create(tmp_path / "empty.qcow2", Size(1 << 30))
    image.create(tmp_path / "second.qcow2", Size(64 << 20))
    cd = tmp_path / "empty.iso"
    cd.write_bytes(bytes(1 << 20))
    full = MachineSpec(
        name="uefi",
        firmware=Firmware.UEFI,
        cpus=2,
        memory=Size(256 << 20),
        disk=tmp_path / "empty.qcow2",
        scsi_disk=tmp_path / "second.qcow2",
        cdroms=(cd, cd),
        removable=(tmp_path / "stick.img",),
        tpm=True,
        secure_boot=True,
        state=tmp_path / "state",
        throwaway=True,
    )
    (tmp_path / "stick.img").write_bytes(bytes(1 << 20))
    error = faulted(with_share(full, tmp_path), workspace, evidence)
    assert error.fault is Fault.NOTHING_BOOTS
    assert (tmp_path / "state" / "variables.fd").stat().st_size > 100_000
    assert list((tmp_path / "state" / "tpm").iterdir())


# Whatever happens to us


async def _own(what: MachineSpec, workspace: Workspace, evidence: Path, tell: Connection) -> None:
    async with speaking(what, workspace, evidence) as machine:
        tell.send([machine.process.pid, *(side.process.pid for side in machine.sidecars)])
        await asyncio.sleep(600)


def _owner(what: MachineSpec, workspace: Workspace, evidence: Path, tell: Connection) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # however the tests were started
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with suppress(KeyboardInterrupt):
        run(_own(what, workspace, evidence, tell))


def start_owner(tmp_path: Path, workspace: Workspace, evidence: Path) -> tuple[Any, list[int]]:
    """A process that owns a machine with a share; gives it and the pids of QEMU and virtiofsd."""
    choose(workspace)
    ask_qemu(workspace)
    guest = with_share(spec(tmp_path, ALIVE, SLEEP), tmp_path)
    fork: Any = multiprocessing.get_context("fork")
    hear, tell = fork.Pipe(duplex=False)
    owner = fork.Process(target=_owner, args=(guest, workspace, evidence, tell))
    owner.start()
    assert hear.poll(60)
    told: list[int] = hear.recv()
    return owner, told


def test_a_second_interrupt_ends_a_frozen_qemu_too(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    owner, told = start_owner(tmp_path, workspace, evidence)
    pids = {pid for each in told for pid in family(each)}
    os.kill(told[0], signal.SIGSTOP)
    os.kill(owner.pid, signal.SIGINT)
    log = evidence / "qmp.log"
    wait_until("the first interrupt cleans up", lambda: "screendump" in log.read_text(), 20)
    os.kill(owner.pid, signal.SIGINT)
    owner.join(20)
    assert owner.exitcode is not None
    assert_gone(pids)
    assert_nothing_left()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_outlives_the_owner(
    tmp_path: Path, workspace: Workspace, evidence: Path, sign: signal.Signals
) -> None:
    owner, told = start_owner(tmp_path, workspace, evidence)
    pids = {pid for each in told for pid in family(each)}
    assert len(pids) >= 2
    assert not any(gone(pid) for pid in pids)
    os.kill(owner.pid, sign)
    owner.join(30)
    assert owner.exitcode is not None
    assert_gone(pids)
    assert_nothing_left()
    if sign is not signal.SIGKILL:  # it cleaned up by itself
        assert owner.exitcode == 0
        assert '"quit"' in (evidence / "qmp.log").read_text()


def test_an_error_in_the_block_ends_everything(
    tmp_path: Path, workspace: Workspace, evidence: Path
) -> None:
    guest = with_share(spec(tmp_path, ALIVE, SLEEP), tmp_path)
    pids: set[int] = set()

    async def main() -> None:
        async with speaking(guest, workspace, evidence) as machine:
            pids.update(family(machine.process.pid))
            pids.update(family(machine.sidecars[0].process.pid))
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run(main())
    assert all(gone(pid) for pid in pids)
    assert list(evidence.glob("*-end.png"))


# Images


def test_layers_are_named_relative_to_each_other(tmp_path: Path) -> None:
    first, second = tmp_path / "one" / "base.qcow2", tmp_path / "two words" / "layer.qcow2"
    image.create(first, Size(64 << 20))
    image.overlay(second, first, size=Size(128 << 20))
    assert image.info(second).backing == "../one/base.qcow2"
    assert image.info(second).virtual_size == 128 << 20
    image.check(second)
    tmp_path.joinpath("moved").mkdir()
    for folder in ("one", "two words"):
        (tmp_path / folder).rename(tmp_path / "moved" / folder)
    flat = tmp_path / "flat.qcow2"
    image.convert(tmp_path / "moved" / "two words" / "layer.qcow2", flat, ["-c"])
    assert image.info(flat).backing is None
    assert not list(tmp_path.glob(".*part"))


def test_a_damaged_image_is_said(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    image.create(path, Size(64 << 20))
    data = bytearray(path.read_bytes())
    data[0x30000:0x30008] = b"\xff" * 8  # an entry of the first-level table
    path.write_bytes(data)
    with pytest.raises(PipelineError, match="damaged"):
        image.check(path)
    with pytest.raises(PipelineError, match="no disk image"):
        image.info(tmp_path / "absent")


def test_too_little_space_is_said_before_it_is_needed(tmp_path: Path) -> None:
    image.require_space(tmp_path, 1, "a build")
    with pytest.raises(PipelineError, match="a build needs"):
        image.require_space(tmp_path, 1 << 60, "a build")
