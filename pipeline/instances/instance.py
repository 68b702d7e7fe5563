"""What an instance is, as frozen data, and where its files lie.

:class:`Instance` is kept in ``instance.json``: what was asked for when it was made, and what may be
changed while it is stopped. :class:`Home` knows the paths; nothing else makes them up.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.definitions.model import Firmware
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, write_json
from pipeline.foundation.paths import Workspace
from pipeline.foundation.units import Size
from pipeline.machine.spec import Share

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one instance."""

    workspace: Workspace
    name: str

    @property
    def folder(self) -> Path:
        """Everything that belongs to the instance."""
        return self.workspace.instances / self.name

    @property
    def record(self) -> Path:
        """The instance as data."""
        return self.folder / "instance.json"

    @property
    def disk(self) -> Path:
        """The overlay on the published image."""
        return self.folder / "disk.qcow2"

    @property
    def disc(self) -> Path:
        """The first-boot disc."""
        return self.folder / "first-boot.iso"

    @property
    def key(self) -> Path:
        """The instance's own private key."""
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        """The host key that answered first."""
        return self.folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """How OpenSSH's programs reach the instance."""
        return self.folder / "ssh.config"

    @property
    def machine(self) -> Path:
        """Firmware variables and the TPM's memory."""
        return self.folder / "machine"

    @property
    def state(self) -> Path:
        """What the supervisor says."""
        return self.folder / "state.json"

    @property
    def supervised(self) -> Path:
        """The lock that a supervisor holds as long as it lives."""
        return self.folder / "supervisor.lock"

    @property
    def log(self) -> Path:
        """Logs and screenshots of the present or latest run."""
        return self.folder / "log"

    @property
    def earlier_log(self) -> Path:
        """Those of the run before."""
        return self.folder / "log.previous"

    @property
    def com1(self) -> Path:
        """What the serial console says."""
        return self.log / "com1.log"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor says."""
        return self.log / "supervisor.log"

    @property
    def launching(self) -> Path:
        """The lock of whoever starts, changes or removes the instance; outlives its folder."""
        return self.workspace.locks / f"instance-{self.name}"


@dataclass(frozen=True, slots=True)
class Instance:
    """A running copy of a published version.

    ``disk`` is the published image below the instance's own disk; ``port`` leads to its SSH server,
    and is insisted on when it was ``fixed``; ``user_key`` is a key of the user's that opens it as
    well as its own does.
    """

    name: str
    image: str
    version: str
    disk: Path
    sha256: str
    size: int
    user: str
    rehearsal: bool
    firmware: Firmware
    tpm: bool
    secure_boot: bool
    cpus: int
    memory: Size
    created: str
    share: Share | None = None
    port: int = 0
    fixed: bool = False
    user_key: Path | None = None

    def data(self) -> dict[str, Any]:
        """The instance as ``instance.json`` holds it."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        share = self.share and {"directory": str(self.share.directory), "tag": self.share.tag}
        return plain | {
            "schema": SCHEMA,
            "disk": str(self.disk),
            "firmware": str(self.firmware),
            "memory": int(self.memory),
            "share": share,
            "user_key": self.user_key and str(self.user_key),
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Instance:
        """The instance that ``instance.json`` holds; raises KeyError, TypeError, ValueError."""
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        rest = {name: value for name, value in data.items() if name != "schema"}
        share, key = rest["share"], rest["user_key"]
        return cls(**rest | {
            "disk": Path(rest["disk"]),
            "firmware": Firmware(rest["firmware"]),
            "memory": Size(rest["memory"]),
            "share": share and Share(Path(share["directory"]), share["tag"]),
            "user_key": key and Path(key),
        })  # fmt: skip


def load(home: Home) -> Instance:
    """The instance of this name; raises when there is none."""
    if not home.record.exists():
        raise NoInstance(
            f"there is no instance {home.name!r}",
            hint="golden ls lists them; golden launch IMAGE makes one",
        )
    try:
        return Instance.of(read_json(home.record))
    except (KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"{home.record} is not an instance of schema {SCHEMA}: {error!r}",
            hint="its disk is beside it, untouched",
        ) from None


def save(home: Home, instance: Instance) -> None:
    """Write ``instance.json``."""
    write_json(home.record, instance.data())


class NoInstance(PipelineError):
    """There is no instance of this name."""


def now() -> str:
    """``2026-11-23T08:15:00Z``."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
