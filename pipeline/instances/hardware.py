"""The machine of an instance: what the manifest says, with what its owner asked for."""

from __future__ import annotations

import socket
from contextlib import closing

from pipeline.foundation.errors import PipelineError
from pipeline.instances.instance import Home, Instance
from pipeline.machine.spec import MachineSpec

LOOPBACK = "127.0.0.1"


class PortTaken(PipelineError):
    """Another program listens on the port that was asked for."""


def machine_spec(home: Home, instance: Instance, port: int) -> MachineSpec:
    """The machine to boot: the instance's own disk, firmware variables and TPM, nothing shared.

    It may reach the network, as a consumer's machine does; it is reached on loopback alone. Its
    disk is flushed when the guest asks for it, for it is not thrown away.
    """
    return MachineSpec(
        name=instance.name,
        firmware=instance.firmware,
        cpus=instance.cpus,
        memory=instance.memory,
        disk=home.disk,
        cdroms=(home.disc,),
        share=instance.share,
        tpm=instance.tpm,
        secure_boot=instance.secure_boot,
        state=home.machine,
        ssh_port=port,
        network=True,
    )


def port_is_free(port: int) -> bool:
    """Whether nobody listens on the port of loopback."""
    with closing(socket.socket(socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_port(instance: Instance) -> int:
    """The port for this start: the one of last time, else one that the kernel chooses (0).

    A port that was asked for is insisted on: raises :class:`PortTaken`.
    """
    if not instance.port or port_is_free(instance.port):
        return instance.port
    if not instance.fixed:
        return 0
    raise PortTaken(
        f"{instance.name}: port {instance.port} of {LOOPBACK} is taken by another program",
        hint="end that program, or give another --port",
    )
