"""``golden verify``: whether a version's folder is whole, and who signed it.

In: the folder, and whom to trust. Out: a line for what was found; the exit code tells what is wrong
(21 not signed, 22 the signature does not fit, 23 signed by another, 26 damaged).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.definitions.loader import load
from pipeline.foundation.paths import Workspace
from pipeline.publishing import signature
from pipeline.publishing.version import SIGNATURE, SUMS, require_whole


def add(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder of one version")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--key", metavar="SHA256:…", help="the publisher's fingerprint")
    trust.add_argument(
        "--allowed-signers",
        type=Path,
        metavar="FILE",
        help="an allowed-signers file of OpenSSH; as shipped, only this host's own key is trusted",
    )


def run(args: argparse.Namespace) -> int:
    """Check the signature first, so that nothing is read on a stranger's word."""
    sums, signed = args.folder / SUMS, args.folder / SIGNATURE
    if not args.folder.is_dir() or not sums.is_file():
        require_whole(args.folder)
    by = _signer(sums, signed, args.key, args.allowed_signers)
    listed = require_whole(args.folder)
    print(f"{args.folder}: {len(listed)} files, all as listed; signed by {by}")
    return 0


def _signer(sums: Path, signed: Path, key: str | None, allowed: Path | None) -> str:
    if allowed:
        return signature.verify(sums, signed, allowed)
    by = signature.signer(sums, signed)
    trusted = key or _own()
    if by != trusted:
        raise signature.SignedByAnother(
            f"{sums} is signed by {by}, not by {trusted or 'a key that is trusted here'}",
            fingerprint=by,
            hint=f"when the publisher says that this is the key: golden verify … --key {by}",
        )
    return by


def _own() -> str | None:
    """The key that this host signs with, if it has one."""
    workspace = Workspace.default()
    settings = load(workspace).settings
    key = workspace.keys / signature.KEY
    if settings.signing_key:
        key = signature.ensure_key(workspace, settings)
    return signature.fingerprint(signature.public_key(key)) if key.exists() else None
