"""``report.html``: one version of an image on one page that needs nothing else.

In: the manifest, the manifests of earlier versions, check results, what changed, and the film
strip. Out: HTML without scripts and without a request to anywhere, which its content security
policy enforces.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.foundation.units import human_bytes, human_seconds
from pipeline.publishing.film import Frame

NAME = "report.html"
TEMPLATE = "report.html.j2"
LAST_BUILDS = 10
STAGES = ("install", "provision", "check", "seal", "prove")
"""Those that take time, in the order of the graph."""
Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Checks of one kind; ``results`` as ``checks.json`` holds them."""

    stage: str
    name: str
    results: Sequence[Mapping[str, Any]]

    @property
    def failed(self) -> int:
        """How many did not hold."""
        return sum(not result["ok"] for result in self.results)


@dataclass(frozen=True, slots=True)
class Bar:
    """The time of one stage beside its usual one; parts of the longest, in percent."""

    stage: str
    time: str
    usual: str
    length: float
    mark: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that the page tells."""

    manifest: Manifest
    earlier: Sequence[Manifest]
    """Of the same image, oldest first."""
    checks: Mapping[str, Sequence[Mapping[str, Any]]]
    """The results of each stage that checks."""
    changes: Sequence[str]
    """What differs from the last of ``earlier``, a line each."""
    frames: Sequence[Frame] = ()

    def groups(self) -> list[Group]:
        """The checks by stage and group, in the order they ran."""
        names = {(s, result["group"]): None for s, found in self.checks.items() for result in found}
        return [
            Group(stage, name, [r for r in self.checks[stage] if r["group"] == name])
            for stage, name in names
        ]

    def bars(self) -> list[Bar]:
        """Each stage's time against the median of the last builds."""
        took: Mapping[str, float] = self.manifest["timings"]
        times = {stage: took[stage] for stage in STAGES if stage in took}
        usual = {stage: self._usual(stage) for stage in times}
        longest = max([*times.values(), *(u for u in usual.values() if u), 0.001])
        return [_bar(stage, seconds, usual[stage], longest) for stage, seconds in times.items()]

    def _usual(self, stage: str) -> float | None:
        last = [m["timings"][stage] for m in self.earlier if stage in m["timings"]][-LAST_BUILDS:]
        return statistics.median(last) if last else None


def _bar(stage: str, seconds: float, usual: float | None, longest: float) -> Bar:
    return Bar(
        stage=stage,
        time=human_seconds(seconds),
        usual=human_seconds(usual) if usual else "none yet",
        length=round(100 * seconds / longest, 2),
        mark=round(100 * usual / longest, 2) if usual else None,
        verdict=_verdict(seconds, usual),
    )


def _verdict(seconds: float, usual: float | None) -> str:
    """In words, as colour and length alone tell nothing to those who can't see them."""
    if not usual:
        return "first build"
    percent = round(100 * (seconds - usual) / usual)
    if abs(percent) < 10:
        return "as usual"
    return f"{abs(percent)} % {'slower' if percent > 0 else 'quicker'}"


def render(story: Story, templates: Path) -> bytes:
    """The page; ``templates`` is the folder that holds ``report/``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(templates / "report"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"bytes": human_bytes, "seconds": human_seconds}
    values = {
        "m": story.manifest,
        "previous": story.earlier[-1] if story.earlier else None,
        "groups": story.groups(),
        "bars": story.bars(),
        "builds": min(len(story.earlier), LAST_BUILDS),
        "changes": story.changes,
        "frames": story.frames,
    }
    return environment.get_template(TEMPLATE).render(values).encode()
