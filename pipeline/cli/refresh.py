"""``golden refresh``: what the pins' upstreams offer now, and pins brought up to date.

In: the pins with their upstreams. Out: for each what is new and why, with ``--write`` new values in
``checksums/*.yaml``: a diff to look at, not a build. A new digest is what the publisher publishes,
or else that of the file, downloaded once into the cache, where the build finds it.

Exit codes: 0 nothing new, or written · 1 an upstream could not be used, or something needs a person
· 4 with ``--check``: there is something new.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.definitions.loader import load
from pipeline.definitions.model import Pin
from pipeline.foundation.errors import PipelineError, WrongUse
from pipeline.foundation.files import write_bytes
from pipeline.foundation.paths import Workspace, shown
from pipeline.foundation.progress import reporter
from pipeline.foundation.units import human_bytes

if TYPE_CHECKING:
    from pipeline.inputs.fetch_types import Fetcher
    from pipeline.inputs.upstream import Seen

NEW = 4
MEASURED = "measured: downloaded, hashed and kept in the cache"
PUBLISHED = "as the publisher publishes it"
ACCEPT = "see what changed; then run: golden refresh --write --accept-changed-upstream"


def add(parser: argparse.ArgumentParser) -> None:
    """Options of ``golden refresh``."""
    parser.add_argument("pin", nargs="*", help="a pin; without one, all that have an upstream")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help=f"exit code {NEW} when something is new")
    how.add_argument("--write", action="store_true", help="bring checksums/*.yaml up to date")
    parser.add_argument(
        "--accept-changed-upstream",
        action="store_true",
        help="with --write: also take another file under the same version",
    )


@dataclass(frozen=True, slots=True)
class Refresh:
    """One run: where, with what, and what it may do."""

    workspace: Workspace
    fetcher: Fetcher
    write: bool
    accept: bool

    def pin(self, pin: Pin) -> bool:
        """Look at one pin, and write it when that is asked for; returns whether there is news."""
        from pipeline.inputs.upstream import Verdict, look

        seen = look(pin, self.fetcher, os.environ.get("GITHUB_TOKEN", ""))
        match seen.verdict:
            case Verdict.SAME:
                print(f"{pin.name}: {pin.version} is the newest ({seen.why})")
            case Verdict.OLDER:
                raise PipelineError(
                    f"{pin.name}: {seen.why}",
                    hint="was the release withdrawn? a pin never goes back by itself",
                )
            case Verdict.REPLACED if not self.accept:
                raise PipelineError(
                    f"{pin.name}: {pin.version} was replaced upstream: {seen.why}", hint=ACCEPT
                )
            case _:
                self._news(seen)
                return True
        return False

    def _news(self, seen: Seen) -> None:
        pin, offer = seen.pin, seen.offer
        changed = offer.version if offer.version != pin.version else "the same, perhaps replaced"
        print(f"{pin.name}: {pin.version} → {changed}")
        print(f"  because {seen.why}")
        for note in seen.notes:
            print(f"  note    {note}")
        if self.write:
            self._write(seen)
        else:
            print(f"  sha256  {offer.sha256 or 'is measured with --write'}")

    def _write(self, seen: Seen) -> None:
        from pipeline.definitions.pin_file import file_of, rewrite

        pin, offer = seen.pin, seen.offer
        new, how = self._complete(seen)
        path = file_of(self.workspace.checksums, pin.name)
        values = _values(pin, new, dict(offer.media) if offer.media else None)
        before = rewrite(path, pin.name, values, accept_changed=self.accept, release=offer.release)
        try:
            load(self.workspace)
        except PipelineError as error:
            write_bytes(path, before)
            raise PipelineError(
                f"{pin.name}: {offer.version} was not written, as the definitions would no longer "
                f"agree:\n{error.message}",
                hint="change pin and images together, by hand",
            ) from error
        _say(pin, new, how)
        print(f"  written {shown(path)}; its remarks were kept, see whether they still hold")

    def _complete(self, seen: Seen) -> tuple[Pin, str]:
        """The pin as it will be, and where its digest comes from."""
        from pipeline.inputs.upstream_measure import measure

        offer = seen.offer
        new = replace(
            seen.pin,
            version=offer.version,
            urls=offer.urls,
            size=offer.size,
            sha256=offer.sha256,
            etag=offer.etag or None,
        )
        if offer.sha256 is not None and offer.size is not None:
            return new, PUBLISHED
        return measure(new, self.workspace, reporter(f"refresh:{new.name}"), self.fetcher), MEASURED


def _values(old: Pin, new: Pin, media: dict[str, Any] | None) -> dict[str, Any]:
    """What changes of the pin, by key."""
    keys = ("version", "urls", "sha256", "size", "etag")
    values = {key: getattr(new, key) for key in keys if getattr(new, key) is not None}
    changed = {key: value for key, value in values.items() if value != getattr(old, key)}
    return changed | ({"media": media} if media and old.media else {})


def _say(old: Pin, new: Pin, how: str) -> None:
    if new.urls != old.urls:
        print(f"  url     {old.urls[0]}\n       →  {new.urls[0]}")
    same = new.sha256 == old.sha256
    change = "unchanged" if same else f"{str(old.sha256)[:12]} → {new.sha256}"
    print(f"  sha256  {change} ({how})")
    if new.size != old.size and new.size is not None:
        print(f"  size    {human_bytes(old.size or 0)} → {human_bytes(new.size)}")


def run(args: argparse.Namespace) -> int:
    """Look at each pin; one that can't be looked at does not keep the others from being."""
    from pipeline.inputs.http import Client

    workspace = Workspace.default()
    pins = list(_chosen(load(workspace).pins, args.pin))
    news = failures = 0
    with Client() as client:
        refresh = Refresh(workspace, client, args.write, args.accept_changed_upstream)
        for pin in pins:
            try:
                news += refresh.pin(pin)
            except PipelineError as error:
                failures += 1
                print(f"golden: {error}", file=sys.stderr)
    if failures:
        return 1
    return NEW if news and args.check else 0


def _chosen(pins: dict[str, Pin], names: Sequence[str]) -> Iterator[Pin]:
    for name in names:
        if name not in pins:
            raise WrongUse(f"there is no pin {name!r}", hint=f"pins: {', '.join(pins)}")
        if not pins[name].upstream:
            raise PipelineError(
                f"the pin {name} has no upstream: it is held where it is",
                hint="give it one in checksums/, or change it by hand",
            )
    for pin in pins.values():
        if pin.upstream and (not names or pin.name in names):
            yield pin
