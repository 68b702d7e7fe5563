"""``golden verify``: whether a version's folder is whole, and who signed it.

In: the folder, or the version's name; whom to trust: this host's own key when nobody is named, and
for a version that was pulled the keys that pulls have trusted. Out: a line for what was found; the
exit code tells what is wrong (21 not signed, 22 the signature does not fit, 23 signed by another,
26 damaged).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli.pull import add_key
from pipeline.definitions.loader import load
from pipeline.foundation.paths import Workspace
from pipeline.publishing import signature
from pipeline.publishing.local import folder_of
from pipeline.publishing.trust import remembered
from pipeline.publishing.version import SIGNATURE, SUMS, require_whole


def add(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "version",
        metavar="VERSION",
        help="the folder of one version, or IMAGE[@VERSION] on this host",
    )
    trust = parser.add_mutually_exclusive_group()
    add_key(trust)
    trust.add_argument(
        "--allowed-signers",
        type=Path,
        metavar="FILE",
        help="an allowed-signers file of OpenSSH",
    )


def run(args: argparse.Namespace) -> int:
    """Check the signature first, so that nothing is read on a stranger's word."""
    folder = _folder(args.version)
    if not (folder / SUMS).is_file():
        require_whole(folder)
    # Keys first: one that is none is said before gigabytes are read.
    by = _signer(folder, [signature.named(key) for key in args.key], args.allowed_signers)
    listed = require_whole(folder)
    print(f"{folder}: {len(listed)} files, all as listed; signed by {by}")
    return 0


def _folder(version: str) -> Path:
    """A folder that is there wins over an image of its name."""
    path = Path(version)
    if path.is_dir() or "/" in version:
        return path
    return folder_of(version, Workspace.default())


def _signer(folder: Path, keys: list[str], allowed: Path | None) -> str:
    sums, signed = folder / SUMS, folder / SIGNATURE
    if allowed:
        return signature.verify(sums, signed, allowed)
    by = signature.signer(sums, signed)
    trusted = frozenset(keys) or _known(folder)
    if by not in trusted:
        raise signature.SignedByAnother(
            f"{sums} is signed by {by}, not by {_names(trusted)}",
            fingerprint=by,
            hint=f"when the publisher says that this is the key: golden verify … --key {by}",
        )
    return by


def _names(trusted: frozenset[str]) -> str:
    return " or ".join(sorted(trusted)) or "a key that is trusted here"


def _known(folder: Path) -> frozenset[str]:
    """Whom this host trusts unasked: itself, and for what was pulled whom the pulls trusted."""
    workspace = Workspace.default()
    settings = load(workspace).settings
    key = workspace.keys / signature.KEY
    if settings.signing_key:
        key = signature.ensure_key(workspace, settings)
    own = {signature.fingerprint(signature.public_key(key))} if key.exists() else set()
    pulled = folder.resolve().is_relative_to(workspace.pulled.resolve())
    return frozenset(own) | (remembered(workspace) if pulled else frozenset())
