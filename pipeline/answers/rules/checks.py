"""Checks of single values: each says what is wrong with a text, or nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

COMPUTER = "at most 15 letters, digits and hyphens, or * for a random name"
ACCOUNT = "another name of at most 20 letters, digits, - and _"


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a value, and what to write instead."""

    message: str
    fix: str = ""


class Check(Protocol):
    """Judges one value."""

    def __call__(self, value: str) -> Wrong | None:
        """What is wrong with ``value``; None when it is good."""


@dataclass(frozen=True, slots=True)
class Boolean:
    """Yes or no."""

    def __call__(self, value: str) -> Wrong | None:
        """See :class:`Check`."""
        if value.lower() in ("true", "false", "0", "1"):
            return None
        return Wrong(f'"{value}" is neither true nor false', "write true or false")


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number from ``low`` to ``high``."""

    low: int
    high: int

    def __call__(self, value: str) -> Wrong | None:
        """See :class:`Check`."""
        if not re.fullmatch(r"-?[0-9]+", value):
            return Wrong(f'"{value}" is no whole number', f"write {self.low} to {self.high}")
        if not self.low <= int(value) <= self.high:
            return Wrong(
                f"{value} is not from {self.low} to {self.high}", f"write {self.low} to {self.high}"
            )
        return None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words, in their spelling."""

    words: Collection[str]

    def __call__(self, value: str) -> Wrong | None:
        """See :class:`Check`."""
        if value in self.words:
            return None
        near = difflib.get_close_matches(value.lower(), {w.lower(): w for w in self.words}, n=1)
        spelled = {word.lower(): word for word in self.words}
        hint = f"did you mean {spelled[near[0]]}?" if near else f"one of: {', '.join(self.words)}"
        return Wrong(f'"{value}" is not allowed', hint)


@dataclass(frozen=True, slots=True)
class Length:
    """A text of at most ``longest`` characters, and of one at least unless it may be empty."""

    longest: int
    what: str = "text"
    empty: bool = False

    def __call__(self, value: str) -> Wrong | None:
        """See :class:`Check`."""
        if not value and not self.empty:
            return Wrong(f"the {self.what} is empty", "write it, or leave the item out")
        if len(value) > self.longest:
            return Wrong(
                f"the {self.what} has {len(value)} characters, at most {self.longest} are allowed",
                f"shorten it by {len(value) - self.longest}",
            )
        return None


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text that matches from end to end; ``says`` describes such texts."""

    regex: str
    says: str

    def __call__(self, value: str) -> Wrong | None:
        """See :class:`Check`."""
        if re.fullmatch(self.regex, value):
            return None
        return Wrong(f'"{value}" is not {self.says}', f"write {self.says}")


def computer_name(value: str) -> Wrong | None:
    """At most 15 bytes, not digits alone, none of the characters that NetBIOS refuses."""
    if value == "*":
        return None
    if len(value.encode()) > 15:
        found = f'"{value}" has {len(value.encode())} bytes, a computer name at most 15'
        return Wrong(found, COMPUTER)
    if not value or value.isdigit():
        return Wrong(f'"{value}" has no letter: a computer name is not digits alone', COMPUTER)
    if bad := re.search(r"[\s{|}~\[\\\]^':;<=>?@!\"#$%()+/.,*&`]", value):
        return Wrong(f'"{value}" has "{bad[0]}", which a computer name cannot', COMPUTER)
    if value.startswith("-") or value.endswith("-"):
        return Wrong(f'"{value}" begins or ends with a hyphen', COMPUTER)
    return None


def product_key(value: str) -> Wrong | None:
    """Five groups of five; what was found is not repeated, as it may be almost a key."""
    if re.fullmatch(r"[A-Z0-9]{5}(-[A-Z0-9]{5}){4}", value):
        return None
    if not value:
        return Wrong("the product key is empty", "leave Key out; WillShowUI alone may stay")
    return Wrong("this is no product key", "five groups of five capital letters and digits")


def account_name(value: str) -> Wrong | None:
    """At most 20 characters, none that Windows refuses in a local account's name."""
    if not value or value.strip(". ") != value:
        return Wrong(f'"{value}" is empty, or has a dot or space at an end', ACCOUNT)
    if len(value) > 20:
        return Wrong(f'"{value}" has {len(value)} characters, an account name at most 20', ACCOUNT)
    if bad := re.search(r'["/\\\[\]:|<>+=;,?*%@\x00-\x1f]', value):
        return Wrong(f'"{value}" has "{bad[0]}", which an account name cannot', ACCOUNT)
    if value.upper() == "NONE":
        return Wrong('"NONE" is a reserved name', ACCOUNT)
    return None


def language(value: str) -> Wrong | None:
    """A language such as ``en-US``."""
    if re.fullmatch(r"[a-zA-Z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?", value):
        return None
    return Wrong(f'"{value}" is no language', "such as en-US")


def input_locale(value: str) -> Wrong | None:
    """Languages, or pairs of language and keyboard such as ``0409:00000409``, by semicolon."""
    pair = r"[0-9A-Fa-f]{4}:([0-9A-Fa-f]{8}|\{[0-9A-Fa-f-]{36}\}\{[0-9A-Fa-f-]{36}\})"
    for part in value.split(";"):
        if not re.fullmatch(pair, part.strip()) and language(part.strip()):
            return Wrong(f'"{part.strip()}" is no input locale', "such as 0409:00000409 or en-US")
    return None


def time_zone(value: str) -> Wrong | None:
    """A time zone by the name Windows has for it."""
    from pipeline.answers.rules.time_zones import TIME_ZONES

    name = value.removesuffix("_dstoff")
    if name in TIME_ZONES:
        return None
    near = difflib.get_close_matches(name, TIME_ZONES, n=1)
    hint = f"did you mean {near[0]}?" if near else "tzutil /l lists the names"
    return Wrong(f'Windows has no time zone "{value}"', hint)
