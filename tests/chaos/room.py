"""A room: a checkout of its own, brought to the stage that a fault concerns, and looked over after.

What it shares with the project is read only: the packages that the rehearsal is made from. The
medium, the drivers and the installers are copies, as faults write into them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.definitions.loader import load
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.waiting import Timeout, wait_until
from pipeline.rehearsal.medium import make
from pipeline.rehearsal.packages import Packages, provide
from tests.chaos import leftovers
from tests.chaos.case import IMAGE, TPM_IMAGE
from tests.chaos.running import Running
from tests.integration.checkout import Checkout

ORDER = ("media", "render", "cidata", "install", "provision", "check", "seal", "prove", "publish")
HELD = Path(__file__).with_name("held.py")
GONE_WITHIN = 10.0


@dataclass
class Room:
    """The place of one fault after the other; ``image`` and ``patience`` are the present one's."""

    checkout: Checkout
    runtime: Path
    packages: Packages
    image: str = IMAGE
    patience: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Workspace:
        """Everything in the room's own checkout, or where ``GOLDEN_OUTPUT`` has been moved to."""
        root = self.checkout.root
        output = Path(self.environment.get("GOLDEN_OUTPUT", root / "output"))
        return Workspace(root, output, root / "output/cache")

    @property
    def scratch(self) -> Path:
        """What faults need besides; no program of the pipeline sees it."""
        return self.checkout.root.parent / "scratch"

    @property
    def temporary(self) -> Path:
        """TMPDIR of every run."""
        return self.checkout.root.parent / "tmp"

    @property
    def marks(self) -> list[str]:
        """What anything that belongs to the room has in its path."""
        return [str(self.checkout.root.parent), str(self.runtime)]

    def part(self, name: str) -> Path:
        """The room's copy of a made artifact: ``windows``, ``drivers``, ``winfsp``, ``openssh``."""
        from pipeline.rehearsal.recipes import place

        pins = load(self.checkout.workspace).pins.values()
        pin = next(pin for pin in pins if pin.made == name)
        return place(name, pin.version, self.workspace)

    def folder(self, stage: str) -> Path:
        """The finished folder of a stage."""
        return self.workspace.stage(self.image, stage)

    def work(self, stage: str) -> Path:
        """The folder of a stage that is under way."""
        return self.workspace.build(self.image) / f".{stage}.work"

    # Running

    def variables(self, **extra: str) -> dict[str, str]:
        """The environment of a run: nothing of the user's settings, a place of its own."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GOLDEN_")}
        ours = {
            "PYTHONPATH": str(self.checkout.root),
            "GOLDEN_OUTPUT": str(self.workspace.output),
            "GOLDEN_CACHE": str(self.workspace.cache),
            "GOLDEN_PATIENCE": self.patience,
            "XDG_RUNTIME_DIR": str(self.runtime),
            "TMPDIR": str(self.temporary),
        }
        return kept | ours | self.environment | extra

    def start(self, stage: str, *, hold: str = "", terminal: bool = False, **extra: str) -> Running:
        """Start the task graph for a stage; with ``hold`` it does not get beyond that."""
        argv = self.checkout.command(f"{stage}:{self.image}")
        if hold or "CHAOS_CLOCK" in extra:
            argv = [sys.executable, str(HELD), *argv[3:]]
            extra["CHAOS_HOLD"] = hold
        sign = self.work(stage) / "evidence/com1.log"
        return Running(argv, self.variables(**extra), sign, terminal=terminal)

    def finish(self, stage: str) -> str:
        """Run a stage to its good end; empty, or why there was none."""
        run = self.start(stage)
        code = run.end()
        return "" if code == 0 else f"the next run fails: {run.sentence() or code}"

    def prepare(self, stage: str) -> None:
        """Everything before the stage is done, it and what follows is not."""
        before, rest = ORDER[: ORDER.index(stage)], ORDER[ORDER.index(stage) :]
        for name in rest:
            shutil.rmtree(self.folder(name), ignore_errors=True)
        shutil.rmtree(self.workspace.published, ignore_errors=True)
        if any(not (self.folder(name) / "receipt.json").exists() for name in before):
            assert (why := self.finish(before[-1])) == "", why

    # Looking over

    def left(self) -> list[str]:
        """Processes, sockets, locks, devices and temporary files; those that go get time to."""
        folders = [self.runtime, self.workspace.output / "build", self.temporary]
        with contextlib.suppress(Timeout):
            wait_until("all is gone", lambda: not leftovers.processes(self.marks), GONE_WITHIN)
        found = leftovers.processes(self.marks)
        found += leftovers.sockets(self.marks, folders)
        found += leftovers.locks([self.runtime, self.workspace.locks])
        found += leftovers.devices(self.marks)
        found += [f"temporary {path.name}" for path in sorted(self.temporary.iterdir())]
        return found + [f"runtime folder {path.name}" for path in self.runtime.glob("golden-*/m*")]

    def tree(self) -> Mapping[str, tuple[int, int]]:
        """The products."""
        return leftovers.tree(self.workspace.output)


def _copy_parts(room: Room, shared: Workspace) -> None:
    """Give the room copies of what is made, and the packages as they are."""
    pins = load(shared).pins.values()
    for pin in (pin for pin in pins if pin.made):
        made = make(str(pin.made), pin.version, shared, Silent())
        target = room.part(str(pin.made)).parent
        assert made.parent.name == target.name, "the checkout changed while it was copied"
        shutil.copytree(made.parent, target)
    for folder in shared.rehearsal.glob("packages-*"):
        (room.workspace.rehearsal / folder.name).symlink_to(folder)


@contextlib.contextmanager
def room(folder: Path) -> Iterator[Room]:
    """A room in ``folder``; afterwards nothing of it is anywhere."""
    folder.mkdir(parents=True)
    shared = Workspace.default()
    packages = provide(shared, Silent())
    runtime = Path(tempfile.mkdtemp(prefix="gr", dir="/tmp"))  # paths of sockets must be short
    made = Room(Checkout.make(folder), runtime, packages)
    made.scratch.mkdir()
    made.temporary.mkdir()
    text = (made.workspace.images / f"{IMAGE}.yaml").read_text()
    with_tpm = text.replace("  disk: 4G\n", "  disk: 4G\n  tpm: true\n")
    (made.workspace.images / f"{TPM_IMAGE}.yaml").write_text(with_tpm)
    _copy_parts(made, shared)
    try:
        yield made
    finally:
        shutil.rmtree(runtime, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
