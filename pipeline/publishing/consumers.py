"""Files that make a published version run with what people use: Lima, libvirt, Vagrant, and more.

Goes in: the manifest and ``templates/consumers``. Comes out: file name to bytes, below
``consumers/`` in the version's folder. Scripts find the disk beside that folder by themselves.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.definitions.model import FirstBoot
from pipeline.foundation.files import sha256_file
from pipeline.machine.accelerator import CPU, ENLIGHTENMENTS

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = "consumers"
SUFFIX = ".j2"
CLOUD_HYPERVISOR = "cloud-hypervisor.sh"
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}

# Where distributions keep code and variables: Debian and Ubuntu, Fedora, SUSE, Arch.
_FIRMWARE = (
    "/usr/share/OVMF/OVMF_CODE_4M.fd:/usr/share/OVMF/OVMF_VARS_4M.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.fd:/usr/share/edk2/ovmf/OVMF_VARS.fd",
    "/usr/share/qemu/ovmf-x86_64-code.bin:/usr/share/qemu/ovmf-x86_64-vars.bin",
    "/usr/share/edk2/x64/OVMF_CODE.4m.fd:/usr/share/edk2/x64/OVMF_VARS.4m.fd",
)
_FIRMWARE_SECURE = (
    "/usr/share/OVMF/OVMF_CODE_4M.ms.fd:/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd:/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd",
    "/usr/share/qemu/ovmf-x86_64-smm-ms-code.bin:/usr/share/qemu/ovmf-x86_64-smm-ms-vars.bin",
)
# Nobody knows where a version will be served: the reader puts the address in.
_STORE = "https://images.example.com"
# Importing unpacks the disk and needs some room besides.
_CLAIM = 1.1


def sources(templates: Path) -> list[Path]:
    """Every template that a version's consumer files are made from, sorted."""
    return sorted((templates / FOLDER).rglob(f"*{SUFFIX}"))


def identity(templates: Path) -> dict[str, str]:
    """What stands for the templates in a stage's inputs: name to SHA-256."""
    root = templates / FOLDER
    return {p.relative_to(root).as_posix(): sha256_file(p) for p in sources(templates)}


def consumer_files(manifest: Mapping[str, Any], templates: Path) -> dict[str, bytes]:
    """The files by their name in the version's folder, such as ``consumers/lima.yaml``."""
    root = templates / FOLDER
    values = _values(manifest)
    names = [path.relative_to(root).as_posix() for path in sources(templates)]
    files = {}
    for template in names:
        name = template.removesuffix(SUFFIX)
        if name == CLOUD_HYPERVISOR and not _fits_cloud_hypervisor(manifest):
            continue
        text = _environment(root).get_template(template).render(values)
        files[f"{FOLDER}/{name}"] = text.encode()
    return files


def _fits_cloud_hypervisor(manifest: Mapping[str, Any]) -> bool:
    """It boots by UEFI alone, and has no CD drive: a seed is a disk without partitions to it.

    Windows gives such a disk no volume, so first boot would never see it; cloudbase-init reads
    disks by itself.
    """
    cloudbase = manifest["first_boot"] == FirstBoot.CLOUDBASE_INIT
    return bool(cloudbase and manifest["machine"]["firmware"] == "uefi")


def enlightenments() -> dict[str, dict[str, str]]:
    """Hyper-V's features by the names that libvirt and KubeVirt give them, with attributes.

    They are those that an image is built with; its clock is a timer there.
    """
    found: dict[str, dict[str, str]] = {}
    for word in ENLIGHTENMENTS:
        name, _, value = word.removeprefix("hv-").partition("=")
        if name != "time":
            found[name] = {"retries": str(int(value, 16))} if value else {}
    return found


def _values(manifest: Mapping[str, Any]) -> dict[str, Any]:
    gib = -(-manifest["disk"]["virtual_size"] // (1 << 30))
    secure = manifest["machine"]["secure_boot"]
    return {
        **manifest,
        "arch": ARCHITECTURES[manifest["windows"]["architecture"]],
        "memory_mib": manifest["machine"]["memory"] >> 20,
        "disk_gib": gib,
        "claim_gib": -(-int(gib * _CLAIM * 10) // 10),
        "dns_name": f"{manifest['image']}-{manifest['version']}",
        "store": _STORE,
        "hyperv": enlightenments(),
        "cpu_kvm": CPU["kvm"],
        "firmware": _FIRMWARE_SECURE if secure else _FIRMWARE,
    }


@cache
def _environment(root: Path) -> Environment:
    """A name that no template knows is an error; only XML is escaped by itself."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    def as_json(value: Any) -> Markup:
        return Markup(json.dumps(value, ensure_ascii=False))  # noqa: S704  # never used in XML

    environment = Environment(
        loader=FileSystemLoader(root),
        undefined=StrictUndefined,
        autoescape=select_autoescape((f"xml{SUFFIX}",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"json": as_json, "sh": shlex.quote}
    return environment
