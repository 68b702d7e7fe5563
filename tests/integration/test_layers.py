"""Layers in a real registry: pulled, made once by two hosts, and by another when the first dies."""

from __future__ import annotations

import functools
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.definitions.model import Settings
from pipeline.foundation.waiting import wait_until
from pipeline.publishing.stores import oci_lease
from tests import services
from tests.unit.stages.test_shared_layers import Host

pytestmark = pytest.mark.integration


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    if shutil.which("docker-registry") is None:
        pytest.skip("needs docker-registry")
    with services.registry(tmp_path / "registry") as host:
        yield f"oci://{host}/golden-layers"


def host(root: Path, place: str) -> Host:
    """A build host; its toy image is a rehearsal, which a registry on this very host may hold."""
    made = Host(root, root)
    image = replace(made.build.image, rehearsal=True)
    made.build = replace(made.build, image=image, settings=Settings(layers=place))
    return made


def test_a_fresh_host_pulls_from_a_registry(tmp_path: Path, place: str) -> None:
    first, second = host(tmp_path / "first", place), host(tmp_path / "second", place)
    assert first.run() == ["cidata", "install", "provision"]
    assert not first.heard.said("not shared"), first.heard.events
    assert second.run() == []
    second.values["provision"] = 2
    assert second.run() == ["provision"]
    third = host(tmp_path / "third", place)
    third.values["provision"] = 2
    assert third.run() == []


def test_two_hosts_make_install_once(tmp_path: Path, place: str) -> None:
    first, second = host(tmp_path / "first", place), host(tmp_path / "second", place)
    begun, go_on = threading.Event(), threading.Event()

    def make() -> None:
        if first.ran[-1] == "install":
            begun.set()
            assert go_on.wait(60)

    first.while_making = make
    one = threading.Thread(target=first.run)
    one.start()
    assert begun.wait(60)
    two = threading.Thread(target=second.run)
    two.start()
    wait_until("the second waits", lambda: second.heard.said("install is being made"), 60)
    go_on.set()
    for thread in (one, two):
        thread.join(120)
    assert [*first.ran, *second.ran].count("install") == 1


LIFE = 4.0


def _make_for_ever(root: Path, place: str, begun: Path) -> None:
    os.environ["GOLDEN_CACHE"] = str(root / "cache")  # another host has another tag
    oci_lease.lease = functools.partial(oci_lease.lease, life=LIFE)
    dying = host(root, place)

    def make() -> None:
        if dying.ran[-1] == "install":
            begun.touch()
            threading.Event().wait()

    dying.while_making = make
    dying.run()


def test_a_lease_ends_with_its_holder(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_lease, "SKEW", 1.0)
    begun = tmp_path / "begun"
    arguments = (tmp_path / "dying", place, begun)
    process = multiprocessing.get_context("spawn").Process(target=_make_for_ever, args=arguments)
    process.start()
    wait_until("the first makes install", begun.exists, 60)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert host(tmp_path / "second", place).run() == ["cidata", "install", "provision"]
