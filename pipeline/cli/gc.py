"""``golden gc``: remove versions beyond the policy, and what killed runs left behind."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.definitions.loader import load
from pipeline.definitions.model import Pin
from pipeline.foundation.paths import Workspace, shown
from pipeline.foundation.progress import Progress, reporter
from pipeline.foundation.units import human_bytes
from pipeline.publishing import catalog, gc
from pipeline.publishing.marks import Mark, everywhere, set_marks
from pipeline.publishing.pull import Wanted
from pipeline.publishing.stores.base import writable
from pipeline.publishing.stores.opening import open_store
from pipeline.publishing.stores.push import Publisher, filled_from_here, verified
from pipeline.publishing.trust import Anchors
from pipeline.publishing.waste import Waste, remove
from pipeline.stages.leftovers import leftovers


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden gc``."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument(
        "--pulled", action="store_true", help="also pulled versions that no instance uses"
    )
    for option, text in (("pin", "keep a version whatever the policy says"), ("unpin", "undo it")):
        parser.add_argument(f"--{option}", metavar="IMAGE@VERSION", help=text)


def run(args: argparse.Namespace) -> int:
    """Say what goes and why; then let it go."""
    workspace = Workspace.default()
    definitions = load(workspace)
    publisher = Publisher.of(workspace, definitions.settings)
    for text, pinned in ((args.pin, True), (args.unpin, False)):
        if text:
            wanted = Wanted.parse(text)
            done = "pinned" if pinned else "no longer pinned"
            mark = Mark(wanted.image, wanted.version, done, pinned=pinned)
            set_marks(mark, everywhere(definitions.settings), publisher, reporter("gc"))
    if args.pin or args.unpin:
        return 0
    keep = {name: image.publish.keep for name, image in definitions.images.items()}
    used = gc.used_disks(workspace)
    here = catalog.load(workspace.catalog)
    old = gc.versions(here, keep, used, workspace.published)
    waste = _waste(workspace, used, definitions.pins.values(), pulled=args.pulled)
    _tell(gc.waste_of(old, workspace.published) + waste)
    if not args.dry_run:
        gc.collect_here(workspace, old, publisher.sign)
        remove(waste)
    kept = {entry.key for found in here.images.values() for entry in found if entry.pinned}
    for place in filled_from_here(definitions.settings):
        _store(place, publisher, keep, (used, kept), dry_run=args.dry_run, progress=reporter("gc"))
    return 0


def _waste(
    workspace: Workspace, used: frozenset[Path], pins: Iterable[Pin], *, pulled: bool
) -> list[Waste]:
    """What can go besides the versions beyond the policy, and is not worked with just now."""
    found = [
        *gc.leftovers(workspace.published),
        *gc.unlisted(workspace, used),
        *gc.downloads(workspace),
        *(gc.pulled(workspace, used) if pulled else ()),
    ]
    return [*(one for one in found if one.idle), *leftovers(workspace, pins)]


def _tell(found: Sequence[Waste]) -> None:
    for one in found:
        print(f"{shown(one.path)}  {human_bytes(one.size)}  {one.why}")
    if found:
        print(f"{len(found)} things, {human_bytes(sum(one.size for one in found))} in all")


def _store(
    place: str,
    publisher: Publisher,
    keep: dict[str, int],
    stays: tuple[frozenset[Path], set[str]],
    *,
    dry_run: bool,
    progress: Progress,
) -> None:
    """The same policy for a store. What is pinned on this host ``stays`` there, too, and so does a
    disk in a folder that an instance of this host stands on."""
    (used, pinned), base = stays, publisher.workspace.root
    root = None if "://" in place else base / Path(place).expanduser()
    with open_store(place, base, progress.event) as store:
        trust = publisher.trust(place, Anchors())
        found = verified(store, trust)
        gone = [e for e in gc.versions(found, keep, used, root) if e.key not in pinned]
        for entry in gone:
            print(f"{store.title}: {entry.image} {entry.version}  {human_bytes(entry.size)}")
        waste = gc.leftovers(root) if root else []
        _tell(waste)
        if not dry_run:
            gc.collect_in(writable(store), trust, publisher, gone, progress)
            remove(waste)
