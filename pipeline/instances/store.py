"""The instances of this host: made, found, listed, changed, removed.

A folder appears and disappears by one rename, so that no instance is ever half there. Whoever
makes, starts, changes or removes one holds its lock (:func:`claimed`).
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.answers.first_boot import nocloud_disc
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.foundation.units import Size
from pipeline.guest.keys import make_key_pair
from pipeline.instances import hardware, options, state
from pipeline.instances import instance as records
from pipeline.instances.instance import Home, Instance
from pipeline.instances.options import Options
from pipeline.machine import image as qemu_img
from pipeline.publishing.local import Published

HOST_NAME_LENGTH = 15  # Windows'
ROOM = 1 << 30


@contextlib.contextmanager
def claimed(home: Home, waiting: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the instance's lock; ``waiting`` hears of another process that does."""
    with lock(home.launching, waiting):
        yield


def homes(workspace: Workspace) -> list[Home]:
    """Every instance, by name."""
    found = workspace.instances.glob("[!.]*/instance.json")
    return [Home(workspace, path.parent.name) for path in sorted(found)]


def host_name(name: str, user: str) -> str:
    """The guest's host name: Windows allows 15 characters, not only digits, no user's name."""
    short = name[:HOST_NAME_LENGTH].strip("-")
    if short.isdigit() or short.lower() == user.lower():
        short = f"vm-{short}"[:HOST_NAME_LENGTH].strip("-")
    return short


def create(home: Home, base: Published, asked: Options) -> Instance:
    """Make an instance on the published version ``base``; its folder appears when all is there."""
    user_key = asked.ssh_key.absolute() if asked.ssh_key else None
    made = options.apply(_plain(home.name, base, user_key), asked)
    user_keys = [options.public_key(user_key)] if user_key else []
    check(home, made)
    _refuse_other_files(base)
    size = options.larger_disk(home.name, base.virtual_size, asked)
    qemu_img.require_space(home.workspace.instances, ROOM, f"the instance {home.name}")
    part = Home(home.workspace, f".{home.name}.new")
    shutil.rmtree(part.folder, ignore_errors=True)
    part.folder.mkdir(mode=0o700)
    key = make_key_pair(part.key, f"golden-{home.name}")
    named = host_name(home.name, base.user)
    nocloud_disc(part.disc, [key, *user_keys], named, f"{home.name}-{secrets.token_hex(6)}")
    qemu_img.overlay(part.disk, base.disk, size=size, absolute=True)
    records.save(part, made)
    part.folder.rename(home.folder)
    return made


def _refuse_other_files(base: Published) -> None:
    """An image can name other files of the host as its own content, and its guest reads them."""
    if found := qemu_img.names_files(base.disk):
        raise PipelineError(
            f"{base.disk} takes its content from other files: {', '.join(found)}",
            hint="a published disk stands alone: do not trust this one, pull or publish it anew",
        )


def _plain(name: str, base: Published, user_key: Path | None) -> Instance:
    return Instance(
        name=name,
        image=base.image,
        version=base.version,
        disk=base.disk.resolve(),
        sha256=base.sha256,
        size=base.size,
        user=base.user,
        rehearsal=base.rehearsal,
        firmware=base.firmware,
        tpm=base.tpm,
        secure_boot=base.secure_boot,
        cpus=base.cpus,
        memory=base.memory,
        created=records.now(),
        user_key=user_key,
    )


def check(home: Home, instance: Instance) -> None:
    """Raise what keeps an instance from being started as it is: its image, its share, its port."""
    check_base(instance)
    options.check_share(home, instance)
    hardware.choose_port(instance)


def check_base(instance: Instance) -> None:
    """Raise when the published image below the instance's disk is gone or another one."""
    what = f"{instance.name} stands on {instance.image}@{instance.version}"
    if not instance.disk.is_file():
        raise PipelineError(
            f"{what}, whose disk {instance.disk} is gone",
            hint="put it back under that path (golden pull, ./doitw build); nothing else is lost",
        )
    if (size := instance.disk.stat().st_size) != instance.size:
        raise PipelineError(
            f"{what}, but {instance.disk} has {size} bytes instead of {instance.size}",
            hint="that file was replaced; starting would damage the instance's disk",
        )


def change(home: Home, before: Instance, asked: Options) -> tuple[Instance, list[str]]:
    """The stored instance with what is asked for now, and what that changes, in words.

    Hardware may change while the instance is stopped. What its first boot was told may not.
    """
    if asked.ssh_key and asked.ssh_key.absolute() != before.user_key:
        raise PipelineError(
            f"{home.name} has had its first boot, and another --ssh-key would not be asked for",
            hint=f"add the key in the guest (golden ssh {home.name}), or give another --name",
        )
    after = options.apply(before, asked)
    words = list(options.changes(before, after))
    if asked.disk and (now := disk_size(home)) != asked.disk:
        words.append(f"disk {now} -> {options.larger_disk(home.name, now, asked)}")
    return after, words


def grow(home: Home, asked: Options) -> None:
    """Make a stopped instance's disk as large as asked; its first boot service then grows C:."""
    if asked.disk and asked.disk > disk_size(home):
        qemu_img.resize(home.disk, asked.disk)


def disk_size(home: Home) -> Size:
    """The instance's disk as its guest sees it, in bytes."""
    return Size(qemu_img.info(home.disk).virtual_size)


def rotate_logs(home: Home) -> None:
    """An empty log folder for a new run; the run before keeps its own, older ones go."""
    if home.log.exists():
        shutil.rmtree(home.earlier_log, ignore_errors=True)
        home.log.rename(home.earlier_log)
    home.log.mkdir(parents=True)


def remove(home: Home) -> None:
    """Remove a stopped instance with its disk, keys and logs; the image below is left alone."""
    if state.read(home).alive:
        raise PipelineError(
            f"{home.name} is running", hint=f"stop it first: golden stop {home.name}"
        )
    gone = home.folder.with_name(f".{home.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    home.folder.rename(gone)
    shutil.rmtree(gone)


def disk_used(home: Home) -> int:
    """Bytes that the instance's own disk takes on the host."""
    try:
        return home.disk.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
