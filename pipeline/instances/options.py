"""What a user may ask of an instance, parsed from words, and what of it may change later."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.units import Size
from pipeline.instances.instance import Home, Instance
from pipeline.machine.sidecars import refuse_share
from pipeline.machine.spec import Share

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_SHARE = re.compile(r"(?P<folder>.+):(?P<tag>[A-Za-z0-9_.-]{1,36})")  # 36: virtio's field
NO_SHARE = "none"
LOWEST_PORT, HIGHEST_PORT = 1, 65535
MOST_CPUS = 255


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``golden launch``; ``None`` was not given. ``share`` is the user's text."""

    share: str | None = None
    memory: Size | None = None
    cpus: int | None = None
    port: int | None = None
    ssh_key: Path | None = None
    disk: Size | None = None


def check_name(name: str) -> str:
    """The name, if an instance may be called so."""
    if not NAME.fullmatch(name):
        raise PipelineError(
            f"an instance can't be called {name!r}",
            hint="at most 40 lower-case letters, digits and inner hyphens",
        )
    return name


def parse_share(text: str) -> Share:
    """``DIR`` or ``DIR:tag``; a folder whose own name has a colon is taken as it is."""
    match = _SHARE.fullmatch(text)
    if match and not Path(text).is_dir():
        return Share(Path(match["folder"]).absolute(), match["tag"])
    return Share(Path(text).absolute())


def apply(instance: Instance, options: Options) -> Instance:
    """The instance with what was asked for; raises what is no value at all."""
    asked: dict[str, Any] = {}
    if options.memory is not None:
        asked["memory"] = options.memory
    if options.cpus is not None:
        asked["cpus"] = _within("--cpus", options.cpus, 1, MOST_CPUS)
    if options.port is not None:
        port = _within("--port", options.port, LOWEST_PORT, HIGHEST_PORT)
        asked |= {"port": port, "fixed": True}
    if options.share is not None:
        asked["share"] = None if options.share == NO_SHARE else parse_share(options.share)
    return replace(instance, **asked)


def _within(option: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise PipelineError(f"{option} {value}: a number from {low} to {high}")
    return value


def larger_disk(name: str, now: int, options: Options) -> Size | None:
    """The size that the instance's disk is to grow to; nothing if it need not. A smaller one is an
    error: Windows would lose its end.
    """
    if options.disk is None or options.disk == now:
        return None
    if options.disk < now:
        raise PipelineError(
            f"{name}: its disk has {Size(now)} already, and can only grow",
            hint="leave --disk out, or give a larger size",
        )
    return options.disk


def changes(before: Instance, after: Instance) -> Iterator[str]:
    """What differs, in words: ``memory 1G -> 2G``."""
    for name, say in (("memory", str), ("cpus", str), ("port", str), ("share", shown)):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield f"{name} {say(old)} -> {say(new)}"


def shown(share: Share | None) -> str:
    """``/folder (tag)``."""
    return f"{share.directory} ({share.tag})" if share else NO_SHARE


def check_share(home: Home, instance: Instance) -> None:
    """Refuse a shared folder that shows the guest images, products, instances or keys.

    A folder that lies *within* what the pipeline produces is refused as well: other images and
    instances are there, and a guest writes with the rights of its host's user.
    """
    if not instance.share:
        return
    space = home.workspace
    kept = [instance.disk, home.folder, space.root, space.output, space.cache]
    kept += [instance.user_key] if instance.user_key else []
    refuse_share(instance.name, instance.share, kept)
    shared = instance.share.directory.resolve()
    for place in (space.output.resolve(), space.cache.resolve(), instance.disk.resolve().parent):
        if shared.is_relative_to(place):
            raise PipelineError(
                f"{instance.name}: the shared folder {shared} lies within {place}",
                hint="share a folder made for it",
            )


def public_key(path: Path) -> str:
    """The public half of a user's key: ``path`` itself, or the ``.pub`` file beside it."""
    candidates = [path, path.with_name(f"{path.name}.pub")]
    for candidate in candidates:
        line = _first_line(candidate)
        if re.match(r"(ssh|ecdsa|sk)-\S+ \S+", line):
            return line
    raise PipelineError(
        f"{path} is no SSH key with a public half beside it",
        hint=f"make that with: ssh-keygen -y -f {path} > {path}.pub",
    )


def _first_line(path: Path) -> str:
    try:
        with path.open(errors="replace") as stream:
            return stream.readline(16384).strip()
    except OSError as error:
        return "" if isinstance(error, FileNotFoundError) else os.strerror(error.errno or 0)
