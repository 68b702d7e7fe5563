"""A fake Windows machine on which the guest scripts run under whatever PowerShell is on PATH.

Goes in: a folder. Comes out: a C: drive, a registry, a state that doubles and programs share, and
``run``, which starts one PowerShell for any number of script runs and gives their JSON lines,
beacons and exit codes.

Under Windows PowerShell's stand-in the registry is the engine's own; under pwsh it
is doubled.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.powershell import windows_commands

HERE = Path(__file__).parent
# The mutation runner points this at a changed copy.
GUEST = Path(os.environ.get("GOLDEN_GUEST_SCRIPTS", HERE.parents[1] / "templates" / "guest"))
PROGRAMS = HERE / "programs" / "program.py"
# How long one PowerShell may run before the test fails.
DEADLINE = float(os.environ.get("GOLDEN_TEST_DEADLINE", "120"))

ADMINISTRATORS = "S-1-5-32-544"
SYSTEM = "S-1-5-18"


def find_powershell() -> str | None:
    """Windows PowerShell (or its stand-in), else PowerShell 7."""
    return shutil.which("powershell") or shutil.which("pwsh")


def program_names() -> list[str]:
    """The native programs the fake machine has."""
    text = PROGRAMS.read_text()
    table = text[text.index("PROGRAMS: ") : text.index("HANDLES_EXIT")]
    return [word.strip(' "') for word in table.split('"') if word.endswith(".exe")]


def new_state() -> dict[str, Any]:
    """A machine as Setup leaves it."""
    return {
        "deny": {},
        "programs": {},
        "com1": "ok",
        "msi": [],
        "tasks": {},
        "run_tasks": "yes",
        "hotfixes": [],
        "hotfixes_after_restart": [],
        "firewall": {},
        "acl": {},
        "services": {
            "sshd": service(start="Manual"),
            "WinFsp.Launcher": service(state="Running"),
            "VirtioFsDrv": service(start="Manual"),
            "wuauserv": service(start="Manual", state="Running"),
            "bits": service(start="Manual", state="Running"),
        },
        "users": {"golden": {"sid": "S-1-5-21-1-2-3-1000", "enabled": True, "passwords": 1}},
        "groups": {ADMINISTRATORS: ["S-1-5-21-1-2-3-1000"], "S-1-5-32-545": []},
        "pagefile": {"automatic": True, "files": []},
        "product_type": 3,
        "winre": True,
        "open_files": [],
        "hibernation": True,
        "event_logs": {"Application": 3, "System": 9, "Setup": 1},
        "locked_logs": [],
        "appx": [],
        "provisioned": [],
        "power": "",
        "host_keys_made": 0,
        "sysprep_state": "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE",
        "commands_run": [],
        "volumes": [{"letter": "C", "label": "", "type": "Fixed", "system": "NTFS", "path": ""}],
        "partition": {"size": 20 << 30, "max": 20 << 30},
        "host_name": "GOLDEN",
        "host_name_after_restart": "",
    }


def service(start: str = "Auto", state: str = "Stopped", **more: Any) -> dict[str, Any]:
    """A service of the state, by default stopped and starting by itself."""
    return {
        "binary": "x.exe",
        "display_name": "x",
        "start": start,
        "state": state,
        "depend": [],
        "exit_code": 0,
    } | more


def package(
    code: str = "{11111111-2222-3333-4444-555555555555}", version: str = "1.2.3", **more: Any
) -> str:
    """A fake .msi, which the doubles of the Windows Installer read."""
    return json.dumps({"properties": {"ProductCode": code, "ProductVersion": version}} | more)


@dataclass(slots=True)
class Ran:
    """What one script run gave: its JSON lines, the text around them, its exit code."""

    exit: int = -1
    records: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    beacons: list[str] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)

    def take(self, line: str) -> None:
        """A line of stdout."""
        self.text += line + "\n"
        kind, _, rest = line.partition(" ")
        match kind:
            case "##com1":
                self.beacons.append(rest)
            case "##call":
                self.calls.append(json.loads(rest))
            case "##command":
                self.commands.append(rest)
            case "##state":
                self.state = json.loads(rest)
            case "##exit":
                self.exit = int(rest)
            case _ if line.startswith("{"):
                assert line.isascii(), line
                self.records.append(json.loads(line))

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [record for record in self.records if "step" in record]

    @property
    def states(self) -> dict[str, str]:
        return {record["step"]: record["state"] for record in self.steps}

    @property
    def plan(self) -> dict[str, Any]:
        """The closing line; there is exactly one, and it is the last."""
        assert [index for index, record in enumerate(self.records) if "plan" in record] == [
            len(self.records) - 1
        ], self.text
        return self.records[-1]


@dataclass(frozen=True, slots=True)
class Run:
    """One script run to be made: the script, its arguments, and a state to begin with."""

    script: str
    arguments: Sequence[str] = ()
    state: dict[str, Any] | None = None


class FakeMachine:
    """One machine: a folder with c/, bin/, registry.json, state.json, what was said and called."""

    def __init__(self, folder: Path, *, bare: bool = False) -> None:
        self.folder = folder
        self.bare = bare  # as on an engine that knows no registry and no C: drive
        self.c = folder / "c"
        self.golden = self.c / "ProgramData" / "golden"
        self.payloads = self.golden / "payload"
        self.payloads.mkdir(parents=True)
        for name in ("Windows/System32/Sysprep", "Windows/Temp", "Program Files/OpenSSH"):
            (self.c / name).mkdir(parents=True)
        self._link_programs()
        self.state = new_state()
        self.registry_file.write_text("{}")
        (folder / "functions.ps1").write_text(windows_commands.functions_text())

    def _link_programs(self) -> None:
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        # Python without its site packages starts in a third of the time, and many are started.
        _, _, source = PROGRAMS.read_text().partition("\n")
        for name in program_names():
            (bin_folder / name).write_text(f"#!{sys.executable} -SE\n{source}")
            (bin_folder / name).chmod(0o755)
        # ssh-keygen and sysprep are not on Windows' PATH: they are found where they lie.
        (bin_folder / "ssh-keygen.exe").rename(self.c / "Program Files/OpenSSH/ssh-keygen.exe")
        (bin_folder / "sysprep.exe").rename(self.c / "Windows/System32/Sysprep/sysprep.exe")
        child = bin_folder / "powershell.exe"
        child.write_text(f'#!/bin/sh\nexec "{find_powershell()}" "$@"\n')
        child.chmod(0o755)

    @property
    def registry_file(self) -> Path:
        return self.folder / "registry.json"

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "state.json").read_text()))

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        (self.folder / "state.json").write_text(json.dumps(state))

    def change(self, **parts: Any) -> None:
        """Replace parts of the state."""
        self.state = self.state | parts

    @property
    def registry(self) -> dict[str, dict[str, Any]]:
        """Key (below HKLM, backslashes) -> name -> {type, data}."""
        text = json.loads(self.registry_file.read_text())
        return {key.replace("HKEY_LOCAL_MACHINE\\", ""): values for key, values in text.items()}

    def set_registry(self, key: str, name: str, data: Any, kind: str = "REG_SZ") -> None:
        """A value as another program would leave it; no PowerShell may be running."""
        text = json.loads(self.registry_file.read_text())
        text.setdefault("HKEY_LOCAL_MACHINE\\" + key, {})[name] = {"type": kind, "data": data}
        self.registry_file.write_text(json.dumps(text))

    def add_key(self, key: str) -> None:
        text = json.loads(self.registry_file.read_text())
        text.setdefault("HKEY_LOCAL_MACHINE\\" + key, {})
        self.registry_file.write_text(json.dumps(text))

    def remove_key(self, key: str) -> None:
        text = json.loads(self.registry_file.read_text())
        del text["HKEY_LOCAL_MACHINE\\" + key]
        self.registry_file.write_text(json.dumps(text))

    def restart(self) -> None:
        """What a restart changes: the shutdown time, updates that waited for it, the host name."""
        stamp = self.registry.get("SYSTEM\\CurrentControlSet\\Control\\Windows", {}).get(
            "ShutdownTime"
        )
        count = int(stamp["data"], 16) + 1 if stamp else 1
        self.set_registry(
            "SYSTEM\\CurrentControlSet\\Control\\Windows",
            "ShutdownTime",
            f"{count:016x}",
            "REG_BINARY",
        )
        state = self.state
        state["hotfixes"] += state["hotfixes_after_restart"]
        state["hotfixes_after_restart"] = []
        state["host_name"] = state["host_name_after_restart"] or state["host_name"]
        state["host_name_after_restart"] = ""
        state["power"] = ""
        self.state = state

    def payload(self, name: str, content: str | bytes) -> dict[str, str]:
        """A file in the payload folder, and its entry in a plan."""
        file = self.payloads / name
        file.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        file.write_bytes(data)
        return {"file": name, "sha256": sha256(data).hexdigest()}

    def plan(self, *steps: dict[str, Any], name: str = "provision", **more: Any) -> str:
        """A plan on the machine; gives its Windows path."""
        file = self.golden / f"{name}.json"
        file.write_text(json.dumps({"schema": 1, "name": name, "steps": list(steps)} | more))
        return f"C:\\ProgramData\\golden\\{name}.json"

    def environment(self) -> dict[str, str]:
        """What PowerShell gets: Windows' own variables, the fake programs before all others."""
        return {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "GOLDEN_MACHINE": str(self.folder),
            "GOLDEN_DOUBLES": str(self.folder / "functions.ps1"),
            "GOLDEN_REGISTRY": str(self.registry_file),
            "SystemDrive": "C:",
            "SystemRoot": "C:\\Windows",
            "ProgramData": "C:\\ProgramData",
            "ProgramFiles": "C:\\Program Files",
            "COMPUTERNAME": str(self.state["host_name"]),
            "POWERSHELL_TELEMETRY_OPTOUT": "1",
        } | self._engine()

    def _engine(self) -> dict[str, str]:
        """Drives and registry, for the doubles, and for an engine that has its own."""
        drives = {"C": str(self.c)} | {
            volume["letter"]: volume["folder"]
            for volume in self.state["volumes"]
            if volume.get("letter") and volume.get("folder")
        }
        found = {f"GOLDEN_DRIVE_{letter}": folder for letter, folder in drives.items()}
        if self.bare:
            return found | {"GOLDEN_OWN_REGISTRY": "1"}
        found |= {f"WINPS_{letter}_DRIVE": folder for letter, folder in drives.items()}
        return found | {"WINPS_REGISTRY": str(self.registry_file), "WINPS_WIDTH": "80"}

    def command(self) -> list[str]:
        """The command line that runs the batch."""
        program = find_powershell()
        assert program is not None
        return [
            program,
            "-NoProfile",
            "-NonInteractive",
            "-ExecutionPolicy",
            "Bypass",
            "-File",
            str(HERE / "doubles" / "harness.ps1"),
        ]

    def run(self, *runs: Run, guest: Path | None = None) -> list[Ran]:
        """Make the runs, one after another in one PowerShell."""
        guest = guest or GUEST
        batch = [
            {
                "script": run.script if ":" in run.script else str(guest / run.script),
                "arguments": list(run.arguments),
                "state": run.state,
            }
            for run in runs
        ]
        (self.folder / "batch.json").write_text(json.dumps(batch))
        done = subprocess.run(
            self.command(),
            env=self.environment() | {"GOLDEN_BATCH": str(self.folder / "batch.json")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        ran = split(done.stdout)
        if len(ran) < len(runs):
            ran.append(Ran(done.returncode, text=done.stdout + done.stderr))
        return ran

    def apply(self, plan: str, *more: str, mode: str = "Apply") -> Ran:
        """Run the agent once."""
        return self.run(Run("agent.ps1", ["-Mode", mode, "-Plan", plan, *more]))[0]


def split(text: str) -> list[Ran]:
    """The runs of a batch, by their ``##exit`` lines. Every JSON line must be plain ASCII."""
    runs: list[Ran] = []
    ran = Ran()
    for line in text.splitlines():
        ran.take(line)
        if line.startswith("##exit "):
            runs.append(ran)
            ran = Ran()
    return runs
