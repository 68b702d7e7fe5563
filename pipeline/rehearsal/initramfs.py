"""The stand-in's first file system: Python, the guest's programs, what they run, kernel modules.

Goes in: the unpacked packages and ``guest/``. Comes out: one zstd-compressed cpio archive, the same
bytes for the same packages and sources. Everything is picked by name with its libraries, because
every boot under emulation pays for each megabyte.
"""

from __future__ import annotations

import ast
import json
import lzma
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from pipeline.foundation.errors import PipelineError
from pipeline.rehearsal import cpio
from pipeline.rehearsal.cpio import Entry
from pipeline.rehearsal.elf import depends
from pipeline.rehearsal.packages import Packages

GUEST = Path(__file__).parent / "guest"
PROGRAMS = (
    "bin/busybox",
    "bin/lowntfs-3g",
    "bin/ssh-keygen",
    "lib/openssh/sftp-server",
    "sbin/mkfs.fat",
    "sbin/mkntfs",
    "sbin/ntfsresize",
    "sbin/sfdisk",
    "sbin/sshd",
)
# OpenSSH 9.8 split its server; older ones are a single program.
OPTIONAL = ("lib/openssh/sshd-session", "lib/openssh/sshd-auth")
# Only Setup needs them and their libraries are large: they stay on the medium.
MEDIUM_PROGRAMS = ("bin/wimlib-imagex",)
APPLETS = "hostname insmod ip mount poweroff reboot sh udhcpc umount"
REQUIRED_MODULES = ("ahci", "sr_mod", "udf", "isofs", "vfat", "fuse", "virtio_pci", "virtio_blk")
MODULES = (
    *REQUIRED_MODULES,
    *("sd_mod", "virtio_scsi", "virtio_net", "virtio_rng", "virtio_balloon", "virtio_console"),
    *(
        "virtiofs",
        "pvpanic_pci",
        "pvpanic_mmio",
        "qemu_fw_cfg",
        "efivarfs",
        "evdev",
        "button",
        "nvme",
    ),
    *("nls_utf8", "nls_cp437", "nls_iso8859_1", "nls_ascii", "usb_storage", "uas", "xhci_pci"),
)
# What the standard library imports only when it is used.
LAZY = (
    "encodings.ascii encodings.cp1252 encodings.cp437 encodings.idna encodings.latin_1 "
    "encodings.utf_16 encodings.utf_16_le encodings.utf_8_sig linecache pwd random traceback"
)
FOLDERS = "dev dev/pts etc mnt proc root run sys tmp usr usr/bin usr/lib usr/lib64 usr/sbin var"
COLLECT = """
import importlib, os, py_compile, sys
out, guest, names = sys.argv[1], sys.argv[2], sys.argv[3].split()
here = os.path.dirname(os.__file__)
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        if name.rpartition(".")[0] not in sys.modules:  # else it is no module but a name in one
            raise
native = []
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
def compile(source, shown, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    py_compile.compile(source, target, shown, doraise=True, invalidation_mode=mode)
for name, module in sorted(sys.modules.items()):
    path = getattr(module, "__file__", None) or ""
    relative = os.path.relpath(path, here) if path else ""
    if path.endswith(".py") and not relative.startswith(".."):
        compile(path, relative, os.path.join(out, relative + "c"))
    elif path.endswith(".so"):
        native.append(relative)
for name in sorted(os.listdir(guest)):
    if name.endswith(".py"):
        compile(os.path.join(guest, name), "standin/" + name, f"{out}/standin/{name}c")
print("%d.%d" % sys.version_info[:2])
print("\\n".join(native))
"""


def _programs(packages: Packages, names: Iterable[str]) -> Iterator[Entry]:
    """Programs below ``/usr`` with the libraries they load."""
    found = [(name, packages.find(name)) for name in names]
    for name, path in found:
        yield cpio.file(f"usr/{name}", path.read_bytes(), executable=True)
    dynamic = [path for name, path in found if name != "bin/busybox"]
    yield from libraries(packages, dynamic)


def libraries(packages: Packages, programs: Iterable[Path]) -> Iterator[Entry]:
    """The libraries of programs, all in one folder."""
    for path in sorted(packages.libraries(programs)):
        yield cpio.file(f"usr/lib/x86_64-linux-gnu/{path.name}", path.read_bytes(), executable=True)


def _python(packages: Packages) -> Iterator[Entry]:
    """The interpreter and just the modules that the guest imports, compiled."""
    program = packages.find("bin/python3")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "collect.py"
        script.write_text(COLLECT)
        out = Path(folder) / "out"
        said = packages.run(
            "bin/python3", "-S", "-B", script, out, GUEST, _imports(), env=_python_home(packages)
        ).output.split()
        home = f"usr/lib/python{said[0]}"
        for path in sorted(out.rglob("*.pyc")):
            yield cpio.file(f"{home}/{path.relative_to(out)}", path.read_bytes())
        native = [packages.find(f"lib/python{said[0]}/{name}") for name in said[1:]]
        for name, path in zip(said[1:], native, strict=True):
            yield cpio.file(f"{home}/{name}", path.read_bytes(), executable=True)
    yield cpio.file("usr/bin/python3", program.read_bytes(), executable=True)
    yield cpio.file(f"{home}/os.py", b"")  # the landmark by which Python finds its home
    yield from libraries(packages, [program, *native])


def _imports() -> str:
    """The modules of the standard library that the guest's programs import."""
    found = set(LAZY.split())
    for path in GUEST.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return " ".join(sorted(found))


def _python_home(packages: Packages) -> dict[str, str]:
    return {"PYTHONHOME": str(packages.root / "usr"), "PYTHONHASHSEED": "0"}


def _read_module(packages: Packages, path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "module.ko"
            packages.run("bin/zstd", "-q", "-d", path, "-o", plain)
            return plain.read_bytes()
    return data


def modules(packages: Packages) -> Iterator[Entry]:
    """Kernel modules with all they depend on, and ``modules.json``: which to load, in order."""
    kernel = (path for path in packages.modules.rglob("*.ko*"))
    paths = {path.name.partition(".")[0].replace("-", "_"): path for path in kernel}
    content: dict[str, bytes] = {}
    order: dict[str, list[str]] = {}

    def visit(name: str) -> list[str]:
        if name not in paths:
            return []  # built into this kernel
        if name not in order:
            content[name] = _read_module(packages, paths[name])
            below = [path for other in depends(content[name]) for path in visit(other)]
            order[name] = list(dict.fromkeys([*below, f"/lib/modules/{name}.ko"]))
        return order[name]

    for name in MODULES:
        visit(name)
    if missing := [n for n in REQUIRED_MODULES if n not in paths and not _built_in(packages, n)]:
        raise PipelineError(f"the kernel of the rehearsal's packages has no module {missing[0]}")
    yield cpio.folder("usr/lib/modules")
    for name, data in sorted(content.items()):
        yield cpio.file(f"usr/lib/modules/{name}.ko", data)
    yield cpio.file("usr/lib/modules/modules.json", json.dumps(order, sort_keys=True).encode())


def _built_in(packages: Packages, name: str) -> bool:
    text = packages.modules / "modules.builtin"
    return text.exists() and f"/{name}.ko" in text.read_text().replace("-", "_")


def _base() -> Iterator[Entry]:
    for name in FOLDERS.split():
        yield cpio.folder(name, 0o1777 if name == "tmp" else 0o755)
    for name in ("bin", "sbin", "lib", "lib64"):
        yield cpio.link(name, f"usr/{name}")
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.character_device("dev/null", 1, 3, 0o666)
    yield cpio.link(
        "usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    )
    for name in APPLETS.split():
        yield cpio.link(f"usr/bin/{name}", "busybox")
    yield cpio.file("init", _script("init"), executable=True)
    yield cpio.file("usr/bin/standin-cmd", _script("login"), executable=True)


def _script(module: str) -> bytes:
    lines = ("#!/usr/bin/python3 -ISB", f"from standin import {module}", f"{module}.main()", "")
    return "\n".join(lines).encode()


def _with_folders(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Every entry once, and before it the folders it lies in."""
    seen: set[str] = set()
    for entry in entries:
        for parent in reversed(PurePosixPath(entry.name).parents):
            name = str(parent)
            if name != "." and name not in seen:
                seen.add(name)
                yield cpio.folder(name)
        if entry.name not in seen:
            seen.add(entry.name)
            yield entry


def entries(packages: Packages) -> list[Entry]:
    """Everything in the archive."""
    optional = (name for name in OPTIONAL if (packages.root / "usr" / name).exists())
    found = [
        *_base(),
        *modules(packages),
        *_programs(packages, (*PROGRAMS, *optional)),
        *_python(packages),
        cpio.file(
            "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            packages.loader.read_bytes(),
            executable=True,
        ),
    ]
    ordered = sorted(found, key=lambda entry: not stat.S_ISDIR(entry.mode))
    return list(_with_folders(ordered))


def build(packages: Packages, target: Path) -> None:
    """Write the compressed archive to ``target``."""
    plain = target.with_suffix(".cpio")
    plain.write_bytes(cpio.archive(entries(packages)))
    packages.run("bin/zstd", "-q", "-f", "-12", plain, "-o", target)
    plain.unlink()


def medium_programs(packages: Packages, folder: Path) -> None:
    """Put what only Setup runs, with its libraries, into a folder of the medium."""
    folder.mkdir(parents=True)
    for path in (packages.find(name) for name in MEDIUM_PROGRAMS):
        (folder / path.name).write_bytes(path.read_bytes())
        for library in packages.libraries([path]):
            (folder / library.name).write_bytes(library.read_bytes())
