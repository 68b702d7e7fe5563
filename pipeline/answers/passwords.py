"""Passwords as answer files carry them: Base64 over UTF-16LE of the password and a fixed suffix.

This hides nothing; it is the form that Windows Setup wants where ``PlainText`` is ``false``. The
suffix is the name of the element that holds the password.
"""

from __future__ import annotations

import base64
import binascii

SUFFIXES = ("Password", "AdministratorPassword", "OfflineAdministratorPassword")


def encode(password: str, suffix: str) -> str:
    """The ``Value`` for a password below an element called ``suffix``."""
    return base64.b64encode((password + suffix).encode("utf-16-le")).decode()


def decode(value: str, suffix: str) -> str:
    """The password in ``value``; raises :class:`ValueError` saying what is wrong with it."""
    try:
        raw = base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        raise ValueError("is not Base64") from None
    try:
        text = raw.decode("utf-16-le")
    except UnicodeDecodeError:
        raise ValueError("is not Base64 over UTF-16LE") from None
    if not text.endswith(suffix):
        raise ValueError(f'does not end with "{suffix}" once decoded')
    return text.removesuffix(suffix)
