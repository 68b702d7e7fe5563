"""The data model: what an image, a pin and the settings are, as frozen data.

Field names are the keys of the YAML files; field types, with the rules attached to them, decide how
a value is read (``loader``) and what the editors' JSON Schema says (``schema``). Docstrings of
classes and fields become its descriptions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.definitions import rules
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

    index: rules.Count
    """The number of the image in install.wim."""
    name: rules.Line
    """The WIM's NAME, which an answer file must repeat letter by letter (not the display name)."""


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What a Windows medium is known to hold, so that answers can be rendered before a download."""

    build: rules.Line
    """The Windows build, such as "26100.32230"."""
    architecture: rules.Architecture
    """The processor architecture, in Windows' words."""
    language: rules.Language
    """The one language the medium installs."""
    editions: tuple[Edition, ...]
    """What install.wim holds."""
    evaluation_days: rules.Days | None = None
    """How long an evaluation runs; left out for retail media."""


@dataclass(frozen=True, slots=True)
class Pin:
    """An artifact's source and digest. Exactly one of ``urls``, ``file`` and ``made`` is given.

    ``urls`` are mirrors in order; ``file`` is a path on this host (retail media); ``made`` names a
    part of the rehearsal that this project builds itself: its identity is its recipe, not a digest.
    """

    name: rules.PinName
    version: rules.Line
    """The version, as people know it."""
    kind: Kind
    """What the file must look like before its digest is looked at."""
    urls: tuple[rules.HttpsUrl, ...] = ()
    """Mirrors, tried in this order; all must give the same bytes."""
    file: rules.Line | None = None
    """A file on this host, for what has no address (retail media)."""
    made: rules.Made | None = None
    """The part of the rehearsal that this project builds itself."""
    sha256: Sha256 | None = None
    """The digest of the whole file; required with ``urls`` and ``file``."""
    size: rules.Bytes | None = None
    """The size in bytes, where it is known."""
    upstream: rules.HttpsUrl | None = None
    """Where the next version shows up."""
    etag: rules.Line | None = None
    """What the publisher's server called this very file; another tag on the same address means
    that it was replaced."""
    media: MediaFacts | None = None
    """For a Windows medium: what it is known to hold."""
    warning: rules.Line | None = None
    """Printed whenever an image uses this pin."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The virtual hardware an image is built on."""

    firmware: Firmware = Firmware.UEFI
    """What the machine boots with."""
    cpus: rules.Cpus = 2
    """Processors while building."""
    memory: Size = Size(4 << 30)
    """Memory while building."""
    disk: Size = Size(64 << 30)
    """The virtual size of the disk; consumers can grow it, not shrink it."""
    tpm: bool = False
    """A TPM 2.0 (needs UEFI)."""
    secure_boot: bool = False
    """Firmware with Secure Boot and Microsoft's keys (needs UEFI)."""


@dataclass(frozen=True, slots=True)
class Locale:
    """Language and region of the installed system."""

    language: rules.Language = "en-US"
    """The language of Setup and of the system: that of the medium."""
    keyboard: rules.Keyboard = "0409:00000409"
    """The input locale, as language and keyboard in hexadecimal."""
    time_zone: rules.TimeZone = "UTC"
    """The time zone, by its Windows name."""


@dataclass(frozen=True, slots=True)
class Drivers:
    """Drivers from the virtio-win disc: ``setup`` for Setup, ``guest`` for the running system."""

    pin: rules.PinName
    """The pin of the virtio-win disc."""
    setup: tuple[rules.DriverName, ...] = ("viostor", "vioscsi", "NetKVM")
    """What Setup needs to see disk and network."""
    guest: tuple[rules.DriverName, ...] = (
        "viofs",
        "Balloon",
        "viorng",
        "vioserial",
        "pvpanic",
        "qemufwcfg",
    )
    """What the running system gets besides."""


class Interpreter(StrEnum):
    """What runs a script of one's own; ``stand-in`` exists in the rehearsal guest only."""

    POWERSHELL = "powershell"
    STAND_IN = "stand-in"


@dataclass(frozen=True, slots=True)
class Step:
    """A provisioning step of one's own; the fields that apply depend on ``kind``.

    ``file`` is a path below the repository root, ``pin`` the name of an artifact instead.
    """

    id: rules.StepId
    """Names the step in logs and results; unique in its image."""
    kind: rules.StepKind
    """What is to be so."""
    file: rules.Line | None = None
    """The payload: a file below the repository root."""
    pin: rules.PinName | None = None
    """The payload: a pinned artifact."""
    sha256: Sha256 | None = None
    """The digest that ``file`` must have."""
    path: rules.WindowsPath | None = None
    """``file``: where the file lies in the guest."""
    arguments: tuple[str, ...] = ()
    """``script``: its arguments."""
    interpreter: Interpreter = Interpreter.POWERSHELL
    """``script``: what runs it."""
    key: rules.RegistryKey | None = None
    """``registry``: the key."""
    name: rules.Line | None = None
    """``registry``: the name of the value; ``service``: the service's short name."""
    type: rules.RegistryType | None = None
    """``registry``: the type of the value; ``String`` when left out."""
    value: str | None = None
    """``registry``: the data, as text; for ``DWord`` and ``QWord`` a decimal number."""
    values: tuple[str, ...] = ()
    """``registry``: the data of a ``MultiString``."""
    ensure: rules.Present = "present"
    """``file``, ``registry``: whether it shall be there."""
    content: str | None = None
    """``file``: the text itself, instead of a payload; written as UTF-8."""
    files: tuple[rules.Line, ...] = ()
    """``script``: more files below the repository root that lie beside it when it runs."""
    properties: dict[str, str] = field(default_factory=dict, hash=False)
    """``msi``: properties for the installer, such as ``ADDLOCAL``."""
    kb: rules.KbNumber | None = None
    """``update``: the update's number."""
    start: rules.ServiceStart = "auto"
    """``service``: how it starts."""
    state: rules.ServiceState = "running"
    """``service``: the state it shall be in."""
    binary: rules.WindowsPath | None = None
    """``service``: the program, to create a service that does not exist."""
    display_name: rules.Line | None = None
    """``service``: its name for people, when created."""
    depend: tuple[rules.ServiceName, ...] = ()
    """``service``: the services it needs, when created."""
    when: rules.RebootWhen = "pending"
    """``reboot``: only when Windows asks for it, or once in any case."""


class FirstBoot(StrEnum):
    """What makes a copy of the image its owner's machine: this project's own service, or that of
    the clouds (the `cidata` disc alone, no Lima)."""

    GOLDEN = "golden"
    CLOUDBASE_INIT = "cloudbase-init"


@dataclass(frozen=True, slots=True)
class Publish:
    """What becomes of the finished image."""

    keep: rules.Count = 3
    """How many versions stay; `golden gc`, which every night ends with, removes older ones."""
    private: bool = False
    """Only to registries and stores that ask who reads."""
    i_may_redistribute: bool = False
    """Said by who holds the right to pass this Windows on to others."""


@dataclass(frozen=True, slots=True)
class Image:
    """One golden image."""

    name: rules.ImageName
    title: rules.Line
    """The image's name for people."""
    release: Release
    """The Windows release, by the name of its folder on the virtio-win disc."""
    media: rules.PinName
    """The pin of the Windows medium."""
    edition: rules.Line
    """The edition to install, by its NAME in the medium's install.wim."""
    drivers: Drivers
    winfsp: rules.PinName
    """The pin of WinFsp, which virtio-fs needs."""
    openssh: rules.PinName | None = None
    """The pin of Win32-OpenSSH; left out where Windows brings a server along (Server 2025)."""
    rehearsal: bool = False
    """The stand-in instead of Windows; never published to a remote store."""
    first_boot: FirstBoot = FirstBoot.GOLDEN
    """What runs at the first start of a copy."""
    cloudbase_init: rules.PinName | None = None
    """The pin of cloudbase-init's package; goes with ``first_boot: cloudbase-init``."""
    user: rules.UserName = "golden"
    """The administrator that the build creates and consumers log in as."""
    host_name: rules.HostName = "golden-build"
    """The host name while building; Windows refuses one that equals the user's name."""
    machine: Machine = Machine()
    locale: Locale = Locale()
    provision: tuple[Step, ...] = ()
    """Steps of one's own, run in this order after the pipeline's."""
    publish: Publish = Publish()


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for every image on this host: ``golden.yaml``, then the environment."""

    build: tuple[rules.ImageName, ...] = ("windows-server-2025",)
    """The images that a bare ``./doitw build`` builds; ``GOLDEN_IMAGES=a,b`` overrides."""
    accept_eula: bool = False
    """Microsoft's licence terms are accepted; ``GOLDEN_ACCEPT_EULA=1`` overrides."""
    rebuild_before_expiry_days: rules.Days = 14
    """How long before an evaluation ends its image is built anew."""
    stores: tuple[rules.Line, ...] = ()
    """Where finished versions also go: folders, ``oci://registry/repository``; an ``https://``
    address is only asked what is published there. ``GOLDEN_STORES=a,b`` (or ``none``)
    overrides."""
    layers: rules.Line | None = None
    """Where installed and provisioned disks are kept for other hosts: a folder, or ``oci://…``;
    ``GOLDEN_LAYERS`` overrides."""
    signing_key: rules.Line | None = None
    """The OpenSSH private key that signs versions and layers, and alone makes a layer count;
    ``GOLDEN_SIGNING_KEY`` overrides. Left out, a key is made under ``output/keys``, and layers
    count without a signature."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """Everything that was defined, checked against each other."""

    images: dict[str, Image] = field(default_factory=dict)
    pins: dict[str, Pin] = field(default_factory=dict)
    settings: Settings = Settings()
    rebuild: tuple[str, ...] = ()
    """The images that ``GOLDEN_REBUILD=a,b`` asks for although nothing changed."""
