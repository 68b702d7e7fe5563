"""PowerShell through cmd.exe: how a script is passed, and what its stderr means.

Goes in: script text, or the bytes that came out. Comes out: a command line within cmd.exe's limits,
and stderr without the XML that PowerShell wraps it in.
"""

from __future__ import annotations

import base64
import html
import re

CALL = "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass"
# cmd.exe takes 8191 characters; UTF-16 in base64 makes 2.7 of each, and the call itself needs some.
LONGEST_ENCODED = 2900
QUIET = "$ProgressPreference='SilentlyContinue';"

_MARK = "#< CLIXML"
_DOCUMENT = re.compile(r"#< CLIXML\s*(<Objs.*?</Objs>)?", re.DOTALL)
_ERROR = re.compile(r'<S S="(?:Error|Warning)">(.*?)</S>', re.DOTALL)
_CHARACTER = re.compile(r"_x([0-9A-Fa-f]{4})_")


def encoded_command(script: str) -> str | None:
    """The command line for a short script; ``None`` when it has to be uploaded as a file."""
    text = QUIET + script
    if len(text) >= LONGEST_ENCODED:
        return None
    return f"{CALL} -EncodedCommand {base64.b64encode(text.encode('utf-16-le')).decode()}"


def file_command(path: str, *arguments: str) -> str:
    """The command line that runs the script at the Windows path ``path``."""
    return " ".join((f"{CALL} -File", *(quoted(word) for word in (path, *arguments))))


def quoted(word: str) -> str:
    """``word`` for cmd.exe: in quotes where it needs them; a quote can't be passed on."""
    if '"' in word:
        raise ValueError(f"a double quote can't be passed through cmd.exe: {word}")
    return f'"{word}"' if not word or re.search(r"[\s&|<>^(),;=%!]", word) else word


def windows_path(path: str) -> str:
    r"""``/C:/ProgramData/golden`` as Windows writes it, ``C:\ProgramData\golden``."""
    return path.lstrip("/").replace("/", "\\")


def without_clixml(text: str) -> str:
    """Stderr as a person would see it: the error texts kept, progress and wrapping removed."""
    if _MARK not in text:
        return text

    def plain(match: re.Match[str]) -> str:
        found = _ERROR.findall(match[1] or "")
        return "".join(
            _CHARACTER.sub(lambda m: chr(int(m[1], 16)), html.unescape(e)) for e in found
        )

    return _DOCUMENT.sub(plain, text).replace("\r\n", "\n").strip()
