"""The catalog's serial and signature, marks, and which versions the policy keeps."""

from __future__ import annotations

import datetime
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.publishing import catalog, gc, signature
from pipeline.publishing.catalog import Catalog, Entry, mark, parse, superfluous
from pipeline.publishing.manifest import version_of
from pipeline.publishing.stores import index as stocked
from pipeline.publishing.stores.directory import DirectoryStore
from pipeline.publishing.trust import Anchors, Trust
from tests import services

NAMES = st.lists(st.integers(1, 60), unique=True, max_size=12).map(sorted)


def entries(numbers: list[int], yanked: set[int], pinned: set[int]) -> list[Entry]:
    return [
        services.entry(f"26100.1-20261123.{n}", yanked=n in yanked, pinned=n in pinned)
        for n in numbers
    ]


@given(NAMES, st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)), st.integers(1, 5))
def test_what_is_kept(numbers: list[int], yanked: set[int], pinned: set[int], keep: int) -> None:
    found = entries(numbers, yanked, pinned)
    gone = superfluous(found, keep)
    left = [one for one in found if one not in gone]
    good = [one for one in found if not one.yanked]
    assert all(one in left for one in found if one.pinned)
    assert good[-keep:] == [one for one in left if not one.yanked and one in good[-keep:]]
    assert left or not found  # something always stays
    assert good or not gone
    for one in gone:
        assert one.order() < good[-1].order()
        assert one.yanked or one not in good[-keep:]
    if good:
        older = found[: found.index(good[-1])]
        assert all(one in gone for one in older if one.yanked and not one.pinned)


@given(st.lists(st.sampled_from(["build", "yank", "gc"]), max_size=30), st.integers(1, 3))
def test_no_name_is_given_twice_and_none_goes_back(acts: list[str], keep: int) -> None:
    """Built, withdrawn and collected in any order, on one day and on one host."""
    found, given = Catalog(), list[str]()
    day = datetime.date(2026, 11, 23)
    for act in acts:
        now = found.entries("toy")
        if act == "build":
            given.append(version_of("26100.1", day, Path("/nonexistent"), [e.version for e in now]))
            found = found.having(services.entry(given[-1]))
        elif act == "yank" and found.newest("toy"):
            found = mark(found, "toy", now[-1].version, yanked=True)
        elif act == "gc":
            found = gc.without(found, superfluous(now, keep))
        assert len(set(given)) == len(given)
        assert not given or found.entries("toy")[-1].version == given[-1]


@given(NAMES, st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_a_catalog_is_read_as_it_was_written(
    numbers: list[int], yanked: set[int], pinned: set[int]
) -> None:
    made = Catalog().of("toy", entries(numbers, yanked, pinned))
    assert parse(made.data(), "here") == made


def test_the_serial_only_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / catalog.INDEX
    seen: list[int] = []
    for clock in (1000.0, 5.0, 5.0, 2000.0):  # a clock that was set back does not matter
        monkeypatch.setattr("pipeline.publishing.catalog.time.time", lambda now=clock: now)
        catalog.add(index, services.entry(f"26100.1-20261123.{len(seen) + 1}"))
        seen.append(catalog.load(index).serial)
    assert seen == [1000, 1001, 1002, 2000]
    index.unlink()
    catalog.add(index, services.entry())
    assert catalog.load(index).serial >= seen[-1]


def test_a_change_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    index = tmp_path / catalog.INDEX
    catalog.add(index, services.entry())
    before = index.read_bytes()
    catalog.change(index, lambda found: mark(found, "toy", services.VERSION, yanked=False), None)
    assert index.read_bytes() == before
    catalog.change(index, lambda found: mark(found, "toy", services.VERSION, yanked=True), None)
    assert catalog.load(index).newest("toy") is None


def test_a_mark_needs_a_version_that_exists() -> None:
    with pytest.raises(PipelineError, match="no version 1") as said:
        mark(Catalog().having(services.entry()), "toy", "1", yanked=True)
    assert services.VERSION in said.value.hint


def test_the_signature_fits_the_catalog_and_goes_with_it(tmp_path: Path) -> None:
    key = services.signing_key(tmp_path)
    index, sig = tmp_path / "pub" / catalog.INDEX, tmp_path / "pub" / catalog.SIGNATURE
    catalog.add(index, services.entry(), lambda file: signature.sign(file, key))
    assert signature.signer(index, sig) == services.fingerprint(key)
    catalog.add(index, services.entry("26100.1-20261123.2"))
    assert not sig.exists()


def _publish(folder: Path, number: int) -> None:
    key = folder / "key"
    one = services.entry(f"26100.1-20261123.{number}")
    sign = lambda file: signature.sign(file, key)  # noqa: E731
    catalog.add(folder / "pub" / catalog.INDEX, one, sign)


def test_two_publishers_leave_one_signed_catalog(tmp_path: Path) -> None:
    key = services.signing_key(tmp_path)
    publishers = [
        multiprocessing.Process(target=_publish, args=(tmp_path, number)) for number in range(1, 5)
    ]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join(60)
    index = tmp_path / "pub" / catalog.INDEX
    assert len(catalog.load(index).entries("toy")) == 4
    assert signature.signer(index, index.with_name(catalog.SIGNATURE)) == services.fingerprint(key)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1"},
        {"version": "../1-20261123.1"},
        {"disk": "a/b"},
        {"disk": ".hidden"},
        {"sha256": "A" * 64},
        {"size": True},
        {"size": 1.5},
        {"built_at": "yesterday"},
        {"expires_at": "tomorrow"},
        {"yanked": 1},
        {"build_id": 7},
    ],
    ids=str,
)
def test_an_odd_entry_is_refused(changes: dict[str, object]) -> None:
    one = replace(services.entry(), **changes)  # type: ignore[arg-type]
    made = Catalog(1, {"toy": (one,)})
    with pytest.raises(catalog.NotACatalog, match="here"):
        parse(made.data(), "here")


def test_a_version_listed_twice_is_refused() -> None:
    made = Catalog(1, {"toy": (services.entry(), services.entry())})
    with pytest.raises(catalog.NotACatalog, match="twice"):
        parse(made.data(), "here")


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_at_any_moment_there_is_a_catalog_with_its_signature(
    tmp_path: Path, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher is killed after some of its renames; readers and the next publisher go on."""
    key = services.signing_key(tmp_path)
    sign = lambda file: signature.sign(file, key)  # noqa: E731
    store = tmp_path / "store"
    catalog.add(store / catalog.INDEX, services.entry(), sign)
    real, done = Path.replace, list[Path]()

    def dying(path: Path, target: Path) -> Path:
        if target.parent == store:
            if len(done) == renames:
                raise KeyboardInterrupt
            done.append(target)
        return real(path, target)

    monkeypatch.setattr(Path, "replace", dying)
    second = services.entry("26100.1-20261123.2")
    with pytest.raises(KeyboardInterrupt):
        catalog.add(store / catalog.INDEX, second, sign)
    monkeypatch.undo()
    workspace = Workspace(tmp_path, tmp_path / "output", tmp_path / "cache")
    trust = Trust("store", workspace, Anchors(fingerprints=(services.fingerprint(key),)))
    found = stocked.current(DirectoryStore(store), trust)[1]
    assert len(found.entries("toy")) == (1 if renames < 2 else 2)
    catalog.add(store / catalog.INDEX, second, sign)
    assert len(stocked.current(DirectoryStore(store), trust)[1].entries("toy")) == 2
    assert signature.signer(store / catalog.INDEX, store / catalog.SIGNATURE)
    assert not (store / catalog.NEXT).exists()
