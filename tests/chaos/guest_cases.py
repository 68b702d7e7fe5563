"""Faults inside the guest: Setup, the first logon, provisioning, sealing.

Those of Setup are baked into the medium, the others into the settings of the installed system's
boot loader; the guest does the rest by itself (``pipeline/rehearsal/guest/faults.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from pipeline.rehearsal.guest.faults import KNOWN
from tests.chaos.breaking import edited, flipped, installed_with, medium_with
from tests.chaos.case import Case, Seen
from tests.chaos.room import Room

Break = Callable[[Room, str], AbstractContextManager[None]]
SOONER = "0.6"  # GOLDEN_PATIENCE where a fault is noticed by a deadline
# What shows that the fault has come, where it is not the guest's last word.
BEGINS = {"boot-loop": r"GOLDEN pass specialize|pass specialize"}


def _watched(room: Room, fault: str, stage: str, broken: Break) -> Seen:
    """Run the stage with the fault; seconds count from the guest's last sign of life."""
    with broken(room, fault):
        run = room.start(stage)
        code = run.end()
    since = run.time_of(BEGINS[fault]) if fault in BEGINS else run.last_sign
    said = run.sentence() if code else "the run succeeds"
    return Seen(said, run.seconds_to_sentence(since or run.last_sign))


def _case(fault: str, stage: str, says: str, broken: Break, patience: str = "") -> Case:
    play = partial(_watched, fault=fault, stage=stage, broken=broken)
    return Case(fault, stage, KNOWN[fault], says, play, patience=patience)


def _edition_gone(room: Room) -> Seen:
    """An edition that the pin claims and the medium has not."""
    pins = room.workspace.checksums / "rehearsal.yaml"
    image = room.workspace.images / f"{room.image}.yaml"
    last = '- {index: 4, name: "Windows Rehearsal SERVERDATACENTER"}'
    claimed = last + '\n      - {index: 5, name: "Windows Rehearsal GONE"}'
    wanted = "edition: Windows Rehearsal"
    with edited(pins, last, claimed), edited(image, f"{wanted} SERVERDATACENTER", f"{wanted} GONE"):
        run = room.start("media")
        begun = run.wait_line("reading the medium")
        run.end()
    return Seen(run.sentence(), run.seconds_to_sentence(begun))


def _wrong_payload(room: Room) -> Seen:
    """One bit of a payload on the disc of answers is not what the plan says."""
    payload = room.part("openssh").read_bytes()
    with flipped(room.folder("cidata") / "cidata.iso", payload):
        run = room.start("install")
        run.end()
    return Seen(run.sentence(), run.seconds_to_sentence(run.last_sign))


def _other_host_key(room: Room) -> Seen:
    """The guest answers with a host key that is not the one that install saw."""
    receipt = room.folder("install") / "receipt.json"
    key = room.folder("install") / "build-key.pub"
    other = " ".join(key.read_text().split()[:2])
    recorded = json.loads(receipt.read_text())["facts"]["host_key"]
    with edited(receipt, recorded, other):
        run = room.start("provision")
        run.end()
    return Seen(run.sentence(), run.seconds_to_sentence(run.last_sign))


CASES = (
    Case(
        "edition-gone",
        "media",
        "the wanted edition is on the pin's list and not on the medium",
        "Windows Rehearsal GONE",
        _edition_gone,
    ),
    _case("no-storage-driver", "install", "Setup|waits|disk", medium_with),
    _case("no-edition", "install", "Setup|operating system", medium_with),
    _case("hang-windowsPE", "install", "windowsPE", medium_with),
    _case("hang-specialize", "install", "specialize", medium_with),
    _case("boot-loop", "install", "boot loop: .* resets", medium_with),
    _case("first-logon-fails", "install", "first-logon-fails.exe|oobeSystem", medium_with),
    _case("bootstrap-fails", "install", "the first logon failed: .* failed", medium_with),
    Case(
        "wrong-payload-hash",
        "install",
        "a bit of a payload on the disc of answers is flipped",
        "openssh.*(digest|SHA-256)|failed",
        _wrong_payload,
    ),
    _case("panic", "provision", "system panicked", installed_with),
    _case("sshd-never", "provision", "SSH|nothing has moved|not done", installed_with, SOONER),
    _case("key-refused", "provision", "refuses the key", installed_with),
    Case(
        "host-key-changed",
        "provision",
        "the guest has another host key than the one that install saw",
        "another host key",
        _other_host_key,
    ),
    _case("step-fails", "provision", "step .* failed: a fault of the rehearsal", installed_with),
    _case("early-power-off", "provision", "powered off before its work was done", installed_with),
    _case("generalise-fails", "seal", "sealing failed.*sysprep", installed_with),
    _case("no-power-off", "seal", "power off", installed_with, SOONER),
)
