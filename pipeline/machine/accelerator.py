"""KVM or TCG, found by running something.

A ``/dev/kvm`` that opens proves nothing: under some hypervisors it is there and a hundred times
slower than QEMU's own emulation, or it kills QEMU. So a 512-byte disk is booted that enters long
mode, counts for a moment and writes to ``isa-debug-exit``: first under TCG, which sets the measure,
then under KVM with the very CPU model that machines get, with that measure as its deadline.

Comes out: :class:`Accelerator`, remembered in the output folder until QEMU, the boot or the access
to ``/dev/kvm`` changes. ``GOLDEN_ACCEL=kvm|tcg`` overrides it.
"""

from __future__ import annotations

import base64
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import ProgramFailed, run
from pipeline.machine.remember import identity, qemu_binary, remembered
from pipeline.machine.spec import option

KVM = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TCG_DEADLINE = 30.0
# What KVM may take, measured against TCG: real KVM needs less; start-up noise gets the constant.
FACTOR, ALLOWANCE = 1.5, 1.0
EXIT_CODE = 33  # (0x10 << 1) | 1, what isa-debug-exit makes of 0x10
DISK_BYTES = 1 << 20  # firmware refuses a disk of a single sector

# The enlightenments that Windows uses, spelled out: ``hv-passthrough`` would differ from host to
# host. hv-evmcs is left out, being of Intel only. They are part of the probe, so that the
# accelerator that is chosen is known to accept them.
ENLIGHTENMENTS = (
    "hv-relaxed",
    "hv-vapic",
    "hv-spinlocks=0x1fff",
    "hv-vpindex",
    "hv-runtime",
    "hv-synic",
    "hv-time",
    "hv-stimer",
    "hv-frequencies",
    "hv-reset",
    "hv-tlbflush",
    "hv-ipi",
)
CPU = {"kvm": ",".join(("host", *ENLIGHTENMENTS)), "tcg": "max"}
ACCEL = {"kvm": "kvm", "tcg": "tcg,thread=multi"}

# The boot sector; `nasm -f bin` makes these bytes of:
#
#         bits 16
#         org 0x7c00
# start:  cli
#         xor ax, ax
#         mov ds, ax
#         mov es, ax
#         mov ss, ax
#         mov sp, 0x7c00
#         cld
#         mov di, 0x1000              ; three page tables at 0x1000
#         mov cx, 0x3000 / 2
#         rep stosw
#         mov word [0x1000], 0x2003   ; level 4 -> level 3
#         mov word [0x2000], 0x3003   ; level 3 -> level 2
#         mov word [0x3000], 0x0083   ; one 2 MiB page: present, writable
#         mov eax, cr4
#         or al, 1 << 5               ; PAE
#         mov cr4, eax
#         mov eax, 0x1000
#         mov cr3, eax
#         mov ecx, 0xc0000080         ; EFER
#         rdmsr
#         or ah, 1                    ; LME
#         wrmsr
#         lgdt [gdtr]
#         mov eax, cr0
#         or eax, 0x80000001          ; PG, PE
#         mov cr0, eax
#         jmp 8:wide
#         bits 64
# wide:   mov ecx, 2000000            ; work enough to tell KVM from an emulation of it
#         xor eax, eax
# .again: add rax, rcx
#         xor [0x6000], rax
#         dec ecx
#         jnz .again
#         mov al, 0x10
#         mov dx, 0xf4                ; isa-debug-exit
#         out dx, al
#         hlt
#         jmp $
#         align 8
# gdt:    dq 0
#         dq 0x00209a0000000000       ; 64-bit code
# gdtr:   dw gdtr - gdt - 1
#         dd gdt
#         times 510 - ($ - $$) db 0
#         dw 0xaa55
CODE = base64.b64decode(
    "+jHAjtiOwI7QvAB8/L8AELkAGPOrxwYAEAMgxwYAIAMwxwYAMIMADyDgDCAPIuBmuAAQAAAPIthm"
    "uYAAAMAPMoDMAQ8wDwEWkHwPIMBmDQEAAIAPIsDqW3wIALmAhB4AMcBIAchIMQQlAGAAAP/JdfGw"
    "EGa69ADu9Ov+kJCQkJAAAAAAAAAAAAAAAAAAmiAADwCAfA=="
)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What runs the guest's code; ``seconds`` is the probe's time, ``note`` says why this one."""

    name: str
    seconds: float
    note: str


def boot_sector() -> bytes:
    """The probe's disk."""
    return (CODE.ljust(510, b"\0") + b"\x55\xaa").ljust(DISK_BYTES, b"\0")


def _probe(binary: Path, name: str, disk: Path, deadline: float) -> float:
    argv = [str(binary), "-machine", "q35", "-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-accel", ACCEL[name], "-cpu", CPU[name], "-m", "64", "-no-reboot"]
    argv += ["-drive", f"file={option(disk)},format=raw,if=virtio,readonly=on"]
    argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    started = time.monotonic()
    run(argv, deadline=deadline, ok=(EXIT_CODE,))
    return time.monotonic() - started


def _last_words(error: ProgramFailed) -> str:
    lines = [line.strip() for line in error.message.splitlines() if "command:" not in line]
    return f"{lines[0]}: {lines[-1]}" if len(lines) > 1 else lines[0]


def _find(binary: Path, kvm_opens: bool) -> Accelerator:
    with tempfile.TemporaryDirectory(prefix="golden-probe-") as folder:
        disk = Path(folder) / "probe.img"
        disk.write_bytes(boot_sector())
        tcg = _probe(binary, "tcg", disk, TCG_DEADLINE)
        if not kvm_opens:
            why = "is not open to this user" if KVM.exists() else "does not exist"
            return Accelerator("tcg", tcg, f"{KVM} {why}")
        limit = tcg * FACTOR + ALLOWANCE
        try:
            kvm = _probe(binary, "kvm", disk, limit)
        except ProgramFailed as error:
            return Accelerator("tcg", tcg, f"{KVM} opens but does not work: {_last_words(error)}")
    return Accelerator("kvm", kvm, f"the probe took {kvm:.2f} s, {tcg:.2f} s under TCG")


def choose(workspace: Workspace) -> Accelerator:
    """The accelerator for machines on this host."""
    binary = qemu_binary()
    if forced := os.environ.get("GOLDEN_ACCEL"):
        if forced not in ACCEL:
            raise PipelineError(f"GOLDEN_ACCEL={forced}: expected kvm or tcg")
        return Accelerator(forced, 0.0, "chosen by GOLDEN_ACCEL")
    kvm_opens = os.access(KVM, os.R_OK | os.W_OK)
    key = {"qemu": identity(binary), "boot": BOOT_ID.read_text().strip(), "kvm": kvm_opens}
    answer = remembered(
        workspace.output / "accelerator.json", key, lambda: asdict(_find(binary, kvm_opens))
    )
    return Accelerator(**answer)
