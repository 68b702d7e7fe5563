"""The machine of an instance; for Windows with KVM its whole command line, part by part."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.definitions.model import Firmware
from pipeline.foundation.paths import Workspace
from pipeline.instances.hardware import PortTaken, choose_port, machine_spec
from pipeline.instances.instance import Home, Instance
from pipeline.machine.command import command
from pipeline.machine.spec import Share
from tests.unit.instances.samples import WINDOWS
from tests.unit.machine.test_command import WIRING, after, devices, host, nodes

HOME = Home(Workspace(Path("/root"), Path("/out put"), Path("/cache")), "agent")
MINE = "/out put/instances/agent"


def words(instance: Instance = WINDOWS, accelerator: str = "kvm", port: int = 2222) -> list[str]:
    return command(machine_spec(HOME, instance, port), host(accelerator), WIRING)


def test_windows_with_kvm() -> None:
    argv = words()
    assert after(argv, "-name") == ["guest=agent"]
    assert after(argv, "-accel") == ["kvm"]
    assert {"host", "hv-time", "hv-vapic"} <= set(after(argv, "-cpu")[0].split(","))
    assert after(argv, "-smp") == ["cpus=2,sockets=1,cores=2,threads=1"]
    assert after(argv, "-m") == ["size=4096M"]
    machine = after(argv, "-machine")[0].split(",")
    assert machine[0] == "q35"
    assert {"smm=on", "pflash0=code", "pflash1=variables", "hpet=off"} <= set(machine)
    assert devices(argv, "tpm-crb") == ["tpm-crb,tpmdev=tpm0"]


def test_i1_the_disk_is_its_own_and_flushed_when_the_guest_says_so() -> None:
    disk = nodes(words())["disk"]
    assert (disk["driver"], disk["file"]["filename"]) == ("qcow2", f"{MINE}/disk.qcow2")
    assert disk["cache"] == disk["file"]["cache"] == {"direct": False, "no-flush": False}
    assert not any(str(WINDOWS.disk) in word for word in words())  # the image is only its base


def test_the_first_boot_disc_is_read_only_and_boots_second() -> None:
    argv = words()
    assert nodes(argv)["cd0"]["read-only"] is True
    assert nodes(argv)["cd0"]["file"]["filename"] == f"{MINE}/first-boot.iso"
    assert "bootindex=1" in devices(argv, "virtio-blk-pci")[0]


def test_it_reaches_the_network_and_is_reached_on_loopback_alone() -> None:
    assert after(words(), "-netdev") == ["user,id=net,restrict=off,hostfwd=tcp:127.0.0.1:2222-:22"]


@pytest.mark.parametrize("share", [None, Share(Path("/mine"), "work")])
def test_memory_is_shared_exactly_when_a_folder_is(share: Share | None) -> None:
    argv = words(replace(WINDOWS, share=share))
    memory = [text for text in after(argv, "-object") if "memory" in text]
    assert bool(memory) is bool(share)
    assert all("share=on" in text and "size=4096M" in text for text in memory)
    assert bool(devices(argv, "vhost-user-fs-pci")) is bool(share)
    assert all("tag=work" in text for text in devices(argv, "vhost-user-fs-pci"))


def test_under_emulation_and_with_bios() -> None:
    plain = replace(WINDOWS, firmware=Firmware.BIOS, tpm=False, secure_boot=False)
    argv = words(plain, "tcg")
    assert after(argv, "-cpu") == ["max"]
    assert devices(argv, "tpm-crb") == []
    assert set(nodes(argv)) == {"disk", "cd0"}


def test_variables_and_tpm_are_kept_with_the_instance() -> None:
    assert machine_spec(HOME, WINDOWS, 0).state == Path(MINE) / "machine"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_asked_for_is_insisted_on(taken: int) -> None:
    with pytest.raises(PortTaken, match=f"port {taken} of 127.0.0.1 is taken"):
        choose_port(replace(WINDOWS, port=taken, fixed=True))


def test_a_port_of_last_time_is_only_preferred(taken: int) -> None:
    assert choose_port(replace(WINDOWS, port=taken)) == 0
    assert choose_port(WINDOWS) == 0


def test_a_port_that_is_free_is_used_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert choose_port(replace(WINDOWS, port=port, fixed=True)) == port
