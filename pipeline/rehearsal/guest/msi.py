"""Windows Installer packages, read without Windows: properties and the files inside.

Goes in: an .msi. Comes out: its Property table, its files by target path, their bytes. The package
is an OLE compound file; each table is a stream of columns that point into a pool of strings; the
files lie in a cabinet (``cab``), itself one of the streams.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from . import cab
from .cab import BadCabinet
from .compound import NotCompound, streams

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._"
ROOTS = {
    "ProgramFiles64Folder": "Program Files",
    "ProgramFilesFolder": "Program Files (x86)",
    "CommonAppDataFolder": "ProgramData",
    "WindowsFolder": "Windows",
    "System64Folder": "Windows/System32",
    "SystemFolder": "Windows/System32",
}

# What reading a damaged package can end in.
DAMAGE = (NotCompound, BadCabinet, LookupError, ValueError, RecursionError, struct.error)

Row = dict[str, str | int]


class BadPackage(Exception):
    """Windows Installer could not open this package (its error 1620)."""


def stream_name(name: str) -> str:
    """A stream's name: two characters of a table's name are packed into each of the stream's."""
    found = []
    for character in name:
        number = ord(character)
        if 0x3800 <= number < 0x4800:
            number -= 0x3800
            found += [ALPHABET[number & 0x3F], ALPHABET[number >> 6 & 0x3F]]
        elif 0x4800 <= number < 0x4840:
            found.append(ALPHABET[number - 0x4800])
        else:
            found.append("!" if number == 0x4840 else character)
    return "".join(found)


def _strings(pool: bytes, data: bytes) -> tuple[list[str], bool]:
    """The pool of strings, and whether references to it take three bytes."""
    codepage, wide = struct.unpack_from("<HH", pool)
    encoding = "utf-8" if codepage == 65001 else "cp1252"
    strings, position, index = [""], 0, 4
    while index < len(pool):
        length, references = struct.unpack_from("<HH", pool, index)
        index += 4
        if not length and references:  # a long string: the next entry holds its length
            low, high = struct.unpack_from("<HH", pool, index)
            length, index = low | high << 16, index + 4
            length = references << 16 | low if high else length
        strings.append(data[position : position + length].decode(encoding, "replace"))
        position += length
    return strings, bool(wide & 0x8000)


@dataclass(slots=True)
class _Column:
    name: str
    text: bool
    size: int


class Package:
    """One opened package."""

    def __init__(self, data: bytes) -> None:
        try:
            self._streams = {stream_name(name): body for name, body in streams(data).items()}
            pool, text = self._streams["!_StringPool"], self._streams["!_StringData"]
            self._pool, self._long = _strings(pool, text)
            self._columns = self._all_columns()
        except DAMAGE as error:
            raise BadPackage(f"this is not a Windows Installer package: {error}") from None

    def _rows(self, table: str, columns: list[_Column]) -> Iterator[Row]:
        data = self._streams.get(f"!{table}", b"")
        width = sum(column.size for column in columns)
        count = len(data) // width if width else 0
        for row in range(count):
            found: Row = {}
            offset = 0
            for column in columns:  # a table is kept column by column
                start = offset * count + row * column.size
                number = int.from_bytes(data[start : start + column.size], "little")
                sign = 0x8000 if column.size == 2 else 0x80000000
                found[column.name] = self._pool[number] if column.text else number - sign
                offset += column.size
            yield found

    def _all_columns(self) -> dict[str, list[_Column]]:
        reference = 3 if self._long else 2
        shape = [
            _Column("Table", True, reference),
            _Column("Number", False, 2),
            _Column("Name", True, reference),
            _Column("Type", False, 2),
        ]
        found: dict[str, list[_Column]] = {}
        rows = sorted(
            self._rows("_Columns", shape), key=lambda r: (str(r["Table"]), int(r["Number"]))
        )
        for row in rows:
            kind = int(row["Type"]) & 0xFFFF
            text = bool(kind & 0x0800)
            size = reference if text else (2 if kind & 0xFF <= 2 else 4)
            column = _Column(str(row["Name"]), text, size)
            found.setdefault(str(row["Table"]), []).append(column)
        return found

    def table(self, name: str) -> list[Row]:
        """The rows of a table; none when there is no such table."""
        return list(self._rows(name, self._columns.get(name, [])))

    @property
    def properties(self) -> dict[str, str]:
        """The Property table: ``ProductCode``, ``ProductVersion``, ``ProductName``, …"""
        return {str(row["Property"]): str(row["Value"]) for row in self.table("Property")}

    @property
    def features(self) -> list[str]:
        """The names of the features."""
        return [str(row["Feature"]) for row in self.table("Feature")]

    def _folders(self) -> dict[str, str]:
        rows = {str(row["Directory"]): row for row in self.table("Directory")}

        def path(name: str) -> str:
            if name in ROOTS or name not in rows or name == "TARGETDIR":
                return ROOTS.get(name, "")
            own = str(rows[name]["DefaultDir"]).split(":")[0].split("|")[-1]
            above = path(str(rows[name]["Directory_Parent"]))
            return above if own == "." else f"{above}/{own}".strip("/")

        return {name: path(name) for name in rows}

    def files(self) -> dict[str, bytes]:
        """The files by target path below C:, with ``/`` between its parts."""
        try:
            return self._files()
        except DAMAGE as error:
            raise BadPackage(f"the package is damaged: {error}") from None

    def _files(self) -> dict[str, bytes]:
        folders = self._folders()
        places = {
            str(r["Component"]): folders[str(r["Directory_"])] for r in self.table("Component")
        }
        content: dict[str, bytes] = {}
        for row in self.table("Media"):
            content |= cab.extract(self._streams[str(row["Cabinet"]).removeprefix("#")])
        found = {}
        for row in self.table("File"):
            name = str(row["FileName"]).split("|")[-1]
            found[f"{places[str(row['Component_'])]}/{name}"] = content[str(row["File"])]
        return found
