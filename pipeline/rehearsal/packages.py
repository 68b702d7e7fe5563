"""The distribution's packages that the rehearsal is made of, unpacked beside the cache.

Goes in: a Debian or Ubuntu host with apt. Comes out: one folder with a merged ``/usr``, a receipt
that names every package and version, and the means to run what lies in it. Nothing is installed on
the host and nothing needs root: apt resolves and verifies against an empty package database of its
own, and programs run through the folder's own loader and libraries.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from pipeline.foundation import files, process
from pipeline.foundation.errors import MissingRequirement, PipelineError
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import Argv, Finished
from pipeline.foundation.progress import Progress

KERNEL = {"debian": "linux-image-amd64", "ubuntu": "linux-image-generic"}
WANTED = (
    "busybox-static",
    "dosfstools",
    "fdisk",
    "genisoimage",
    "grub-common",
    "grub-efi-amd64-bin",
    "grub-pc-bin",
    "libpython3-stdlib",
    "mtools",
    "ntfs-3g",
    "openssh-client",
    "openssh-server",
    "openssh-sftp-server",
    "python3-minimal",
    "wimtools",
    "wixl",
    "zstd",
)
MERGED = ("bin", "sbin", "lib", "lib64")
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib", "usr/lib64")
REMEDY = "run it on Debian 12 or Ubuntu 22.04 or later, x86-64; a container will do"


@dataclass(frozen=True, slots=True)
class Packages:
    """The unpacked packages: ``root`` is their file system."""

    root: Path

    @property
    def loader(self) -> Path:
        """The dynamic loader among the packages."""
        return self.find("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")

    @property
    def kernel(self) -> Path:
        """The newest kernel image."""
        found = sorted(self.root.glob("boot/vmlinuz-*"))
        if not found:
            raise PipelineError(f"no kernel among the rehearsal's packages in {self.root}")
        return found[-1]

    @property
    def modules(self) -> Path:
        """The folder of that kernel's modules."""
        return self.root / "usr/lib/modules" / self.kernel.name.removeprefix("vmlinuz-")

    def find(self, name: str) -> Path:
        """A program or file by its path below ``usr``, with absolute links followed."""
        path = self.root / "usr" / name
        for _ in range(8):
            if not path.is_symlink():
                break
            target = path.readlink()
            path = self.inside(target) if target.is_absolute() else path.parent / target
        if not path.exists():
            raise PipelineError(f"the rehearsal's packages have no {name}", evidence=self.root)
        return path

    def inside(self, path: Path) -> Path:
        """Where an absolute path of the packages lies in our folder."""
        return self.root / path.relative_to("/")

    @property
    def library_path(self) -> str:
        """The folders of libraries, as the loader wants them."""
        return ":".join(str(self.root / folder) for folder in LIBRARIES)

    def argv(self, name: str, *arguments: str | Path) -> Argv:
        """The command line that runs a program of the packages on this host."""
        program = self.find(name)
        called = ("--argv0", PurePath(name).name)  # mtools is one program with many names
        return (self.loader, *called, "--library-path", self.library_path, program, *arguments)

    def run(
        self,
        name: str,
        *arguments: str | Path,
        deadline: float = 120,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run a program of the packages on this host; see ``foundation.process.run``."""
        return process.run(self.argv(name, *arguments), deadline=deadline, cwd=cwd, env=env)

    def libraries(self, programs: Iterable[Path]) -> set[Path]:
        """Every shared library that the given programs load."""
        found: set[Path] = set()
        for program in programs:
            argv = (self.loader, "--library-path", self.library_path, "--list", program)
            for line in process.run(argv, deadline=30).output.splitlines():
                target = line.partition("=>")[2].split(" (")[0].strip()
                if target.startswith(str(self.root)):
                    found.add(Path(target))
        return found


def _os_release() -> dict[str, str]:
    path = Path("/etc/os-release")
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value.strip('"') for key, _, value in pairs}


def _distribution() -> tuple[str, str]:
    """The distribution whose packages we use, and its version; or a clear refusal."""
    release = _os_release()
    named = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    known = next((name for name in named if name in KERNEL), None)
    title = release.get("PRETTY_NAME", platform.system())
    if known is None or not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        message = f"the rehearsal is made from Debian or Ubuntu packages, and this host is {title}"
        raise MissingRequirement(message, hint=REMEDY)
    if platform.machine() != "x86_64":
        message = f"the rehearsal needs an x86-64 host, and this one is {platform.machine()}"
        raise MissingRequirement(message, hint=REMEDY)
    return known, release.get("VERSION_ID", release.get("VERSION_CODENAME", "rolling"))


def _apt(home: Path, *words: str, lists: Path | None = None) -> Argv:
    """apt-get with a state and a cache of its own; ``lists`` borrows another's package lists."""
    options = {
        "Dir::State": home / "state",
        "Dir::State::status": home / "state" / "status",
        "Dir::State::lists": lists or home / "state" / "lists",
        "Dir::Cache": home / "cache",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",  # else root's apt drops to a user who may not read our cache
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Install-Recommends": "0",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return ("apt-get", "-y", "-q", *given, *words)


def _prepare(home: Path) -> None:
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "state/status").touch()


def _download(home: Path, wanted: Iterable[str], progress: Progress) -> list[Path]:
    """The .deb files of ``wanted`` and all they depend on; what is there already is kept."""
    _prepare(home)
    words = ("install", "--download-only", *wanted)
    host = Path("/var/lib/apt/lists")
    try:
        process.run(_apt(home, *words, lists=host), deadline=900, log=home / "apt.log")
    except process.ProgramFailed:
        progress.update("reading the distribution's package lists")
        # One broken third-party source makes `update` fail; whether it mattered shows right below.
        process.run(_apt(home, "update"), deadline=300, log=home / "apt.log", ok=range(256))
        hint = "look whether the host's own sources work: apt-get update"
        process.run(_apt(home, *words), deadline=900, log=home / "apt.log", hint=hint)
    return sorted((home / "cache/archives").glob("*.deb"))


def _merge(root: Path) -> None:
    """Make ``/usr`` merged, as on every current release, whichever way the packages ship it."""
    for name in MERGED:
        old, new = root / name, root / "usr" / name
        new.mkdir(parents=True, exist_ok=True)
        if old.is_symlink():
            old.unlink()
        elif old.is_dir():
            shutil.copytree(old, new, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(old)
        old.symlink_to(f"usr/{name}")


def _unpack(archives: Iterable[Path], root: Path, progress: Progress) -> None:
    root.mkdir()
    for archive in archives:
        progress.update(archive.name)
        process.run(("dpkg-deb", "-x", archive, root), deadline=300)
    _merge(root)


def provide(workspace: Workspace, progress: Progress) -> Packages:
    """The packages, fetched and unpacked unless they are there already."""
    distribution, version = _distribution()
    wanted = (KERNEL[distribution], *WANTED)
    identity = files.sha256_bytes(files.canonical_json([distribution, version, wanted, 2]))[:12]
    home = workspace.rehearsal / f"packages-{distribution}-{version}-{identity}"
    root, receipt = home / "root", home / "receipt.json"
    if receipt.exists():
        return Packages(root)
    with lock(workspace.rehearsal / "locks" / "packages.lock", progress.update):
        if not receipt.exists():
            progress.phase("fetching the stand-in's packages", 60)
            archives = _download(home, wanted, progress)
            shutil.rmtree(root, ignore_errors=True)
            _unpack(archives, root, progress)
            files.write_json(receipt, {"packages": [archive.name for archive in archives]})
            shutil.rmtree(home / "cache", ignore_errors=True)
    return Packages(root)
