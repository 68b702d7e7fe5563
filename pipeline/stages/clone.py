"""What must hold of a clone of a sealed disk, one function each; their names are the checks' names.

Each returns its evidence and raises a PipelineError that says what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.guest.login import KeyRefused
from pipeline.guest.ssh import Guest, connect
from pipeline.stages.session import Access

HOST_NAME = "proof"
INSTANCE = "proof-1"
RECORD = "/C:/ProgramData/golden/first-boot.json"
LIMA_DONE = "/C:/ProgramData/Lima/lima-boot-done.txt"
KEYS = "/C:/ProgramData/ssh/administrators_authorized_keys"
# What the build used and nobody needs any more.
LEFTOVERS = ("/C:/ProgramData/golden/payload", "/C:/ProgramData/golden/seal.json")
# Windows keeps copies of answer files; it blanks their passwords, and ours have none after sealing.
ANSWERS = (
    "/C:/Windows/Panther/unattend.xml",
    "/C:/Windows/Panther/Unattend/unattend.xml",
    "/C:/Windows/System32/Sysprep/unattend.xml",
    "/C:/ProgramData/golden/unattend-oobe.xml",
)
_PASSWORD = re.compile(rb"Password>\s*<Value>(?!\*SENSITIVE)")


@dataclass(frozen=True, slots=True)
class Clone:
    """A running clone, the port that leads to it, and how the build logged in."""

    guest: Guest
    port: int
    build: Access


async def _record(clone: Clone) -> dict[str, Any]:
    """What first boot wrote down."""
    content = await clone.guest.get(RECORD)
    with suppress(ValueError):
        if isinstance(record := json.loads(content), dict):
            return record
    raise PipelineError(f"{RECORD} is no JSON object: {content[:200]!r}")


async def first_boot(clone: Clone) -> str:
    """First boot found the consumer's disc and obeyed it."""
    record = await _record(clone)
    wanted = {"disc": "nocloud", "instance": INSTANCE, "host_name": HOST_NAME, "errors": []}
    named = str(record.get("host_name")).lower()  # Windows says it in upper case
    if {name: record.get(name) for name in wanted} | {"host_name": named} != wanted:
        raise PipelineError(f"first boot recorded {record}, expected {wanted}")
    return f"{RECORD} says {record['disc']}, {record['host_name']}"


async def host_name(clone: Clone) -> str:
    """The guest is called what its disc said."""
    name = (await clone.guest.run("hostname", 60)).out.strip()
    if name.lower() != HOST_NAME:
        raise PipelineError(f"the guest is called {name!r}, its disc said {HOST_NAME!r}")
    return name


async def new_host_key(clone: Clone) -> str:
    """No two machines share a host key."""
    if clone.guest.host_key == clone.build.host_key:
        raise PipelineError("the clone answers with the host key of the build")
    return clone.guest.host_key


async def build_key_refused(clone: Clone) -> str:
    """The build's own key opens nothing any more."""
    try:
        async with connect(clone.port, clone.build.user, clone.build.key, None, 60):
            pass
    except KeyRefused as refused:
        return refused.message
    raise PipelineError("the build's key still opens the clone")


async def no_leftovers(clone: Clone) -> str:
    """Nothing of the build's tools, and its key nowhere."""
    left = [path for path in LEFTOVERS if await clone.guest.exists(path)]
    build_key = clone.build.key.with_suffix(".pub").read_bytes().split()[1]
    if left or build_key in await clone.guest.get(KEYS):
        raise PipelineError(f"left over from the build: {', '.join(left) or KEYS}")
    return f"none of {', '.join(LEFTOVERS)}; the build's key is not in {KEYS}"


async def no_passwords(clone: Clone) -> str:
    """No answer file that Windows kept holds a password."""
    there = [path for path in ANSWERS if await clone.guest.exists(path)]
    for path in there:
        # UTF-16 without its zero bytes reads the same, as all of it is ASCII.
        if _PASSWORD.search((await clone.guest.get(path)).replace(b"\0", b"")):
            raise PipelineError(f"{path} still holds a password")
    return f"no password in {', '.join(there) or 'any answer file, as none is there'}"


async def lima_is_told(clone: Clone) -> str:
    """Lima's own sign that booting is done is there, and first boot took its disc for Lima's."""
    record = await _record(clone)
    if record.get("disc") != "lima" or record.get("errors"):
        raise PipelineError(f"first boot recorded {record}, expected Lima's disc and no errors")
    if not await clone.guest.exists(LIMA_DONE):
        raise PipelineError(f"{LIMA_DONE} is not there: limactl would wait for ever")
    return f"{LIMA_DONE} is there"


Checks = tuple[Callable[[Clone], Awaitable[str]], ...]
CHECKS: Checks = (
    first_boot,
    host_name,
    new_host_key,
    build_key_refused,
    no_leftovers,
    no_passwords,
)
# What holds whoever made the first boot: our record of it is ours alone.
SHARED_CHECKS: Checks = CHECKS[1:]
LIMA_CHECKS: Checks = (lima_is_told, new_host_key, build_key_refused)
