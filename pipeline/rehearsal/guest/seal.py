"""Seal, by the contract: clean, then a task of its own generalises and switches the machine off."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from . import faults, firstboot, linux, power, sshd
from .machine import Machine

STATE = r"HKLM\SYSTEM\Setup\State"
WINLOGON = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon"
CONTROL = r"HKLM\SYSTEM\CurrentControlSet\Control"
OWN = "ProgramData/golden"
GENERALISED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
ANSWER_FILES = (
    "Windows/Panther/unattend.xml",
    "Windows/Panther/Unattend/unattend.xml",
    "Windows/System32/Sysprep/unattend.xml",
)


class SealFailed(Exception):
    """A part of sealing did not succeed."""


def _empty(folder: Path) -> bool:
    """Remove what is in a folder; whether there was anything."""
    entries = list(folder.iterdir()) if folder.is_dir() else []
    for entry in entries:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return bool(entries)


def _nothing(machine: Machine, config: dict[str, Any]) -> bool:
    """What an image of the stand-in never has."""
    del machine, config
    return False


def _folder(name: str) -> Callable[[Machine, dict[str, Any]], bool]:
    return lambda machine, _: _empty(machine.c / name)


def _hibernation(machine: Machine, config: dict[str, Any]) -> bool:
    del config
    key, name = f"{CONTROL}\\Power", "HibernateEnabled"
    changed = bool(machine.registry.data(key, name) != 0)
    machine.registry.set(key, name, 0, "DWord")
    return changed


def _credentials(machine: Machine, config: dict[str, Any]) -> bool:
    """The automatic logon and its password."""
    del config
    found = machine.registry.get(WINLOGON, "DefaultPassword") is not None
    machine.registry.delete(WINLOGON, "DefaultPassword")
    machine.registry.set(WINLOGON, "AutoAdminLogon", "0")
    return found


def _panther(machine: Machine, config: dict[str, Any]) -> bool:
    """Setup's copies of the answer file, which hold the build's passwords."""
    del config
    found = [machine.c / name for name in ANSWER_FILES if (machine.c / name).exists()]
    for path in found:
        path.unlink()
    _empty(machine.c / "Windows/Panther")
    return bool(found)


def _first_boot(machine: Machine, config: dict[str, Any]) -> bool:
    """What first boot needs lies in place."""
    for name in config["first_boot"]["files"]:
        if not machine.path(f"C:/{OWN}/{name}").is_file():
            raise SealFailed(f"{name}, which first boot needs, was not uploaded")
    machine.registry.set(firstboot.KEY, "User", config["user"])
    return True


STEPS: dict[str, Callable[[Machine, dict[str, Any]], bool]] = {
    "component-store": _nothing,
    "caches": _folder("Windows/Temp"),
    "logs": _folder("Windows/Logs"),
    "pagefile": _nothing,
    "hibernation": _hibernation,
    "recovery": _nothing,
    "event-logs": _folder("Windows/System32/winevt/Logs"),
    "credentials": _credentials,
    "panther": _panther,
    "first-boot": _first_boot,
    "trim": _nothing,
}


def _config(machine: Machine, words: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="seal.ps1", add_help=False, exit_on_error=False)
    parser.add_argument("-config", required=True)
    given = parser.parse_args([w.lower() if w.startswith("-") else w for w in words])
    config: dict[str, Any] = json.loads(machine.path(given.config).read_bytes())
    if config.get("schema") != 1 or not {"user", "generalise", "first_boot"} <= config.keys():
        raise ValueError(f"{given.config} is no configuration of schema 1")
    return config


def _say(out: TextIO, step: str, state: str, started: float, message: str = "") -> None:
    seconds = round(time.monotonic() - started, 1)
    line = {"step": step, "kind": "seal", "state": state, "seconds": seconds, "message": message}
    print(json.dumps(line), file=out, flush=True)


def run(machine: Machine, words: list[str], out: TextIO) -> int:
    """Clean, and hand generalising to a task of its own; 0 when that was done."""
    began = time.monotonic()
    try:
        config = _config(machine, words)
    except (argparse.ArgumentError, OSError, ValueError, SystemExit) as error:
        print(f"seal: {error}", file=sys.stderr, flush=True)
        return 1
    linux.serial("GOLDEN seal cleaning")
    result, message = "done", ""
    for name, work in STEPS.items():
        started = time.monotonic()
        try:
            _say(out, name, "changed" if work(machine, config) else "ok", started)
        except (SealFailed, OSError) as error:
            result, message = "failed", f"{name}: {error}"
            _say(out, name, "failed", started, str(error))
            break
    if result == "done" and config["generalise"]:
        _say(out, "generalise", "changed", time.monotonic())
        _hand_over(machine, config)
    seconds = round(time.monotonic() - began, 1)
    last = {"plan": "seal", "result": result, "steps": len(STEPS) + 1, "seconds": seconds}
    print(json.dumps(last | {"message": message}), file=out, flush=True)
    if result == "failed":
        linux.serial(f"GOLDEN seal failed {message}"[:200])
    return 0 if result == "done" else 1


def _hand_over(machine: Machine, config: dict[str, Any]) -> None:
    """Go on in a process that is no child of the session and holds none of its pipes."""
    sys.stdout.flush()
    if os.fork():
        return
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(null, handle)
    os.closerange(3, 256)
    code = 0
    try:
        time.sleep(0.5)  # the session reports "done" and hangs up by itself
        _generalise(machine, config)
    except BaseException as error:
        linux.serial(f"GOLDEN seal failed {error}"[:200])
        code = 1
    finally:
        os._exit(code)


def _generalise(machine: Machine, config: dict[str, Any]) -> None:
    linux.serial("GOLDEN seal generalising")
    log = machine.path(r"C:\Windows\System32\Sysprep\Panther\setuperr.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    if faults.on("generalise-fails"):
        log.write_text("Error SYSPRP: a fault of the rehearsal: generalise-fails\r\n")
        raise SealFailed("sysprep ended with exit code 1")
    answer_file = machine.path(f"C:/{OWN}/unattend-oobe.xml")
    if not answer_file.is_file():
        log.write_text("Error SYSPRP: the answer file of /unattend is missing\r\n")
        raise SealFailed("sysprep found no answer file")
    cached = machine.path(r"C:\Windows\Panther\unattend.xml")
    cached.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(answer_file, cached)
    machine.registry.set(STATE, "ImageState", GENERALISED)
    machine.registry.delete(r"HKLM\SOFTWARE\Microsoft\Cryptography", "MachineGuid")
    _forget(machine, config)
    linux.serial("GOLDEN seal generalised")
    if not faults.on("no-power-off"):
        power.ask("poweroff")


def _forget(machine: Machine, config: dict[str, Any]) -> None:
    """Remove the build's keys, the host keys and our own files except first boot's."""
    (machine.c / sshd.KEYS).unlink(missing_ok=True)
    for path in (machine.c / sshd.FOLDER).glob("ssh_host_*"):
        path.unlink()
    kept = {name.lower() for name in config["first_boot"]["files"]}
    for path in machine.path(f"C:/{OWN}").iterdir():
        if path.name.lower() not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
