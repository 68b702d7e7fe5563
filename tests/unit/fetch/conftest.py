"""What the tests of fetch share: a workspace, a server, pins for it, and a policy that is quick."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.definitions.model import Kind, Pin
from pipeline.foundation.errors import PipelineError
from pipeline.foundation.paths import Workspace
from pipeline.foundation.progress import Silent
from pipeline.foundation.units import Sha256
from pipeline.inputs.fetch import Limits, Policy, fetch, verified
from pipeline.inputs.fetch_part import Part
from tests.servers import Behaviour, Server, Site

# The head of an MSI, then bytes that are all different for a while.
MSI = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(range(256)) * 2
MakePin = Callable[..., Pin]
Refuse = Callable[..., str]


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


@pytest.fixture
def refused(
    server: Server, site: Site, workspace: Workspace, make_pin: MakePin, quick: Policy
) -> Refuse:
    """Run fetch against one bad server; the error's text, after checking what it left behind."""

    def run(behaviour: Behaviour, pin: Pin | None = None, policy: Policy = quick) -> str:
        site.always = behaviour
        pin = pin or make_pin(server.url())
        with pytest.raises(PipelineError) as caught:
            fetch(pin, workspace, Silent(), policy=policy)
        assert verified(pin, workspace) is None
        assert not list(workspace.artifacts.rglob("*"))
        assert not workspace.fetch_receipt(pin.name).exists()
        return str(caught.value)

    return run


def certificate(folder: Path) -> Path:
    """A certificate of one's own for 127.0.0.1, with its key in the same PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + pem)
    return path


def leave_part(workspace: Workspace, name: str, data: bytes, source: str, validator: str) -> None:
    """What a run that was killed leaves behind."""
    with Part(workspace.partial, name, Kind.MSI) as part:
        part.belongs_to(source, validator, len(MSI))
        part.write(data)
