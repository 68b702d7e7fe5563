#!/usr/bin/env python3
"""Every native program of the fake machine: bin/<name>.exe is a link to this file.

Goes in: the arguments, as the real program takes them, and state.json in $GOLDEN_MACHINE. Comes
out: the changed state, the real program's exit codes, and a line in calls.jsonl. Arguments that the
real program would refuse are refused. ``state.programs[name]`` of a test overrides: ``exit`` (a
code, or a list of codes for one call after another; null: behave),
``output``, ``hang``, ``cut`` (kills the caller after the work is done: a power cut).
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MACHINE = Path(os.environ["GOLDEN_MACHINE"])
State = dict[str, Any]
Arguments = list[str]


def load() -> State:
    return dict(json.loads((MACHINE / "state.json").read_text()))


def save(state: State) -> None:
    (MACHINE / "state.json").write_text(json.dumps(state))


def entry(table: dict[str, Any], name: str) -> Any:
    """Windows does not care about the case of names."""
    return next((value for key, value in table.items() if key.lower() == name.lower()), None)


def effect(key: str, name: str | None = None, kind: str = "String", value: object = "") -> None:
    """A change of the registry, which PowerShell applies before its next look."""
    with (MACHINE / "effects.jsonl").open("a") as stream:
        stream.write(json.dumps({"key": key, "name": name, "type": kind, "value": value}) + "\n")


def refuse(text: str, code: int) -> int:
    print(text)
    return code


def options(words: Arguments, names: set[str]) -> dict[str, str] | None:
    """``name= value`` pairs, as sc.exe takes them; nothing when a name is not known."""
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    known = all(name.lower() in names for name in pairs)
    return pairs if known and len(words) % 2 == 0 else None


SERVICES = r"HKLM:\SYSTEM\CurrentControlSet\Services"


def sc_config(state: State, name: str, service: dict[str, Any], words: Arguments) -> int:
    given = options(words, {"binpath=", "depend=", "start=", "displayname=", "obj=", "type="})
    if given is None:
        return refuse(
            "DESCRIPTION: Modifies a service entry in the registry and Service Database.", 1639
        )
    starts = {"auto": "Auto", "demand": "Manual", "disabled": "Disabled"}
    if "start=" in given:
        service["start"] = starts[given["start="]]
    if "binPath=" in given:
        service["binary"] = given["binPath="]
    if "depend=" in given:
        service["depend"] = [needed for needed in given["depend="].split("/") if needed]
        effect(f"{SERVICES}\\{name}", "DependOnService", "MultiString", service["depend"])
    save(state)
    return refuse("[SC] ChangeServiceConfig SUCCESS", 0)


def sc_start(state: State, service: dict[str, Any]) -> int:
    if service["state"] == "Running":
        return refuse("[SC] StartService FAILED 1056:", 1056)
    if service["start"] == "Disabled":
        return refuse("[SC] StartService FAILED 1058:", 1058)
    for name in service["depend"]:
        other = entry(state["services"], name)
        if other is None:
            return refuse("[SC] StartService FAILED 1075:", 1075)
        if other["state"] != "Running":
            other["state"] = "Running"
    outcome = service.get("on_start", "runs")
    pending = "Start Pending"  # of one that is slow, until it was looked at twice
    states = {"runs": "Running", "dies": "Stopped", "hangs": pending, "slow": pending}
    service["state"] = states[outcome]
    service["exit_code"] = 1067 if outcome == "dies" else 0
    save(state)
    return refuse("        STATE              : 2  START_PENDING", 0)


def sc(arguments: Arguments) -> int:
    state = load()
    verb, name, words = arguments[0].lower(), arguments[1], arguments[2:]
    service = entry(state["services"], name)
    if service is None:
        return refuse(f"[SC] OpenService FAILED 1060:\n\n{name} does not exist.", 1060)
    if verb == "config":
        return sc_config(state, name, service, words)
    if verb == "start":
        return sc_start(state, service)
    if verb == "stop":
        if service["state"] == "Stopped":
            return refuse("[SC] ControlService FAILED 1062:", 1062)
        if service["state"].endswith("Pending") or service.get("busy", 0):
            service["busy"] = service.get("busy", 1) - 1  # so many times
            save(state)
            return refuse("[SC] ControlService FAILED 1061:", 1061)
        service["state"] = "Stopped"
        save(state)
        return 0
    if verb == "failure":
        return 0 if options(words, {"reset=", "actions="}) is not None else 1639
    return refuse("DESCRIPTION: SC is a command line program", 1639)


RIGHTS = {"F": 0x1F01FF, "RX": 0x1200A9}


def icacls(arguments: Arguments) -> int:
    state = load()
    path, words = arguments[0], arguments[1:]
    if not Path(path).exists():
        return refuse(f"{path}: The system cannot find the file specified.", 2)
    acl = state["acl"].setdefault(
        path,
        {
            "protected": False,
            "rules": [
                {
                    "sid": "S-1-5-32-545",
                    "allow": True,
                    "rights": 0x1200A9,
                    "flags": 0,
                    "inherited": True,
                }
            ],
        },
    )
    mode = ""
    for word in words:
        if word.startswith("/"):
            mode = word
            if mode == "/inheritance:r":
                acl["protected"] = True
                acl["rules"] = [rule for rule in acl["rules"] if not rule["inherited"]]
            elif mode not in ("/grant:r", "/remove:g", "/remove:d", "/C", "/Q"):
                return refuse(f'Invalid parameter "{word}"', 87)
        elif mode == "/grant:r":
            match = re.fullmatch(r"\*(S-[0-9-]+):((?:\(OI\)\(CI\))?)\((F|RX)\)", word)
            if not match:
                return refuse(f'Invalid parameter "{word}"', 87)
            sid, flags, letters = match.groups()
            acl["rules"] = [
                r for r in acl["rules"] if r["inherited"] or r["sid"] != sid or not r["allow"]
            ]
            acl["rules"].append(
                {
                    "sid": sid,
                    "allow": True,
                    "rights": RIGHTS[letters],
                    "flags": 3 if flags else 0,
                    "inherited": False,
                }
            )
        elif mode in ("/remove:g", "/remove:d"):
            keeps = mode == "/remove:d"
            acl["rules"] = [
                r
                for r in acl["rules"]
                if r["inherited"] or "*" + r["sid"] != word or r["allow"] is keeps
            ]
        else:
            return refuse(f'Invalid parameter "{word}"', 87)
    save(state)
    return refuse("Successfully processed 1 files; Failed to process 0 files", 0)


UNINSTALL = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall"


def msiexec_arguments(arguments: Arguments) -> tuple[str, str, dict[str, str]] | None:
    """Package, log file and properties; nothing when msiexec would show its help."""
    if arguments[:1] != ["/i"] or arguments[2:5] != ["/qn", "/norestart", "/l*v"]:
        return None
    pairs = [word.partition("=") for word in arguments[6:]]
    if not all(re.fullmatch("[A-Z_]+", name) for name, _, _ in pairs):
        return None
    return arguments[1], arguments[5], {name: value for name, _, value in pairs}


def msiexec(arguments: Arguments) -> int:
    parsed = msiexec_arguments(arguments)
    if parsed is None:
        return 1639
    package, log, properties = parsed
    known = json.loads(Path(package).read_text())
    code = int(forced if (forced := take_exit("msiexec.exe")) is not None else known.get("exit", 0))
    Path(log).unlink(missing_ok=True)
    if (said := known.get("log", "=== Logging stopped ===\n")) is not None:
        Path(log).write_text("\ufeff" + said, "utf-16-le")
    if code in (0, 1641, 3010):
        state = load()
        state["msi"].append(properties)
        save(state)
        key = UNINSTALL.replace("SOFTWARE", known.get("hive", "SOFTWARE"))
        effect(
            key + "\\" + known["properties"]["ProductCode"],
            "DisplayVersion",
            value=known.get("registers", known["properties"]["ProductVersion"]),
        )
        for service in known.get("services", []):
            state["services"][service] = {
                "binary": "x.exe",
                "display_name": service,
                "start": "Auto",
                "state": "Running",
                "depend": [],
                "exit_code": 0,
            }
            save(state)
    return code


def pnputil(arguments: Arguments) -> int:
    if len(arguments) != 3 or arguments[0] != "/add-driver" or arguments[2] != "/install":
        return refuse("Microsoft PnP Utility", 87)
    inf = Path(arguments[1])
    code = take_exit("pnputil.exe") or 0
    if code in (0, 259, 3010):
        store = MACHINE / "c/Windows/System32/DriverStore/FileRepository"
        folder = store / f"{inf.name.lower()}_amd64_0123456789abcdef"
        folder.mkdir(parents=True, exist_ok=True)
        for file in inf.parent.iterdir():
            if file.stem == inf.stem:
                (folder / file.name.lower()).write_bytes(file.read_bytes())
    return refuse("Added driver packages:  1", int(code))


def wusa(arguments: Arguments) -> int:
    if len(arguments) != 3 or arguments[1:] != ["/quiet", "/norestart"]:
        return 87
    state = load()
    known = json.loads(Path(arguments[0]).read_text())
    state["task_result"] = known.get("exit", 3010)
    if known.get("installs", True):
        state["hotfixes_after_restart"].append(known["kb"])
    save(state)
    return 0


def taskkill(arguments: Arguments) -> int:
    if arguments[:1] != ["/PID"] or arguments[2:] != ["/T", "/F"]:
        return refuse("ERROR: Invalid argument/option", 1)
    kill_tree(int(arguments[1]))
    return 0


def kill_tree(pid: int) -> None:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for child in children.read_text().split() if children.exists() else []:
        kill_tree(int(child))
    os.kill(pid, signal.SIGKILL)


def dism(arguments: Arguments) -> int:
    known = [
        "/Online",
        "/Cleanup-Image",
        "/StartComponentCleanup",
        "/ResetBase",
        "/Quiet",
        "/NoRestart",
    ]
    return 0 if all(word in known for word in arguments) else refuse("Error: 87", 87)


def reagentc(arguments: Arguments) -> int:
    if arguments not in (["/disable"], ["/info"]):
        return 1
    state = load()
    if not state["winre"]:
        return refuse("REAGENTC.EXE: Operation failed: 2", 2)
    state["winre"] = False
    save(state)
    return 0


def powercfg(arguments: Arguments) -> int:
    if arguments != ["/hibernate", "off"]:
        return refuse('Invalid Parameters -- try "/?" for help', 1)
    state = load()
    state["hibernation"] = False
    save(state)
    effect(r"HKLM:\SYSTEM\CurrentControlSet\Control\Power", "HibernateEnabled", "DWord", 0)
    return 0


def defrag(arguments: Arguments) -> int:
    return 0 if arguments[1:] in (["/L", "/U"], ["/L"]) and arguments[0].endswith(":") else 1


def wevtutil(arguments: Arguments) -> int:
    state = load()
    if arguments == ["el"]:
        print("\n".join(state["event_logs"]))
        return 0
    if len(arguments) != 2 or arguments[0] != "cl" or arguments[1] not in state["event_logs"]:
        return refuse("Too many arguments are specified.", 87)
    if arguments[1] in state["locked_logs"]:
        return refuse("Failed to clear log. Access is denied.", 5)
    state["event_logs"][arguments[1]] = 0
    save(state)
    return 0


def sysprep(arguments: Arguments) -> int:
    if (
        arguments[:5] != ["/generalize", "/oobe", "/quit", "/quiet", "/mode:vm"]
        or len(arguments) != 6
    ):
        return 1
    if not arguments[5].startswith("/unattend:") or not Path(arguments[5][10:]).is_file():
        return 1
    state = load()
    panther = MACHINE / "c/Windows/System32/Sysprep/Panther"
    panther.mkdir(parents=True, exist_ok=True)
    (panther / "setuperr.log").write_text(state.get("sysprep_log", ""))
    (panther / "setupact.log").write_text("Sysprep\n")
    state["sysprep_saw"] = sorted(
        path.relative_to(MACHINE / "c").as_posix()
        for path in (MACHINE / "c").rglob("*")
        if path.is_file()
    )
    save(state)
    if state["sysprep_state"] is not None:
        effect(r"HKLM:\SYSTEM\Setup\State", "ImageState", value=state["sysprep_state"])
    return 0


def shutdown(arguments: Arguments) -> int:
    if arguments[:1] not in (["/s"], ["/r"]) or arguments[1:2] != ["/t"] or arguments[3:] != ["/f"]:
        return 1
    state = load()
    state["power"] = arguments[0]
    save(state)
    return 0


def ssh_keygen(arguments: Arguments) -> int:
    if arguments != ["-A"]:
        return 1
    state = load()
    state["host_keys_made"] += 1
    save(state)
    folder = MACHINE / "c/ProgramData/ssh"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("rsa", "ecdsa", "ed25519"):
        for name in (f"ssh_host_{kind}_key", f"ssh_host_{kind}_key.pub"):
            path = folder / name
            if not path.exists():
                path.write_text(f"key {state['host_keys_made']}\n")
    return 0


def cmd(arguments: Arguments) -> int:
    """cmd.exe /d /c FILE: the lines of FILE are kept; ``exit /b N`` gives N."""
    state = load()
    text = Path(arguments[-1]).read_text() if arguments[:2] == ["/d", "/c"] else " ".join(arguments)
    state["commands_run"].append(text)
    save(state)
    match = re.search(r"exit /b (\d+)", text)
    return int(match.group(1)) if match else 0


def any_program(_arguments: Arguments) -> int:
    return 0


PROGRAMS: dict[str, Callable[[Arguments], int]] = {
    "cmd.exe": cmd,
    "defrag.exe": defrag,
    "dism.exe": dism,
    "icacls.exe": icacls,
    "msiexec.exe": msiexec,
    "pnputil.exe": pnputil,
    "powercfg.exe": powercfg,
    "reagentc.exe": reagentc,
    "sc.exe": sc,
    "shutdown.exe": shutdown,
    "ssh-keygen.exe": ssh_keygen,
    "sysprep.exe": sysprep,
    "taskkill.exe": taskkill,
    "wevtutil.exe": wevtutil,
    "wusa.exe": wusa,
    "hello.exe": any_program,
}
HANDLES_EXIT = {"msiexec.exe", "pnputil.exe"}


def take_exit(name: str) -> int | None:
    """The exit code the test wants of this call, or nothing."""
    state = load()
    wanted = state["programs"].get(name, {}).get("exit")
    if isinstance(wanted, list):
        code = wanted.pop(0) if wanted else None
        save(state)
        return code
    return None if wanted is None else int(wanted)


def run(name: str, arguments: Arguments) -> int:
    with (MACHINE / "calls.jsonl").open("a") as stream:
        stream.write(json.dumps([name, *arguments]) + "\n")
    wish = load()["programs"].get(name, {})
    if "output" in wish:
        print(wish["output"], flush=True)
    if wish.get("hang"):
        time.sleep(600)
    if "exit" in wish and name not in HANDLES_EXIT:
        code = take_exit(name)
        if code is not None:
            return code
    code = PROGRAMS[name](arguments)
    if wish.get("cut"):
        os.kill(os.getppid(), signal.SIGKILL)
    return code


def main() -> int:
    """Exit codes beyond a byte, which Linux cuts, are left in a file for the double of Process."""
    code = run(Path(sys.argv[0]).name.lower(), sys.argv[1:])
    (MACHINE / f"exit-{os.getpid()}").write_text(str(code))
    return code & 0xFF


if __name__ == "__main__":
    sys.exit(main())
