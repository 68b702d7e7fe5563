"""The ways in which a machine goes wrong, each with a name of its own."""

from __future__ import annotations

from enum import StrEnum

from pipeline.foundation.errors import PipelineError
from pipeline.machine.machine import Machine


class Fault(StrEnum):
    """What the watch can see."""

    NOTHING_BOOTS = "no-bootable-device"
    BOOT_LOOP = "boot-loop"
    PANIC = "guest-panic"
    POWERED_OFF = "powered-off-early"
    QEMU_DIED = "qemu-died"
    SIDECAR_DIED = "sidecar-died"
    PHASE_TOO_LONG = "phase-too-long"
    NO_PROGRESS = "no-progress"
    WAITS = "waits-for-somebody"
    DISK_ERROR = "disk-error"


# After these the guest runs on, so that one can still log in to it and ask.
GUEST_RUNS_ON = frozenset(
    {Fault.BOOT_LOOP, Fault.SIDECAR_DIED, Fault.PHASE_TOO_LONG, Fault.NO_PROGRESS, Fault.WAITS}
)


class MachineFault(PipelineError):
    """Something that the watch saw; ``fault`` names its kind."""

    def __init__(self, fault: Fault, message: str, machine: Machine, hint: str = "") -> None:
        super().__init__(message, hint=hint, evidence=machine.evidence)
        self.fault = fault
