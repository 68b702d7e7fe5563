"""The discs that a sealed image looks for at its first boot, as consumers' tools make them.

In: public keys, and who the machine is to be. Out: a small ISO 9660 disc that holds no secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.answers.disc import write_disc


def nocloud_disc(path: Path, public_keys: Sequence[str], host_name: str, instance: str) -> None:
    """A NoCloud disc: another ``instance`` makes first boot apply it anew.

    The keys stand in both files: cloudbase-init reads those of the meta-data alone.
    """
    keys = "".join(f"  - {key}\n" for key in public_keys)
    user_data = f"#cloud-config\nhostname: {host_name}\nssh_authorized_keys:\n{keys}"
    meta_data = f"instance-id: {instance}\nlocal-hostname: {host_name}\npublic-keys:\n{keys}"
    files = {"meta-data": meta_data.encode(), "user-data": user_data.encode()}
    write_disc(path, "cidata", files)


def lima_disc(path: Path, public_keys: Sequence[str]) -> None:
    """A disc as Lima makes it for a Windows guest, without provisioning scripts."""
    lines = "".join(f"{key}\n" for key in public_keys)
    write_disc(path, "autounattend", {"ssh_authorized_keys": lines.encode()})
