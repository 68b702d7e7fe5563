"""The build's own key pair: made for one build, and removed from the image when it is sealed."""

from __future__ import annotations

from pathlib import Path

from pipeline.foundation.files import write_bytes


def make_key_pair(path: Path, comment: str = "golden-build") -> str:
    """Write a new ed25519 key to ``path`` (mode 0600) and ``path``.pub; give the public line."""
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    public = key.export_public_key().decode().strip()
    write_bytes(path, key.export_private_key(), mode=0o600)
    write_bytes(path.with_name(f"{path.name}.pub"), f"{public}\n".encode())
    return public
