"""The layers import downwards only, and each third-party library has one home."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.foundation.paths import ROOT

LAYERS = [
    "foundation",
    "definitions",
    "inputs",
    "answers",
    "machine",
    "guest",
    "rehearsal",
    "publishing",
    "instances",
    "stages",
    "cli",
]
# A library: the only modules that may import it, as paths below pipeline/ (a folder ends with /).
HOMES = {
    "subprocess": ["foundation/process.py"],
    "doit": ["stages/tasks.py"],
    "requests": ["inputs/http.py"],
    "urllib3": ["inputs/http.py", "inputs/fetch_guard.py"],
    "yaml": ["definitions/"],
    "pycdlib": ["inputs/iso.py", "inputs/iso_streams.py", "answers/disc.py"],
    "qemu": ["machine/"],
    "asyncssh": ["guest/"],
    "jinja2": ["answers/", "publishing/"],
    "oras": ["publishing/stores/oci.py"],
    "cyclonedx": ["publishing/bom.py"],
    "ruamel": ["definitions/"],
    "PIL": ["publishing/film.py"],
    "zstandard": ["publishing/archive.py"],
    "rich": ["foundation/progress.py"],
}
MODULES = sorted((ROOT / "pipeline").rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def below(path: Path) -> str:
    return path.relative_to(ROOT / "pipeline").as_posix()


def in_guest(path: Path) -> bool:
    return below(path).startswith("rehearsal/guest/")


@pytest.mark.parametrize("path", [p for p in MODULES if not in_guest(p)], ids=below)
def test_imports_point_downwards(path: Path) -> None:
    parts = below(path).split("/")
    if len(parts) == 1:
        return
    own = LAYERS.index(parts[0])
    for name in imports(path):
        words = name.split(".")
        if words[0] == "pipeline" and len(words) > 1:
            assert LAYERS.index(words[1]) <= own, f"{below(path)} imports {name}, a layer above it"


@pytest.mark.parametrize("path", MODULES, ids=below)
def test_each_library_has_one_home(path: Path) -> None:
    for name in imports(path):
        library = name.split(".")[0]
        homes = HOMES.get(library)
        if homes is None or in_guest(path):
            continue
        where = below(path)
        assert any(
            where == home or (home.endswith("/") and where.startswith(home)) for home in homes
        ), f"{where} imports {library}, whose home is {homes}"


def test_the_stand_in_is_an_independent_reading() -> None:
    """The rehearsal's guest shares no code with the pipeline: it could not find its mistakes."""
    for path in filter(in_guest, MODULES):
        assert not [name for name in imports(path) if name.split(".")[0] == "pipeline"], path


def test_a_pull_of_what_is_there_loads_little() -> None:
    """Most of the time of a pull that finds its version here is what it imports."""
    from pipeline.foundation.process import run

    heavy = ("asyncio", "asyncssh", "jinja2", "jsonschema", "lxml", "oras", "PIL", "rich", "yaml")
    code = (
        "import sys, pipeline.cli.pull, pipeline.publishing.stores.web; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    import sys

    assert run([sys.executable, "-c", code], deadline=30, cwd=ROOT).output.strip() == "[]"


def test_the_task_graph_starts_without_heavy_imports() -> None:
    """``doit list`` must not load SSH, ISO or HTTP libraries."""
    from pipeline.foundation.process import run

    code = (
        "import sys, pipeline.stages.graph, pipeline.definitions.loader; "
        "print([m for m in ('asyncssh', 'pycdlib', 'requests', 'rich', 'qemu') "
        "if m in sys.modules])"
    )
    import sys

    assert run([sys.executable, "-c", code], deadline=30, cwd=ROOT).output.strip() == "[]"
