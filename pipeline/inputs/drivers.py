"""Drivers from the virtio-win disc: just the files that a Windows release needs.

Goes in: the disc, a release, an architecture and driver names. Comes out: each driver with its
version and the bytes of its files: the ``.inf``, its catalog, and what the ``.inf`` copies. The
disc keeps them at ``DRIVER/RELEASE/ARCHITECTURE/``.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.foundation.errors import PipelineError
from pipeline.inputs.iso import Iso, Source, open_iso

BESIDE = {"viofs": ("virtiofs.exe",)}  # programs that lie beside a driver without being part of it
LARGEST_INF = 1 << 20
_DATE_AND_VERSION = re.compile(r"\d{1,2}[/-]\d{1,2}[/-]\d{4}\s*,\s*([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Driver:
    """One driver; ``files`` maps names to contents and holds the ``.inf`` too.

    ``name`` is the folder on the disc, or for a second ``.inf`` of the same package its stem.
    """

    name: str
    inf: str
    version: str
    files: dict[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Inf:
    """What counts of an ``.inf``: driver version, catalog, and the files to be copied."""

    version: str
    catalog: str
    files: tuple[str, ...]


def read_drivers(
    source: Source, release: str, architecture: str, names: Iterable[str]
) -> tuple[Driver, ...]:
    """Read the drivers ``names`` for a release (``2k25``) and an architecture (``amd64``).

    A driver or a release that the disc lacks is a :class:`PipelineError` that lists those it has.
    """
    with open_iso(source) as iso:
        layout = _layout(iso)
        return tuple(
            driver
            for name in dict.fromkeys(names)
            for driver in _package(iso, _folder(iso, layout, name, release, architecture))
        )


_Layout = dict[str, dict[tuple[str, str], list[str]]]


def _layout(iso: Iso) -> _Layout:
    """Driver to (release, architecture), both folded, to the paths below."""
    layout: _Layout = defaultdict(lambda: defaultdict(list))
    for path in iso.files():
        parts = path.split("/")
        if len(parts) == 4:
            layout[parts[0]][parts[1].casefold(), parts[2].casefold()].append(path)
    packages = {driver: _with_inf(folders) for driver, folders in layout.items()}
    return {driver: folders for driver, folders in packages.items() if folders}


def _with_inf(folders: dict[tuple[str, str], list[str]]) -> dict[tuple[str, str], list[str]]:
    return {
        key: paths
        for key, paths in folders.items()
        if any(path.casefold().endswith(".inf") for path in paths)
    }


def _folder(iso: Iso, layout: _Layout, name: str, release: str, architecture: str) -> list[str]:
    folded = {driver.casefold(): driver for driver in layout}
    driver = folded.get(name.casefold())
    if not driver:
        near = difflib.get_close_matches(name.casefold(), folded, n=1)
        raise PipelineError(
            f"{iso.name}: no driver {name!r} on the disc;"
            f" it has: {', '.join(sorted(layout, key=str.casefold)) or 'none'}",
            hint=f"did you mean {folded[near[0]]!r}?" if near else "is it a virtio-win disc?",
        )
    wanted = (release.casefold(), architecture.casefold())
    if wanted not in layout[driver]:
        have = ", ".join(sorted("/".join(key) for key in layout[driver]))
        raise PipelineError(
            f"{iso.name}: no driver {driver} for {'/'.join(wanted)} on the disc; it has: {have}",
            hint="pin a newer virtio-win, or leave this driver out",
        )
    return layout[driver][wanted]


def _package(iso: Iso, paths: list[str]) -> Iterator[Driver]:
    """The folder's driver, then every other ``.inf`` that the same catalog signs."""
    driver, _, architecture, _ = paths[0].split("/")
    here = {path.rpartition("/")[2].casefold(): path for path in paths}
    infs = {name: _inf(iso, path, architecture) for name, path in here.items() if _is_inf(name)}
    main = _main_inf(iso, driver, list(infs))
    same = [name for name in sorted(infs) if infs[name].catalog == infs[main].catalog]
    for name in (main, *(name for name in same if name != main)):
        shown = here[name].rpartition("/")[2]
        extra = BESIDE.get(driver.casefold(), ()) if name == main else ()
        yield Driver(
            name=driver if name == main else shown.rpartition(".")[0],
            inf=shown,
            version=infs[name].version,
            files=_files(iso, here, here[name], (*infs[name].files, *extra)),
        )


def _is_inf(name: str) -> bool:
    return name.endswith(".inf")


def _main_inf(iso: Iso, driver: str, names: Sequence[str]) -> str:
    """The ``.inf`` that the folder is named after (``vioserial`` holds ``vioser.inf``)."""
    folder = driver.casefold()
    fitting = [name for name in names if folder.startswith(name.removesuffix(".inf"))]
    candidates = fitting or list(names)
    if len(candidates) != 1:
        raise PipelineError(
            f"{iso.name}: driver {driver} has several .inf files and none is named after it:"
            f" {', '.join(sorted(names))}"
        )
    return candidates[0]


def _files(iso: Iso, here: dict[str, str], inf: str, names: Iterable[str]) -> dict[str, bytes]:
    paths = [inf]
    for name in names:
        if name.casefold() not in here:
            raise PipelineError(
                f"{iso.name}: {inf} needs {name}, which is not beside it",
                hint="the disc is incomplete; download it again",
            )
        paths.append(here[name.casefold()])
    return {path.rpartition("/")[2]: iso.read(path) for path in sorted(set(paths))}


def _inf(iso: Iso, path: str, architecture: str) -> Inf:
    if iso.size(path) > LARGEST_INF:
        raise PipelineError(f"{iso.name}: {path} is too large for an .inf")
    return parse_inf(iso.read(path), architecture, f"{iso.name}: {path}")


def decode_inf(data: bytes) -> str:
    """The text of an ``.inf``: UTF-16 or UTF-8 by its mark, UTF-16 by its zeros, else ANSI."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if data.startswith(b"\xef\xbb\xbf"):
        return data.decode("utf-8-sig", "replace")
    if b"\0" in data[:64]:
        return data.decode("utf-16-le", "replace")
    return data.decode("cp1252", "replace")


def parse_inf(data: bytes, architecture: str, name: str) -> Inf:
    """Read what counts of an ``.inf`` for one architecture; ``name`` is what errors call it."""
    sections = _sections(decode_inf(data))
    version = dict(sections.get("version", ()))
    strings = dict(sections.get("strings", ()))
    match = _DATE_AND_VERSION.match(_expanded(version.get("driverver", ""), strings))
    if not match:
        raise PipelineError(f"{name}: [Version] has no DriverVer with a date and a version")
    kinds = (f"catalogfile.nt{architecture.casefold()}", "catalogfile.nt", "catalogfile")
    catalog = next((version[kind] for kind in kinds if version.get(kind)), "")
    if not catalog:
        raise PipelineError(f"{name}: names no CatalogFile; Windows refuses unsigned drivers")
    copied = (file.casefold() for file in _copied(sections, architecture.casefold()))
    return Inf(match[1], catalog.casefold(), tuple(sorted({catalog.casefold(), *copied})))


_Sections = dict[str, list[tuple[str, str]]]


def _sections(text: str) -> _Sections:
    """Section to entries, as (folded key, value); a line without ``=`` is a key with no value."""
    sections: _Sections = defaultdict(list)
    current = ""
    for line in _lines(text):
        if line.startswith("[") and "]" in line:
            current = line[1 : line.index("]")].strip().casefold()
        elif line:
            key, _, value = line.partition("=")
            sections[current].append((_bare(key).casefold(), _bare(value)))
    return sections


def _lines(text: str) -> Iterator[str]:
    """Lines without comments and spaces; a backslash at the end joins the next line."""
    pending = ""
    for raw in text.splitlines():
        line = pending + re.sub(r'("[^"]*")|;.*', lambda found: found[1] or "", raw).strip()
        pending = line[:-1] if line.endswith("\\") else ""
        if not pending:
            yield line
    yield pending


def _bare(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _expanded(text: str, strings: dict[str, str]) -> str:
    return re.sub(r"%([^%]+)%", lambda found: strings.get(found[1].casefold(), found[0]), text)


def _copied(sections: _Sections, architecture: str) -> Iterator[str]:
    """The names of the files to copy, as they are called on the disc."""
    for section in ("sourcedisksfiles", f"sourcedisksfiles.{architecture}"):
        yield from (key for key, _ in sections.get(section, ()))
    for entries in list(sections.values()):
        for key, value in entries:
            if key == "copyfiles":
                yield from _copy_list(sections, value)


def _copy_list(sections: _Sections, value: str) -> Iterator[str]:
    """One ``CopyFiles=``: ``@file``, or sections whose lines are ``destination[,source]``."""
    for item in (part.strip() for part in value.split(",")):
        if item.startswith("@"):
            yield item[1:].strip()
            continue
        for key, _ in sections.get(item.casefold(), ()):
            destination, _, rest = key.partition(",")
            yield _bare(rest.split(",")[0]) or _bare(destination)
