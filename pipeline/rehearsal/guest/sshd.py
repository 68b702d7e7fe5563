r"""A real OpenSSH server that opens the door to whom Windows would open it.

Administrators come in by ``C:\ProgramData\ssh\administrators_authorized_keys``, and only while that
file has no byte order mark and exactly SYSTEM and Administrators may touch it. The server listens
when the service runs and a firewall rule lets the port through.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from . import faults, linux
from .machine import ADMINISTRATORS, SYSTEM, Machine

FOLDER = "ProgramData/ssh"
KEYS = f"{FOLDER}/administrators_authorized_keys"
KINDS = ("ed25519", "ecdsa")
RUN = Path("/run/ssh")
PID = RUN / "sshd.pid"
SHELL = "/usr/bin/standin-cmd"
PORT = 22
CONFIGURATION = """\
Port 22
PidFile {run}/sshd.pid
{host_keys}
AuthorizedKeysFile {keys}
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PrintMotd no
PrintLastLog no
LogLevel ERROR
LoginGraceTime 60
MaxStartups 100
Subsystem sftp internal-sftp -d /
"""


def make_host_keys(machine: Machine) -> None:
    """Make the host keys that are missing; but no RSA key, too slow under emulation."""
    folder = machine.c / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        path = folder / f"ssh_host_{kind}_key"
        if not path.exists():
            linux.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", f"/run/{path.name}")
            for suffix in ("", ".pub"):
                shutil.move(f"/run/{path.name}{suffix}", f"{path}{suffix}")
                entries = [
                    {"identity": sid, "rights": "FullControl"} for sid in (SYSTEM, ADMINISTRATORS)
                ]
                machine.set_acl(Path(f"{path}{suffix}"), entries)


def accepted_keys(machine: Machine) -> bytes:
    """The keys that let administrators in; none while Windows' sshd would refuse the file."""
    path = machine.c / KEYS
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # sealing may remove it at any moment
        return b""
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe")):
        linux.log("sshd: administrators_authorized_keys begins with a byte order mark")
        return b""
    if not machine.private(path):
        linux.log("sshd: administrators_authorized_keys may be touched by others")
        return b""
    return b"" if faults.on("key-refused") else data


def refresh(machine: Machine) -> None:
    """Let the server see accounts and keys as they are now."""
    RUN.mkdir(parents=True, exist_ok=True)
    lines = ["root:*:0:0::/root:/bin/sh", "sshd:*:100:100::/run/sshd:/bin/false"]
    for name, user in machine.users().items():
        if user["enabled"] and ADMINISTRATORS in user["groups"]:
            lines.append(f"{name}:*:0:0::/:{SHELL}")
    _replace(Path("/etc/passwd"), ("\n".join(lines) + "\n").encode(), 0o644)
    _replace(Path("/etc/group"), b"root:x:0:\nsshd:x:100:\n", 0o644)
    _replace(RUN / "keys", accepted_keys(machine), 0o600)


def _replace(path: Path, data: bytes, mode: int) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.chmod(mode)
    part.replace(path)


def listening() -> bool:
    """Whether our server runs."""
    try:
        os.kill(int(PID.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def _start(machine: Machine) -> None:
    make_host_keys(machine)
    Path("/run/sshd").mkdir(exist_ok=True)
    keys = []
    for kind in KINDS:
        copy = RUN / f"ssh_host_{kind}_key"  # NTFS here has no modes, and sshd insists on them
        _replace(copy, (machine.c / FOLDER / copy.name).read_bytes(), 0o600)
        keys.append(f"HostKey {copy}")
    text = CONFIGURATION.format(run=RUN, host_keys="\n".join(keys), keys=RUN / "keys")
    (RUN / "sshd_config").write_text(text)
    linux.run("/usr/sbin/sshd", "-f", str(RUN / "sshd_config"))


def _stop() -> None:
    os.kill(int(PID.read_text()), signal.SIGTERM)
    deadline = time.monotonic() + 5
    while listening() and time.monotonic() < deadline:
        time.sleep(0.05)


def reconcile(machine: Machine, *, wanted: bool) -> None:
    """Listen when the service runs and the firewall lets the port through; else do not."""
    refresh(machine)
    if wanted:
        make_host_keys(machine)
    wanted = wanted and machine.open_to(PORT) and not faults.on("sshd-never")
    if wanted and not listening():
        _start(machine)
    elif not wanted and listening():
        _stop()
