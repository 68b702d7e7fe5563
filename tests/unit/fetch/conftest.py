"""What the tests of fetch share: a workspace, a server, pins for it, and a policy that is quick."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.definitions.model import Kind, Pin
from pipeline.foundation.paths import Workspace
from pipeline.foundation.units import Sha256
from pipeline.inputs.fetch import Limits, Policy
from tests.servers import Server, Site, certificate

# The head of an MSI, then bytes that are all different for a while.
MSI = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(range(256)) * 2
MakePin = Callable[..., Pin]


class Recorder:
    """A progress that keeps everything it is told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.updates: list[str] = []
        self.events: list[str] = []
        self.ended: list[str] = []

    def phase(self, name: str, expected: float | None = None) -> None:
        self.phases.append(name)

    def update(self, detail: str) -> None:
        self.updates.append(detail)

    def event(self, text: str) -> None:
        self.events.append(text)

    def done(self, text: str = "") -> None:
        self.ended.append(text)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "the root", tmp_path / "out put", tmp_path / "cache")


@pytest.fixture
def progress() -> Recorder:
    return Recorder()


@pytest.fixture
def site() -> Site:
    return Site(body=MSI)


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    with Server(site) as running:
        yield running


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def make_pin() -> MakePin:
    def make(*urls: str, body: bytes = MSI, **others: object) -> Pin:
        known: dict[str, object] = {"kind": Kind.MSI, "size": len(body), "urls": urls}
        known["sha256"] = Sha256(hashlib.sha256(body).hexdigest())
        return Pin(name="winfsp", version="2.2", **(known | others))  # type: ignore[arg-type]

    return make


@pytest.fixture
def quick() -> Policy:
    """Every failure is forgiven a few times, and nothing takes long."""
    limits = Limits(connect=5, answer=5, stall=5)
    return Policy(total=60, retries=3, backoff=0.001, worthwhile=1, limits=limits)
