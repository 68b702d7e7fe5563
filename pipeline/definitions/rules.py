"""Rules for single values, attached to the model's field types.

A rule is written once and read twice: the loader asks it whether a value is good, the schema asks
it for the JSON Schema keywords that say the same to an editor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable


@runtime_checkable
class Rule(Protocol):
    """What a value must be besides its type."""

    @property
    def says(self) -> str:
        """What is expected, to follow the word "expected"."""

    def allows(self, value: Any) -> bool:
        """Whether ``value`` is good."""

    def keywords(self) -> dict[str, Any]:
        """The same as JSON Schema keywords."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text that matches ``regex`` from end to end (in the dialect Python and ECMA share)."""

    regex: str
    says: str

    def allows(self, value: Any) -> bool:
        """Whether the whole text matches."""
        return re.fullmatch(self.regex, value) is not None

    def keywords(self) -> dict[str, Any]:
        """The pattern, anchored as JSON Schema wants it."""
        return {"pattern": f"^(?:{self.regex})$"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    values: tuple[str, ...]

    @property
    def says(self) -> str:
        """The words, listed."""
        return "one of " + ", ".join(f'"{value}"' for value in self.values)

    def allows(self, value: Any) -> bool:
        """Whether it is one of the words."""
        return value in self.values

    def keywords(self) -> dict[str, Any]:
        """The words as an enum."""
        return {"enum": list(self.values)}


@dataclass(frozen=True, slots=True)
class Range:
    """A whole number between two limits, both allowed."""

    low: int
    high: int

    @property
    def says(self) -> str:
        """Both limits."""
        return f"a whole number from {self.low} to {self.high}"

    def allows(self, value: Any) -> bool:
        """Whether it lies between the limits."""
        return bool(self.low <= value <= self.high)

    def keywords(self) -> dict[str, Any]:
        """Both limits as keywords."""
        return {"minimum": self.low, "maximum": self.high}


IMAGE_NAME = Pattern(
    r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?",
    'a name such as "windows-11": at most 40 lower-case letters, digits and inner hyphens',
)
PIN_NAME = Pattern(
    r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?",
    'a name such as "virtio-win": at most 64 lower-case letters, digits, inner dots and hyphens',
)

ImageName = Annotated[str, IMAGE_NAME]
PinName = Annotated[str, PIN_NAME]
StepId = Annotated[
    str, Pattern(r"[a-z0-9-]{1,60}", "an id of lower-case letters, digits and hyphens")
]
Line = Annotated[str, Pattern(r"[^\r\n\t]*[^\s][^\r\n\t]*", "one line of text")]
HttpsUrl = Annotated[
    str,
    Pattern(
        r"https://[A-Za-z0-9.-]+(?::[0-9]+)?/[^\s]*",
        'an address that begins with "https://", with a host and a path',
    ),
]
Architecture = Annotated[str, Choice(("amd64",))]
Made = Annotated[str, Choice(("windows", "drivers", "winfsp", "openssh"))]
Language = Annotated[
    str, Pattern(r"[a-z]{2,3}(?:-[A-Z][a-z]{3})?-[A-Z]{2}", 'a language such as "en-US"')
]
Keyboard = Annotated[
    str,
    Pattern(
        r"[0-9A-Fa-f]{4}:(?:[0-9A-Fa-f]{8}|\{[0-9A-Fa-f-]{36}\}\{[0-9A-Fa-f-]{36}\})",
        'an input locale such as "0409:00000409" (language:keyboard, hexadecimal)',
    ),
]
TimeZone = Annotated[
    str,
    Pattern(
        r"[A-Za-z0-9][A-Za-z0-9 .()+-]*",
        'a Windows time zone such as "W. Europe Standard Time" (tzutil /l lists them)',
    ),
]
HostName = Annotated[
    str,
    Pattern(
        r"(?![0-9]+$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,13}[A-Za-z0-9])?",
        "a host name: at most 15 letters, digits and inner hyphens, not digits alone",
    ),
]
UserName = Annotated[
    str,
    Pattern(
        r"""(?![. ])[^"/\\\[\]:;|=,+*?<>@%\x00-\x1f]{1,20}(?<![. ])""",
        "a Windows user name: at most 20 characters, none of"
        r""" " / \ [ ] : ; | = , + * ? < > @ %, no dot or space at either end""",
    ),
]
DriverName = Annotated[
    str,
    Choice(
        (
            "Balloon",
            "NetKVM",
            "pvpanic",
            "qemufwcfg",
            "qxldod",
            "viofs",
            "viogpudo",
            "vioinput",
            "viomem",
            "viorng",
            "vioscsi",
            "vioserial",
            "viostor",
        )
    ),
]
Present = Annotated[str, Choice(("present", "absent"))]
WindowsPath = Annotated[
    str,
    Pattern(
        r"""C:(?:\\(?!\.{1,2}(?:\\|$))[^<>:"/\\|?*\x00-\x1f]+)+""",
        r'a path on the system disk such as "C:\ProgramData\example.txt"',
    ),
]
RegistryKey = Annotated[
    str, Pattern(r"HKLM:\\[^/\s](?:[^/\r\n]*[^\\/\s])?", r'a key such as "HKLM:\SOFTWARE\Example"')
]
RegistryType = Annotated[str, Choice(("String", "ExpandString", "DWord", "QWord", "MultiString"))]
KbNumber = Annotated[str, Pattern(r"KB[0-9]{6,8}", 'an update such as "KB5066835"')]
ServiceName = Annotated[
    str, Pattern(r"[^/\\\s](?:[^/\\\r\n]{0,254}[^/\\\s])?", "the short name of a service")
]
ServiceStart = Annotated[str, Choice(("auto", "demand", "disabled"))]
ServiceState = Annotated[str, Choice(("running", "stopped", "any"))]
StepKind = Annotated[
    str, Choice(("msi", "file", "registry", "script", "update", "reboot", "service"))
]
RebootWhen = Annotated[str, Choice(("pending", "always"))]
Count = Annotated[int, Range(1, 1000)]
Cpus = Annotated[int, Range(1, 128)]
Days = Annotated[int, Range(0, 3650)]
Bytes = Annotated[int, Range(1, 1 << 44)]
