"""Whose signature counts, and which catalog was seen last: remembered for each store.

Goes in: what the user said (keys, an allowed-signers file, fingerprints), a document with its
signature. Comes out: the fingerprint of a trusted key, or an error that tells which check failed.
Nothing is trusted silently: a store that is met for the first time shows its fingerprint and asks,
or names the option that answers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.files import read_json, sha256_bytes, write_json
from pipeline.foundation.locks import lock
from pipeline.foundation.paths import Workspace
from pipeline.publishing import signature
from pipeline.publishing.catalog import Catalog

_CHANGED = "ask the publisher whether the key was changed; if it was, say so once"
_SHARED = (
    "hosts that publish to one store share a key (signing_key in golden.yaml), or trust each "
    "other's, said once"
)
Ask = Callable[[str], bool]
"""Shows a sentence and returns whether the answer was yes."""


class UnknownKey(PipelineError):
    """A good signature by a key that nobody has vouched for yet."""

    exit_code = 30


class RolledBack(PipelineError):
    """The store shows an older catalog than it did before, or none any more."""

    exit_code = 25


@dataclass(frozen=True, slots=True)
class Anchors:
    """Whom the user trusts, in their own words; these take the place of what is remembered.

    ``keys`` are files with a public key, or fingerprints, as :func:`signature.named` takes them.
    """

    keys: Sequence[str] = ()
    allowed: Path | None = None
    fingerprints: Sequence[str] = ()

    def accepted(self) -> frozenset[str]:
        """The fingerprints that were named, those of the keys among them."""
        return frozenset({*self.fingerprints, *map(signature.named, self.keys)})


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of a store from earlier times."""

    fingerprints: frozenset[str] = frozenset()
    serial: int = 0
    catalog: str = ""

    @classmethod
    def load(cls, path: Path) -> Memory:
        """What the file remembers; nothing when there is none."""
        known = read_json(path)
        if known is None and path.exists():
            raise PipelineError(
                f"{path}: what was remembered of a store is damaged",
                hint="remove the file; the store's key then has to be confirmed once more",
            )
        if not isinstance(known, dict):
            return cls()
        return cls(frozenset(known["fingerprints"]), known["serial"], known["catalog"])


def remembered(workspace: Workspace) -> frozenset[str]:
    """The fingerprints that pulls have trusted, whatever the store."""
    known = (Memory.load(path) for path in sorted(workspace.trust.glob("*.json")))
    return frozenset().union(*(memory.fingerprints for memory in known))


def _file(place: str, workspace: Workspace) -> Path:
    return workspace.trust / f"{sha256_bytes(place.encode())[:24]}.json"


def refuse_missing(place: str, workspace: Workspace) -> None:
    """Raise when the store at ``place``, which shows no catalog, has shown one before.

    Taken for empty, a folder whose share is not mounted would have everything built again, and
    filled: the bare mount point, with gigabytes under an older state.
    """
    path = _file(place, workspace)
    if serial := Memory.load(path).serial:
        raise RolledBack(
            f"{place}: has no catalog, although one of serial {serial} was seen before",
            hint="is it mounted, and is the address right? To begin anew with an empty store, "
            f"remove {path}",
        )


class Trust:
    """The trust in one store.

    ``ask`` is None where nobody can be asked; ``own`` are keys of this host's publisher.
    """

    def __init__(
        self,
        place: str,
        workspace: Workspace,
        anchors: Anchors,
        ask: Ask | None = None,
        own: frozenset[str] = frozenset(),
    ) -> None:
        self.place, self.workspace = place, workspace
        self._anchors, self._ask = anchors, ask
        self._path = _file(place, workspace)
        self._memory = Memory.load(self._path)
        named = anchors.accepted()
        known = named or (frozenset() if anchors.allowed else self._memory.fingerprints)
        self._accepted, self._own = known | own, own
        self._vouched: set[str] = set()

    def check(self, name: str, data: bytes, signed: bytes | None) -> str:
        """The fingerprint of the trusted key that signed ``data``, the file ``name`` of the store.

        Raises what :mod:`pipeline.publishing.signature` raises, or :class:`UnknownKey`.
        """
        with tempfile.TemporaryDirectory(prefix="golden-verify-") as folder:
            file = Path(folder) / name.rpartition("/")[2]
            file.write_bytes(data)
            sig = file.with_name(f"{file.name}.sig")
            if signed is not None:
                sig.write_bytes(signed)
            try:
                by = self._signer(name, file, sig)
            except (signature.NotSigned, signature.SignatureWrong) as error:
                error.message = f"{self.place}/{name}: {error.message}"
                raise
        self._vouched.add(by)
        return by

    def _signer(self, name: str, file: Path, sig: Path) -> str:
        if self._anchors.allowed:
            return signature.verify(file, sig, self._anchors.allowed)
        by = signature.signer(file, sig)
        self._judge(name, by)
        return by

    def _judge(self, name: str, by: str) -> None:
        if by in self._accepted:
            return
        if self._accepted:
            known = ", ".join(sorted(self._accepted))
            raise signature.SignedByAnother(
                f"{self.place}/{name} is signed by {by}, trusted is {known}",
                fingerprint=by,
                hint=f"{_SHARED if self._own else _CHANGED}: --trust {by}",
            )
        question = f"{self.place} is not known here yet; it is signed by\n    {by}\n"
        if self._ask is None or not self._ask(question):
            raise UnknownKey(
                f"{self.place}/{name} is signed by {by}, a key that is not known here yet",
                hint="compare it with the publisher's fingerprint, then say once: "
                f"--trust {by} (or --key FILE, --allowed-signers FILE)",
            )
        self._accepted = frozenset({by})

    def refuse_older(self, catalog: Catalog, data: bytes) -> None:
        """Raise when the store has shown a newer catalog, or another one of the same serial."""
        seen = self._memory
        if catalog.serial < seen.serial:
            raise RolledBack(
                f"{self.place}: its catalog has serial {catalog.serial}, one of {seen.serial} was "
                "seen before: somebody shows an older state",
                hint=f"ask the publisher; if the store really went back, remove {self._path}",
            )
        if catalog.serial == seen.serial and seen.catalog not in ("", sha256_bytes(data)):
            raise RolledBack(
                f"{self.place}: its catalog of serial {catalog.serial} is another than the one "
                "seen before",
                hint=f"ask the publisher; two states under one number are a fork ({self._path})",
            )

    def refuse_missing(self) -> None:
        """Raise when the store, which shows no catalog, has shown one before."""
        refuse_missing(self.place, self.workspace)

    def remember(self, catalog: Catalog, data: bytes) -> None:
        """Keep a catalog that was verified, and who signed it, for the next time."""
        self._write(catalog.serial, sha256_bytes(data))

    def remember_signers(self) -> None:
        """Keep who signed what else was verified."""
        self._write(self._memory.serial, self._memory.catalog)

    def _write(self, serial: int, catalog: str) -> None:
        signers = frozenset(self._accepted | self._vouched)
        if Memory(signers, serial, catalog) == self._memory:
            return
        with lock(self._path.parent / ".lock"):
            there = Memory.load(self._path)  # another process may have seen more meanwhile
            if signers == self._memory.fingerprints:
                signers = there.fingerprints
            seen = ((there.serial, there.catalog), (serial, catalog))
            serial, catalog = max(seen, key=lambda one: (one[0], bool(one[1])))
            self._memory = Memory(signers, serial, catalog)
            if self._memory != there:
                write_json(
                    self._path,
                    {
                        "store": self.place,
                        "fingerprints": sorted(signers),
                        "serial": serial,
                        "catalog": catalog,
                    },
                )
