"""Signatures of OpenSSH over ``SHA256SUMS``: made and verified by ``ssh-keygen`` alone.

Goes in: a file, a private key, a list of allowed signers. Comes out: ``<file>.sig``, or the
fingerprint of the key that signed. Three errors tell a caller apart what went wrong: there is no
signature, it does not fit the file, or it was made by a key that is not trusted.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipeline.definitions.model import Settings
from pipeline.foundation.errors import PipelineError, WrongUse
from pipeline.foundation.files import write_bytes
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.foundation.process import Argv, Finished, ProgramFailed, run

# What a signature is for; one made for anything else (a commit, a mail) does not count.
NAMESPACE = "version@golden-windows"
PRINCIPAL = "golden-windows"
SUFFIX = ".sig"
ALLOWED = "allowed_signers"
KEY = "signing_ed25519"

_SECONDS = 30.0
_FINGERPRINT = re.compile(r"key (SHA256:[A-Za-z0-9+/]{43})")
_PRINTED = re.compile(r"(SHA256:[A-Za-z0-9+/]{43})=?")
_LARGEST_KEY = 64 << 10
_PUBLIC = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}(?: .*)?")


class NotSigned(PipelineError):
    """There is no signature."""

    exit_code = 21


class SignatureWrong(PipelineError):
    """The signature is none, is for something else, or does not fit the file."""

    exit_code = 22


class SignedByAnother(PipelineError):
    """The signature fits, but its key is not trusted; ``fingerprint`` tells which key it is."""

    exit_code = 23

    def __init__(self, message: str, *, fingerprint: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fingerprint = fingerprint


def _environment() -> Mapping[str, str]:
    """An agent may hold the key (its public half is then named); nobody is asked for a password."""
    agent = {"SSH_AUTH_SOCK": os.environ["SSH_AUTH_SOCK"]} if "SSH_AUTH_SOCK" in os.environ else {}
    return {"SSH_ASKPASS_REQUIRE": "force", "SSH_ASKPASS": "false", **agent}


def _ssh_keygen(*arguments: str | Path, stdin: Path = Path(os.devnull), hint: str = "") -> Finished:
    argv: Argv = ["ssh-keygen", *arguments]
    return run(argv, deadline=_SECONDS, env=_environment(), stdin=stdin, hint=hint)


def ensure_key(workspace: Workspace, settings: Settings) -> Path:
    """The key that signs: the settings' own, else one made once for this host (mode 0600)."""
    if settings.signing_key:
        key = workspace.root / Path(settings.signing_key).expanduser()
        if not key.is_file():
            raise PipelineError(
                f"signing_key: there is no {key}",
                hint="name an OpenSSH private key, or leave signing_key out and one is made",
            )
        return key
    key = workspace.keys / KEY
    if not key.exists():
        workspace.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        with lock(workspace.keys / ".lock"):
            if not key.exists():
                _make_key(key)
    return key


def _make_key(key: Path) -> None:
    """Make it in a folder of its own; the private half takes its name last."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=key.parent) as folder:
        new = Path(folder) / key.name
        _ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", PRINCIPAL, "-f", new)
        new.with_suffix(".pub").replace(key.with_suffix(".pub"))
        new.replace(key)


def public_key(key: Path) -> str:
    """The public half of a private key, as one line without a comment."""
    line = key.read_text() if key.suffix == ".pub" else _ssh_keygen("-y", "-f", key).output
    return " ".join(line.split()[:2])


def fingerprint(public: str) -> str:
    """``SHA256:…`` of a public key."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "key.pub"
        file.write_text(f"{public}\n")
        return _ssh_keygen("-l", "-E", "sha256", "-f", file).output.split()[1]


def named(key: str) -> str:
    """The fingerprint of the key that somebody names: ``SHA256:…``, or a file with a public key.

    Raises :class:`WrongUse` for everything else.
    """
    if found := _PRINTED.fullmatch(key):
        return found[1]
    if key.startswith("SHA256:"):
        raise WrongUse(
            f"{key} is no fingerprint",
            hint="expected SHA256: and 43 letters and digits, as ssh-keygen -lf FILE prints them",
        )
    try:
        return fingerprint(_public_line(key, Path(key).expanduser()))
    except ProgramFailed:
        raise _no_key(key) from None


def _public_line(name: str, file: Path) -> str:
    """The one line of a file with a public key."""
    if not file.is_file():
        raise WrongUse(
            f"there is no key file {name}",
            hint="name a file with an OpenSSH public key, or its fingerprint SHA256:…",
        )
    with file.open("rb") as opened:
        text = opened.read(_LARGEST_KEY).decode(errors="replace")
    if "PRIVATE KEY-----" in text:
        raise WrongUse(f"{name} is a private key", hint=f"name its public half, such as {name}.pub")
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    if NAMESPACE in text:
        raise WrongUse(
            f"{name} is a list of allowed signers", hint=f"say: --allowed-signers {name}"
        )
    if len(lines) != 1 or not _PUBLIC.fullmatch(lines[0]):
        raise _no_key(name)
    return " ".join(lines[0].split()[:2])


def _no_key(name: str) -> WrongUse:
    return WrongUse(
        f"{name} is no public key of OpenSSH", hint='expected one line such as "ssh-ed25519 AAAA…"'
    )


def sign(file: Path, key: Path) -> Path:
    """Sign ``file``; returns ``<file>.sig``, which appears by rename."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / file.name
        shutil.copyfile(file, copy)
        hint = (
            f"{key} must be a private key without a password, or a public one that an agent holds"
        )
        _ssh_keygen("-Y", "sign", "-q", "-f", key, "-n", NAMESPACE, copy, hint=hint)
        signature = file.with_name(file.name + SUFFIX)
        write_bytes(signature, copy.with_name(signature.name).read_bytes())
    return signature


def require_usable(key: Path) -> None:
    """Raise unless ``key`` can sign now: better before the work of hours than after it."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial"
        trial.touch()
        sign(trial, key)


def signer(file: Path, signature: Path) -> str:
    """The fingerprint of the key whose signature fits ``file``, trusted or not."""
    if not signature.is_file():
        raise NotSigned(
            f"{file.name} is not signed: there is no {signature.name}",
            hint="ask whoever published it; unsigned versions are not to be trusted",
        )
    try:
        words = ("-Y", "check-novalidate", "-n", NAMESPACE, "-s", signature)
        said = _ssh_keygen(*words, stdin=file).output
    except ProgramFailed:
        raise SignatureWrong(
            f"{signature.name} is no signature over this {file.name}",
            hint="one of the two was changed after it was signed: fetch both again, from a source "
            "that you trust",
        ) from None
    found = _FINGERPRINT.search(said)
    if found is None:
        raise PipelineError(f"ssh-keygen does not tell who signed {file.name}: {said.strip()}")
    return found[1]


def verify(file: Path, signature: Path, allowed: Path, principal: str = PRINCIPAL) -> str:
    """The fingerprint of the trusted key that signed ``file``; raises when there is none."""
    by = signer(file, signature)
    if not allowed.is_file():
        raise PipelineError(
            f"there is no list of allowed signers {allowed}",
            hint="its lines are made of a public key; docs/consuming.md shows one",
        )
    words = ("-Y", "verify", "-f", allowed, "-I", principal, "-n", NAMESPACE, "-s", signature)
    try:
        _ssh_keygen(*words, stdin=file)
    except ProgramFailed:
        raise SignedByAnother(
            f"{file.name} is signed by {by}, which {allowed} does not allow for {principal}",
            fingerprint=by,
            hint="compare this fingerprint with the publisher's before you add the key",
        ) from None
    return by


def allowed_signers_line(public: str, principal: str = PRINCIPAL) -> str:
    """The line of an allowed-signers file that lets this key sign versions, and nothing else."""
    if not _PUBLIC.fullmatch(public.strip()):
        raise PipelineError(
            "this is not a public key of OpenSSH",
            hint='expected one line such as "ssh-ed25519 AAAA…"',
        )
    return f'{principal} namespaces="{NAMESPACE}" {" ".join(public.split()[:2])}'


def allow(path: Path, line: str) -> None:
    """Add a signer to an allowed-signers file; those of older versions stay."""
    with lock(path.parent / f".{path.name}.lock"):
        lines = path.read_text().splitlines() if path.exists() else []
        if line not in lines:
            write_bytes(path, "\n".join([*lines, line, ""]).encode())
