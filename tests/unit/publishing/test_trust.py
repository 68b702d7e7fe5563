"""Whose signature counts: asked once, remembered, never silently changed."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import ROOT, Workspace
from pipeline.publishing import signature
from pipeline.publishing.catalog import Catalog
from pipeline.publishing.trust import Anchors, RolledBack, Trust, UnknownKey
from tests import services

DATA = b"what is signed"


@dataclass
class World:
    base: Path
    workspace: Workspace
    key: Path
    asked: list[str] = field(default_factory=list)

    def signed(self, key: Path | None = None) -> bytes:
        file = self.base / "file"
        file.write_bytes(DATA)
        return signature.sign(file, key or self.key).read_bytes()

    def trust(self, anchors: Anchors | None = None, answer: bool | None = None) -> Trust:
        def ask(question: str) -> bool:
            self.asked.append(question)
            return bool(answer)

        known = anchors or Anchors()
        return Trust("https://store", self.workspace, known, None if answer is None else ask)


@pytest.fixture
def world(tmp_path: Path) -> World:
    workspace = Workspace(tmp_path, tmp_path / "output", tmp_path / "cache")
    return World(tmp_path, workspace, services.signing_key(tmp_path))


def test_a_stranger_is_never_trusted_silently(world: World) -> None:
    with pytest.raises(UnknownKey) as said:
        world.trust().check("index.json", DATA, world.signed())
    assert f"--trust {services.fingerprint(world.key)}" in said.value.hint
    with pytest.raises(UnknownKey):
        world.trust(answer=False).check("index.json", DATA, world.signed())
    assert services.fingerprint(world.key) in world.asked[0]
    assert not world.workspace.trust.exists()


def test_a_yes_is_remembered_for_this_store_alone(world: World) -> None:
    trust = world.trust(answer=True)
    trust.check("index.json", DATA, world.signed())
    trust.remember(Catalog(7), b"catalog")
    assert world.trust().check("index.json", DATA, world.signed())
    other = Trust("https://elsewhere", world.workspace, Anchors())
    with pytest.raises(UnknownKey):
        other.check("index.json", DATA, world.signed())


def test_each_way_to_name_the_key(world: World) -> None:
    sig, public = world.signed(), world.key.with_suffix(".pub")
    allowed = world.base / "allowed"
    allowed.write_text(signature.allowed_signers_line(signature.public_key(world.key)) + "\n")
    by = services.fingerprint(world.key)
    for anchors in (
        Anchors(keys=(str(public),)),
        Anchors(keys=(by,)),
        Anchors(allowed=allowed),
        Anchors(fingerprints=("SHA256:other", by)),
    ):
        assert world.trust(anchors).check("index.json", DATA, sig) == by
    assert not world.asked


def test_what_is_named_takes_the_place_of_what_was_remembered(world: World) -> None:
    trust = world.trust(answer=True)
    trust.check("index.json", DATA, world.signed())
    trust.remember(Catalog(7), b"catalog")
    new = services.signing_key(world.base, "new")
    with pytest.raises(signature.SignedByAnother) as said:
        world.trust(answer=True).check("index.json", DATA, world.signed(new))
    assert said.value.fingerprint == services.fingerprint(new)
    changed = world.trust(Anchors(fingerprints=(services.fingerprint(new),)))
    changed.check("index.json", DATA, world.signed(new))
    changed.remember(Catalog(8), b"next")
    assert world.trust().check("index.json", DATA, world.signed(new))
    with pytest.raises(signature.SignedByAnother):
        world.trust().check("index.json", DATA, world.signed())


def test_no_signature_and_a_wrong_one_name_the_store(world: World) -> None:
    with pytest.raises(signature.NotSigned, match=r"https://store/index\.json"):
        world.trust().check("index.json", DATA, None)
    with pytest.raises(signature.SignatureWrong, match=r"https://store/index\.json"):
        world.trust().check("index.json", DATA + b"!", world.signed())


def test_older_and_forked_catalogs_are_refused(world: World) -> None:
    world.trust().remember(Catalog(7), b"seen")
    world.trust().refuse_older(Catalog(7), b"seen")
    world.trust().refuse_older(Catalog(8), b"newer")
    with pytest.raises(RolledBack, match=r"6.*7"):
        world.trust().refuse_older(Catalog(6), b"older")
    with pytest.raises(RolledBack, match="another"):
        world.trust().refuse_older(Catalog(7), b"fork")


def test_a_slower_process_lowers_nothing(world: World) -> None:
    slow, quick = world.trust(), world.trust()
    quick.remember(Catalog(7), b"seven")
    slow.remember(Catalog(5), b"five")
    world.trust().refuse_older(Catalog(7), b"seven")
    with pytest.raises(RolledBack, match=r"5.*7"):
        world.trust().refuse_older(Catalog(5), b"five")
    with pytest.raises(RolledBack, match=r"5.*7"):
        slow.refuse_older(Catalog(5), b"five")


def test_a_key_that_was_named_meanwhile_is_not_forgotten(world: World) -> None:
    old, new = services.fingerprint(world.key), services.signing_key(world.base, "new")
    world.trust(Anchors(fingerprints=(old,))).remember(Catalog(5), b"five")
    slow = world.trust()
    world.trust(Anchors(fingerprints=(services.fingerprint(new),))).remember(Catalog(6), b"six")
    slow.remember(Catalog(7), b"seven")
    assert world.trust().check("index.json", DATA, world.signed(new))
    with pytest.raises(signature.SignedByAnother):
        world.trust().check("index.json", DATA, world.signed())


def _sees(workspace: Workspace, serials: range) -> None:
    trust = Trust("https://store", workspace, Anchors())
    for serial in serials:
        trust.remember(Catalog(serial), str(serial).encode())


def test_the_highest_of_many_processes_is_remembered(world: World) -> None:
    ranges = [range(1, 20), range(5, 60), range(1, 40), range(2, 30)]
    many = [multiprocessing.Process(target=_sees, args=(world.workspace, r)) for r in ranges]
    for one in many:
        one.start()
    for one in many:
        one.join(60)
    with pytest.raises(RolledBack, match=r"58.*59"):
        world.trust().refuse_older(Catalog(58), b"58")


def test_a_damaged_memory_is_not_taken_for_none(world: World) -> None:
    world.trust().remember(Catalog(7), b"seen")
    (file,) = world.workspace.trust.glob("*.json")
    file.write_text("{")
    with pytest.raises(PipelineError, match="damaged"):
        world.trust()


def test_on_a_terminal_the_fingerprint_is_shown_and_asked_about(world: World) -> None:
    services.publish(world.base / "store", world.key)
    words = [sys.executable, "-m", "pipeline.cli.main", "pull", "toy", "--from"]
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "GOLDEN_OUTPUT": str(world.base / "output"),
        "GOLDEN_CACHE": str(world.base / "cache"),
    }
    for answer, code in (("no", 30), ("yes", 0)):
        ours, theirs = os.openpty()
        os.write(ours, f"{answer}\n".encode())
        done = subprocess.run(
            [*words, str(world.base / "store")], env=env, stdin=theirs, stderr=theirs,
            stdout=subprocess.PIPE, check=False,
        )  # fmt: skip
        said = os.read(ours, 1 << 16).decode()
        os.close(ours)
        os.close(theirs)
        assert done.returncode == code, said
        assert services.fingerprint(world.key) in said
        assert "Type yes" in said
