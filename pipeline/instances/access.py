"""Getting into an instance with OpenSSH's own programs, and the host key that must answer.

Comes out: ``known_hosts`` with the one key that answered the first time, and ``ssh.config``, which
every program of OpenSSH and every editor takes: ``ssh -F ssh.config NAME``.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.foundation.files import write_bytes
from pipeline.foundation.process import pasteable
from pipeline.instances.instance import Home, Instance


def pinned(home: Home) -> str | None:
    """The host key that answered first; ``None`` before that."""
    try:
        return home.known_hosts.read_text().strip().partition(" ")[2] or None
    except FileNotFoundError:
        return None


def pin(home: Home, host_key: str) -> None:
    """Keep the host key; from now on no other may answer."""
    write_bytes(home.known_hosts, f"{home.name} {host_key}\n".encode())


def write_config(home: Home, instance: Instance, port: int) -> None:
    """Write ``ssh.config`` for the port at which the instance is reached now."""
    keys = [path for path in (home.key, instance.user_key) if path]
    lines = [
        f"Host {home.name}",
        "  HostName 127.0.0.1",
        f"  Port {port}",
        f'  User "{instance.user}"',
        *(f"  IdentityFile {_quoted(path)}" for path in keys),
        "  IdentitiesOnly yes",
        f"  UserKnownHostsFile {_quoted(home.known_hosts)}",
        "  GlobalKnownHostsFile /dev/null",
        # The port may change from start to start; the machine is known by its name.
        f"  HostKeyAlias {home.name}",
        "  StrictHostKeyChecking yes",
        "  ServerAliveInterval 15",
    ]
    write_bytes(home.ssh_config, ("\n".join(lines) + "\n").encode())


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("%", "%%") + '"'


def ssh_command(home: Home, *words: str) -> list[str]:
    """The command that opens a shell in the instance, or runs ``words`` there."""
    return ["ssh", "-F", str(home.ssh_config), home.name, *words]


def ssh_line(home: Home) -> str:
    """That command, as one can paste it."""
    return pasteable(ssh_command(home))
