"""One image to build: its definition and everything it refers to, resolved.

Also what a stage is: a name, what it stands on, what goes in, and how it is made.
"""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.definitions.model import Definitions, Image, MediaFacts, Pin, Settings
from pipeline.foundation.errors import PipelineError, WrongUse
from pipeline.foundation.files import sha256_file, sync
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Progress, Silent
from pipeline.stages.receipts import Output, Receipt, load

# Names, in the environment, a file in which a run of the graph leaves the errors that it prints.
SAID = "GOLDEN_SAID"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, slots=True)
class Build:
    """An image with its pins, the settings and the workspace.

    ``now`` is the day that decides what is about to expire; ``rebuild`` says that the image was
    asked for anew although nothing changed.
    """

    image: Image
    pins: Mapping[str, Pin]
    settings: Settings
    workspace: Workspace
    now: datetime.datetime = field(default_factory=_now)
    rebuild: bool = False

    @classmethod
    def of(cls, name: str, definitions: Definitions, workspace: Workspace) -> Build:
        """The build of the image ``name``; raises when there is no such image."""
        if name not in definitions.images:
            known = ", ".join(sorted(definitions.images))
            raise WrongUse(f"there is no image {name!r}", hint=f"images: {known}")
        image, anew = definitions.images[name], name in definitions.rebuild
        return cls(image, definitions.pins, definitions.settings, workspace, rebuild=anew)

    @property
    def medium(self) -> Pin:
        """The pin of the Windows medium."""
        return self.pins[self.image.media]

    @property
    def facts(self) -> MediaFacts:
        """What the Windows medium is known to hold."""
        if self.medium.media is None:
            raise PipelineError(
                f"the pin {self.medium.name} does not say what its medium holds",
                hint=f"run: golden media {self.medium.file or self.medium.urls[0]} --yaml",
            )
        return self.medium.media

    @property
    def used_pins(self) -> tuple[Pin, ...]:
        """The pins that the image names itself: medium, drivers and packages."""
        image = self.image
        packages = (image.winfsp, image.openssh, image.cloudbase_init)
        names = (image.media, image.drivers.pin, *packages)
        return tuple(self.pins[name] for name in names if name)

    def folder(self, stage: str) -> Path:
        """The folder of a stage of this image."""
        return self.workspace.stage(self.image.name, stage)

    def receipt(self, stage: str) -> Receipt | None:
        """The receipt of a stage of this image, if it is done."""
        return load(self.workspace.receipt(self.image.name, stage))


@dataclass(frozen=True, slots=True)
class Made:
    """What a stage reports when it is done; files are those in its work folder."""

    outputs: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage is given to run: the build, an empty folder, and who to tell."""

    build: Build
    folder: Path
    id: str
    progress: Progress = field(default_factory=Silent)

    @property
    def evidence(self) -> Path:
        """Where logs and screenshots go; kept when the stage fails."""
        return self.folder / "evidence"

    def upstream(self, stage: str) -> Path:
        """The finished folder of another stage."""
        return self.build.folder(stage)

    def facts(self, stage: str) -> Mapping[str, Any]:
        """The facts in another stage's receipt."""
        receipt = self.build.receipt(stage)
        if receipt is None:
            name = self.build.image.name
            raise PipelineError(f"{stage}:{name} is not done", hint=f"run: ./doitw {stage}:{name}")
        return receipt.facts


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the graph for one image.

    ``inputs`` is everything that goes in, given the ids of earlier stages; with the ``revision`` of
    the code it makes the stage's id. ``stands_on`` names the stages whose products it uses,
    ``disks`` those whose disks are part of its own (backing files), ``after`` those that must have
    ended well before, ``artifacts`` the pins it reads. A stage with
    ``products`` is pure: the same inputs give the same bytes in these small files, so that what
    stands on it depends on them and not on its receipt. ``elsewhere`` answers, instead of the
    receipt, what speaks against the product for an id (the catalogs); nothing when it is there and
    good. ``worn`` says why a product of the right inputs is not good any more. ``disk_part`` is the
    part of the image's disk that it may write to the host's.
    """

    name: str
    title: str
    inputs: Callable[[Build, Mapping[str, str]], dict[str, Any]]
    revision: int = 1
    stands_on: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    artifacts: Callable[[Build], tuple[str, ...]] = lambda _: ()
    products: tuple[str, ...] = ()
    disk_part: float = 0.0
    elsewhere: Callable[[Build, str], tuple[str, ...]] | None = None
    worn: Callable[[Build, Receipt], tuple[str, ...]] = lambda *_: ()

    def make(self, work: Work) -> Made:
        """Do the work; its code is imported only now."""
        made: Made = importlib.import_module(f"pipeline.stages.{self.name}").make(work)
        return made

    @property
    def pure(self) -> bool:
        """Whether the same inputs make the same bytes."""
        return bool(self.products)

    def files(self, build: Build) -> list[Path]:
        """The small files that stand for the product in the task graph."""
        folder = build.folder(self.name)
        return [folder / name for name in self.products or ("receipt.json",)]


def outputs_of(folder: Path, names: tuple[str, ...]) -> tuple[Output, ...]:
    """The outputs of a stage with size and digest, read from its folder.

    They are on the disk, too, before a receipt says that they are there: QEMU does not sync them.
    """
    for name in names:
        sync(folder / name)
    return tuple(
        Output(name, (folder / name).stat().st_size, sha256_file(folder / name)) for name in names
    )
