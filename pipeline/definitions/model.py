"""The data model: what an image, a pin and the settings are, as frozen data.

Field names are the keys of the YAML files; field types decide how a value is read (``loader``) and
what the editors' JSON Schema says (``schema``). Docstrings of the classes become descriptions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.foundation.units import Sha256, Size


class Firmware(StrEnum):
    """What the machine boots with."""

    UEFI = "uefi"
    BIOS = "bios"


class Release(StrEnum):
    """A Windows release, by the name of its folder on the virtio-win disc."""

    SERVER_2019 = "2k19"
    SERVER_2022 = "2k22"
    SERVER_2025 = "2k25"
    WINDOWS_10 = "w10"
    WINDOWS_11 = "w11"


class Kind(StrEnum):
    """What an artifact must look like before its digest is even looked at."""

    ISO = "iso"
    MSI = "msi"
    MSU = "msu"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Edition:
    """One image inside install.wim."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What a Windows medium is known to hold, so that answers can be rendered before a download."""

    build: str
    architecture: str
    language: str
    editions: tuple[Edition, ...]
    evaluation_days: int | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """An artifact's source and digest. Exactly one of ``urls``, ``file`` and ``made`` is given.

    ``urls`` are mirrors in order; ``file`` is a path on this host (retail media); ``made`` names a
    part of the rehearsal that this project builds itself: its identity is its recipe, not a digest.
    """

    name: str
    version: str
    kind: Kind
    urls: tuple[str, ...] = ()
    file: str | None = None
    made: str | None = None
    sha256: Sha256 | None = None
    size: int | None = None
    upstream: str | None = None
    media: MediaFacts | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """The virtual hardware an image is built on."""

    firmware: Firmware = Firmware.UEFI
    cpus: int = 2
    memory: Size = Size(4 << 30)
    disk: Size = Size(64 << 30)
    tpm: bool = False
    secure_boot: bool = False


@dataclass(frozen=True, slots=True)
class Locale:
    """Language and region of the installed system."""

    language: str = "en-US"
    keyboard: str = "0409:00000409"
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Drivers:
    """Drivers from the virtio-win disc: ``setup`` for Setup, ``guest`` for the running system."""

    pin: str
    setup: tuple[str, ...] = ("viostor", "vioscsi", "NetKVM")
    guest: tuple[str, ...] = ("viofs", "Balloon", "viorng", "vioserial", "pvpanic", "qemufwcfg")


class Interpreter(StrEnum):
    """What runs a script of one's own; ``stand-in`` exists in the rehearsal guest only."""

    POWERSHELL = "powershell"
    STAND_IN = "stand-in"


@dataclass(frozen=True, slots=True)
class Step:
    """A provisioning step of one's own; the fields that apply depend on ``kind``.

    ``file`` is a path below the repository root, ``pin`` the name of an artifact instead.
    """

    id: str
    kind: str
    file: str | None = None
    pin: str | None = None
    sha256: Sha256 | None = None
    path: str | None = None
    arguments: tuple[str, ...] = ()
    interpreter: Interpreter = Interpreter.POWERSHELL
    key: str | None = None
    name: str | None = None
    type: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Publish:
    """What becomes of the finished image."""

    keep: int = 3
    private: bool = False
    i_may_redistribute: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """One golden image."""

    name: str
    title: str
    release: Release
    media: str
    edition: str
    drivers: Drivers
    winfsp: str
    openssh: str | None = None
    rehearsal: bool = False
    user: str = "golden"
    host_name: str = "golden-build"
    machine: Machine = Machine()
    locale: Locale = Locale()
    provision: tuple[Step, ...] = ()
    publish: Publish = Publish()


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for every image on this host: ``golden.yaml``, then the environment."""

    build: tuple[str, ...] = ("windows-server-2025",)
    accept_eula: bool = False
    rebuild_before_expiry_days: int = 14


@dataclass(frozen=True, slots=True)
class Definitions:
    """Everything that was defined, checked against each other."""

    images: dict[str, Image] = field(default_factory=dict)
    pins: dict[str, Pin] = field(default_factory=dict)
    settings: Settings = Settings()
