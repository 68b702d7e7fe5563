"""What a virtual machine is made of, as frozen data.

:class:`MachineSpec` is what the caller wants; :class:`Wiring` is how one particular run is
connected to us. Together with what the host can do they make QEMU's command line (``command``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.definitions.model import Firmware
from pipeline.foundation.units import Size


@dataclass(frozen=True, slots=True)
class Share:
    """A host folder that the guest sees over virtio-fs under ``tag``."""

    directory: Path
    tag: str = "golden"


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine to boot.

    ``disk`` is on virtio-blk and boots first. ``cdroms`` are attached in their order; of them only
    ``boot_cd`` boots (the first one, when it is left out), wherever it is. ``scsi_disk`` is a small
    disk on the other bus, so that both storage drivers get bound.
    ``removable`` are raw images seen as USB sticks. ``throwaway`` says that a crash of the host may
    cost the disks, which buys speed. ``state`` keeps firmware variables and the TPM between boots;
    without it they last as long as the machine. ``ssh_port`` 0 lets the kernel choose; ``network``
    opens the way out, which a build never needs.
    """

    name: str
    firmware: Firmware
    cpus: int
    memory: Size
    disk: Path
    scsi_disk: Path | None = None
    cdroms: tuple[Path, ...] = ()
    boot_cd: Path | None = None
    removable: tuple[Path, ...] = ()
    share: Share | None = None
    tpm: bool = False
    secure_boot: bool = False
    throwaway: bool = False
    state: Path | None = None
    ssh_port: int = 0
    network: bool = False
    disk_format: str = "qcow2"


@dataclass(frozen=True, slots=True)
class Wiring:
    """How one run is connected: each field is a QEMU chardev backend, or a file.

    In a run they are ``socket,fd=N``: both ends exist before QEMU starts, so nothing waits for a
    socket file, races for one or leaves one behind. ``log`` receives all of COM1.
    """

    monitor: str
    com1: str
    log: Path
    variables: Path | None = None
    share: str | None = None
    tpm: str | None = None


def by_hand(wiring: Wiring) -> Wiring:
    """The same machine with sockets that a person can make: for the command kept as evidence."""
    folder = wiring.log.parent
    return Wiring(
        monitor=f"socket,path={option(folder / 'monitor.sock')},server=on,wait=off",
        com1="stdio",
        log=folder / "com1-by-hand.log",
        variables=wiring.variables,
        share=wiring.share and f"socket,path={option(folder / 'share.sock')}",
        tpm=wiring.tpm and f"socket,path={option(folder / 'tpm.sock')}",
    )


def option(value: object) -> str:
    """``value`` inside a comma-separated QEMU option, where a comma is doubled."""
    return str(value).replace(",", ",,")
