"""The credentials of one build: a random password nobody needs to know, and an SSH public key.

Everything rendered carries fixed placeholders, so nothing that is kept or compared holds a secret;
:func:`substitute` puts the real ones in when the build disc is written, and only there.
"""

from __future__ import annotations

import base64
import re
import secrets
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.answers.passwords import SUFFIXES, encode
from pipeline.foundation.errors import PipelineError

LENGTH = 32
# No character that XML, JSON, cmd.exe or PowerShell would treat specially.
SPECIAL = "-_."
_CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits, SPECIAL)
_ALPHABET = "".join(_CLASSES)
_PASSWORD = re.compile(r"[A-Za-z0-9._-]{14,127}")
_KEY = re.compile(r"(?P<type>[a-z0-9@.-]+) (?P<blob>[A-Za-z0-9+/]+={0,2})( [A-Za-z0-9@._+-]+)?")


def _random_password() -> str:
    while True:
        password = "".join(secrets.choice(_ALPHABET) for _ in range(LENGTH))
        if all(set(password) & set(kind) for kind in _CLASSES):
            return password


@dataclass(frozen=True, slots=True)
class Credentials:
    """A password (of the build user and, on servers, of Administrator) and one public key line."""

    password: str = field(repr=False)
    public_key: str

    def __post_init__(self) -> None:
        if not _PASSWORD.fullmatch(self.password):
            raise ValueError(f"a build password is 14 to 127 letters, digits or {SPECIAL}")
        if not _KEY.fullmatch(self.public_key):
            raise ValueError("a public key is one line: type, Base64, and a plain comment")

    @classmethod
    def placeholder(cls) -> Credentials:
        """What rendered files carry instead of secrets."""
        return cls(
            "Placeholder.Password-of-no-build.0", "ssh-ed25519 UGxhY2Vob2xkZXJLZXk= placeholder"
        )

    @classmethod
    def generate(cls, public_key: str) -> Credentials:
        """A new random password beside the build's own public key; Windows finds it complex."""
        return cls(_random_password(), public_key.strip())

    def forms(self) -> dict[str, str]:
        """Every form in which these credentials stand in a rendered file."""
        encoded = {f"password as {suffix}": encode(self.password, suffix) for suffix in SUFFIXES}
        return encoded | {"public key": self.public_key}

    @property
    def key_blob(self) -> str:
        """The Base64 part of the public key."""
        match = _KEY.fullmatch(self.public_key)
        return match["blob"] if match else self.public_key


def traces(password: str) -> Iterator[bytes]:
    """Byte strings one of which occurs wherever ``password`` does, in plain text or in Base64.

    Base64 is the same wherever the text begins at the same offset modulo three: for each offset
    the characters that depend on neither neighbour are given.
    """
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        raw = password.encode(encoding)
        yield raw
        for offset in range(3):
            padded = base64.b64encode(b"\0" * offset + raw)
            yield padded[4 if offset else 0 : (offset + len(raw)) // 3 * 4]


def substitute(files: Mapping[str, bytes], credentials: Credentials) -> dict[str, bytes]:
    """The same files with the placeholders replaced by ``credentials``.

    Raises :class:`PipelineError` when the password or the key is not asked for by any file, or when
    a trace of a placeholder is left: the guest would be built with credentials everybody knows.
    """
    placeholder = Credentials.placeholder()
    replaced = {name: _replace(data, placeholder, credentials) for name, data in files.items()}
    for name, data in replaced.items():
        if any(trace in data for trace in _traces(placeholder)):
            raise PipelineError(
                f"{name}: a placeholder for credentials is left after substitution",
                hint="a template writes the password or the key in a form of its own",
            )
    for what, form in credentials.forms().items():
        needed = what in ("password as Password", "public key")
        if needed and not any(form.encode() in data for data in replaced.values()):
            raise PipelineError(
                f"no file among {', '.join(files)} holds a placeholder for the {what}"
            )
    return replaced


def _replace(data: bytes, old: Credentials, new: Credentials) -> bytes:
    values = new.forms()
    for what, form in old.forms().items():
        data = data.replace(form.encode(), values[what].encode())
    return data


def _traces(credentials: Credentials) -> Iterator[bytes]:
    yield from traces(credentials.password)
    yield credentials.key_blob.encode()
