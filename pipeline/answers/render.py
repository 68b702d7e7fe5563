"""Answer files from templates.

In: an image's definition, what its medium holds, and credentials (the placeholders, for everything
that is kept). Out: the files by name, in one canonical form: a template that changed in nothing but
comments or layout renders the same bytes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pipeline.answers.cloudbase import SPECIALIZE
from pipeline.answers.credentials import Credentials
from pipeline.answers.passwords import encode
from pipeline.definitions.model import Firmware, Image, MediaFacts, Release
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import Size

# What each file is rendered from.
TEMPLATES = {
    "autounattend.xml": "autounattend.xml.j2",
    "unattend-oobe.xml": "unattend-oobe.xml.j2",
}
CLIENTS = frozenset({Release.WINDOWS_10, Release.WINDOWS_11})
ARCHITECTURES = {"amd64": "amd64", "x64": "amd64", "x86_64": "amd64", "arm64": "arm64"}
# Every letter a medium can have. The system's own comes last: a copy there is from another time.
LETTERS = (*"DEFGHIJKLMNOPQRSTUVWXYZ", "C")
WINDOWS_PARTITION = {Firmware.UEFI: 3, Firmware.BIOS: 2}


def render(
    image: Image, facts: MediaFacts, credentials: Credentials, templates: Path
) -> dict[str, bytes]:
    """The answer files of ``image``; ``templates`` is the folder that holds ``answer/``."""
    _check(image, facts)
    environment = _environment(templates / "answer")
    values = _values(image, facts, credentials)
    return {
        name: _canonical(name, environment.get_template(template).render(values))
        for name, template in TEMPLATES.items()
    }


def sources(templates: Path) -> list[Path]:
    """Every template file that rendering may read, sorted."""
    return sorted((templates / "answer").glob("*.j2"))


def labconfig(image: Image) -> list[str]:
    """The checks of Windows 11's Setup that this machine needs to have passed over.

    A machine with TPM and Secure Boot is a real Windows 11 machine: nothing is passed over then.
    """
    machine = image.machine
    if image.release is not Release.WINDOWS_11 or (machine.tpm and machine.secure_boot):
        return []
    wanted = {
        "BypassTPMCheck": not machine.tpm,
        "BypassSecureBootCheck": not machine.secure_boot,
        "BypassCPUCheck": True,  # no emulated model is on the list of supported processors
        "BypassRAMCheck": machine.memory < Size(4 << 30),
        "BypassStorageCheck": machine.disk < Size(64 << 30),
    }
    return [check for check, needed in wanted.items() if needed]


def _check(image: Image, facts: MediaFacts) -> None:
    names = [edition.name for edition in facts.editions]
    if image.edition not in names:
        raise PipelineError(
            f'{image.name}: {image.media} has no edition "{image.edition}"',
            hint=f"it has: {'; '.join(names) or 'none that is known'}",
        )
    if image.user.lower() == image.host_name.lower():
        raise PipelineError(
            f'{image.name}: user and host_name are both "{image.user}"',
            hint="Windows takes such a user for the machine and nobody can log in: change one",
        )


def _values(image: Image, facts: MediaFacts, credentials: Credentials) -> dict[str, Any]:
    if facts.architecture not in ARCHITECTURES:
        raise PipelineError(
            f'{image.media}: architecture "{facts.architecture}" is not one that can be installed',
            hint=f"known: {', '.join(ARCHITECTURES)}",
        )
    return {
        "image": image,
        "facts": facts,
        "architecture": ARCHITECTURES[facts.architecture],
        "client": image.release in CLIENTS,
        "labconfig": labconfig(image),
        "letters": LETTERS,
        "cloudbase_command": SPECIALIZE,
        "windows_partition": WINDOWS_PARTITION[image.machine.firmware],
        "user_password": encode(credentials.password, "Password"),
        "administrator_password": encode(credentials.password, "AdministratorPassword"),
    }


@cache
def _environment(folder: Path) -> Any:
    """Compiled templates; one that changes on disk is compiled again."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=True,
        keep_trailing_newline=True,
    )


def _canonical(name: str, text: str) -> bytes:
    from lxml import etree

    parser = etree.XMLParser(remove_blank_text=True, remove_comments=True, resolve_entities=False)
    try:
        root = etree.fromstring(text.strip().encode(), parser)
    except etree.XMLSyntaxError as error:
        raise PipelineError(f"the template of {name} renders no XML: {error.msg}") from None
    etree.indent(root, space="  ")
    body: bytes = etree.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"
