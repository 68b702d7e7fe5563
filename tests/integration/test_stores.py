"""Stores for real: Debian's nginx and docker-registry on loopback, read back with skopeo."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.foundation.files import sha256_file
from pipeline.foundation.paths import ROOT
from pipeline.foundation.progress import Silent
from pipeline.foundation.waiting import wait_until
from pipeline.publishing import catalog, signature
from pipeline.publishing.stores.base import Blob, Taken, WritableStore, writable
from pipeline.publishing.stores.oci import Registry, RegistryRefused
from pipeline.publishing.stores.opening import open_store
from tests import services
from tests.tools import require

pytestmark = pytest.mark.integration
MIB = 1 << 20


@dataclass(frozen=True)
class Host:
    """A host of its own: output, cache and home below ``base``; the definitions are ours."""

    base: Path

    @property
    def published(self) -> Path:
        return self.base / "output" / "publish"

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GOLDEN_")}
        return kept | {
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.base / "home"),
            "GOLDEN_OUTPUT": str(self.base / "output"),
            "GOLDEN_CACHE": str(self.base / "cache"),
            "GOLDEN_STORES": "none",
        }

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pipeline.cli.main", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        (self.base / "home").mkdir(parents=True, exist_ok=True)
        return subprocess.run(
            self.words(*words), cwd="/", env=self.environment(), text=True, capture_output=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def golden(self, *words: str, code: int = 0) -> str:
        done = self.run(*words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    @property
    def key(self) -> Path:
        return services.signing_key(self.base / "output" / "keys", "signing_ed25519")

    @property
    def fingerprint(self) -> str:
        return services.fingerprint(self.key)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256_file(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def publisher(tmp_path: Path) -> Host:
    return Host(tmp_path / "pub lisher")


@pytest.fixture
def consumer(tmp_path: Path) -> Host:
    return Host(tmp_path / "con sumer")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    require("docker-registry")
    with services.registry(tmp_path / "registry") as host:
        yield host


@contextlib.contextmanager
def store_at(host: str) -> Iterator[WritableStore]:
    with open_store(f"oci://{host}/golden", Path("/"), print) as store:
        yield writable(store)


def rehearsal(publisher: Host, folder: Path) -> Path:
    """The rehearsal's version as one of ``publisher``'s own, signed and listed."""
    manifest = json.loads((folder / "manifest.json").read_text())
    target = publisher.published / "rehearsal" / str(manifest["version"])
    shutil.copytree(folder, target)
    for path in target.rglob("*"):
        path.chmod(0o644 if path.is_file() else 0o755)
    signature.sign(target / "SHA256SUMS", publisher.key)
    disk = manifest["disk"]
    entry = catalog.Entry(
        "rehearsal", manifest["version"], manifest["build_id"], disk["file"], disk["size"],
        disk["sha256"], manifest["built_at"], None, rehearsal=True,
    )  # fmt: skip
    catalog.add(
        publisher.published / catalog.INDEX,
        entry,
        lambda file: signature.sign(file, publisher.key),
    )
    return target


def test_the_rehearsal_goes_to_both_and_comes_back_from_both(
    published_rehearsal: Path, publisher: Host, tmp_path: Path, registry: str
) -> None:
    require("nginx", "skopeo")
    original = rehearsal(publisher, published_rehearsal)
    folder = tmp_path / "sto re"
    oci = f"oci://{registry}/golden"
    publisher.golden("push", "rehearsal", "--to", str(folder), "--to", oci)
    with services.nginx(tmp_path / "nginx", folder) as url:
        for number, place in enumerate((url, oci)):
            consumer = Host(tmp_path / f"consumer {number}")
            trust = ("--trust", publisher.fingerprint)
            said = consumer.golden("pull", "rehearsal", "--from", place, *trust)
            pulled = Path(said.strip())
            assert pulled == consumer.base / "cache" / "images" / "rehearsal" / original.name
            assert digests(pulled) == digests(original)
            # Already there: nothing but the catalog is asked for, and no key has to be named.
            assert consumer.golden("pull", "rehearsal@latest", "--from", place).strip() == str(
                pulled
            )
        log = (tmp_path / "nginx" / "access.log").read_text()
    assert log.count(f"{original.name}/disk.qcow2") == 1
    assert log.count("/index.json ") == log.count("/index.json.sig ") == 2
    inspected = skopeo("inspect", f"docker://{registry}/golden/rehearsal:latest")
    assert json.loads(inspected)["Layers"]
    skopeo("copy", f"docker://{registry}/golden/rehearsal:{original.name}", f"dir:{tmp_path}/d")
    check_container_disk(tmp_path / "d", original / "disk.qcow2")


def test_the_document_shows_it_with_two_commands(
    published_rehearsal: Path, publisher: Host
) -> None:
    """``./doitw stores``: to both, back from both on empty caches, and launched."""
    require("nginx", "docker-registry", "qemu-system-x86_64")
    rehearsal(publisher, published_rehearsal)
    done = subprocess.run(
        [sys.executable, "-m", "tests.two_stores"], cwd=ROOT, env=publisher.environment(),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("every file from") == 2
    assert "ok: the guest knows its name" in done.stdout


def skopeo(verb: str, *words: str) -> str:
    tls = "--tls-verify=false" if verb == "inspect" else "--src-tls-verify=false"
    done = subprocess.run(
        ["skopeo", verb, tls, *words], text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_container_disk(folder: Path, disk: Path) -> None:
    """One layer, in it ``/disk/disk.qcow2`` of qemu's user; the rest is as engines want it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (layer,) = manifest["layers"]
    config = json.loads((folder / manifest["config"]["digest"].partition(":")[2]).read_text())
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    with tarfile.open(folder / layer["digest"].partition(":")[2]) as tar:
        assert tar.getnames() == ["disk", "disk/disk.qcow2"]
        member = tar.getmember("disk/disk.qcow2")
        assert (member.uid, member.gid) == (107, 107)
        content = tar.extractfile(member)
        assert content is not None
        assert hashlib.sha256(content.read()).hexdigest() == sha256_file(disk)


def test_an_interrupted_download_goes_on(
    publisher: Host, consumer: Host, tmp_path: Path, registry: str
) -> None:
    require("nginx")
    disk = os.urandom(8 * MIB)
    one = services.entry(disk=disk)
    services.publish(publisher.published, publisher.key, one, disk)
    with store_at(registry) as store:
        fill(store, publisher.published, one)
    with services.nginx(tmp_path / "nginx", publisher.published) as url:
        for number, place in enumerate((url, f"oci://{registry}/golden")):
            cache = consumer.base / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            part = cache / "partial" / f"{one.sha256}.part"
            part.parent.mkdir(parents=True)
            part.write_bytes(disk[: 5 * MIB])
            words = ("pull", "toy", "--from", place, "--trust", publisher.fingerprint)
            done = consumer.run(*words)
            assert done.returncode == 0, done.stderr
            assert "resumed at 5.0 MiB" in done.stderr, number
            assert Path(done.stdout.strip(), "disk.qcow2").read_bytes() == disk
        log = (tmp_path / "nginx" / "access.log").read_text()
    asked = next(line for line in log.splitlines() if "/disk.qcow2 " in line)
    assert f" 206 {3 * MIB} " in asked


def fill(store: WritableStore, published: Path, one: catalog.Entry) -> None:
    """A version and the catalog into a store, as they are."""
    folder = published / one.key
    files = {path.name: path for path in folder.iterdir()}
    store.push(one.key, files, Silent(), disk="disk.qcow2")
    index = (catalog.INDEX, catalog.SIGNATURE)
    store.replace("", {name: (published / name).read_bytes() for name in index})


def test_a_killed_push_leaves_no_tag_and_is_made_good(
    publisher: Host, tmp_path: Path, registry: str
) -> None:
    disk = os.urandom(64 * MIB)
    one = services.entry(disk=disk)
    folder = services.publish(publisher.published, publisher.key, one, disk)
    pushing = multiprocessing.get_context("fork").Process(
        target=_push_slowly, args=(registry, folder, one.key)
    )
    pushing.start()
    uploads = tmp_path / "registry" / "data"
    wait_until("some of it arrived", lambda: _arrived(uploads) > 16 * MIB, 60, 0.02)
    assert pushing.pid
    os.kill(pushing.pid, signal.SIGKILL)
    pushing.join(20)
    with store_at(registry) as store:
        assert not store.has(one.key)
        assert store.read("", catalog.INDEX, MIB) is None
        files = {path.name: path for path in folder.iterdir()}
        store.push(one.key, files, Silent(), disk="disk.qcow2")
        assert store.has(one.key)
        blob = Blob("disk.qcow2", one.sha256, one.size)
        store.get(one.key, blob, tmp_path / "got", tmp_path / "partial", Silent())
    assert (tmp_path / "got").read_bytes() == disk


def _arrived(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in folder.rglob("data"))
    return 0


def _push_slowly(host: str, folder: Path, key: str) -> None:
    real = Registry._patch

    def slow(self: Registry, session: str, sent: int, data: bytes) -> str:
        time.sleep(0.5 if sent else 0)
        return real(self, session, sent, data)

    Registry._patch = slow  # type: ignore[method-assign]
    with store_at(host) as store:
        files = {path.name: path for path in folder.iterdir()}
        store.push(key, files, Silent(), disk="disk.qcow2")


def test_an_upload_goes_on_after_the_registry_was_away(tmp_path: Path) -> None:
    require("docker-registry")
    data = os.urandom(4 * MIB)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    asked: list[int] = []
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.ExitStack())
        host = first.enter_context(services.registry(tmp_path / "r"))
        port = int(host.rpartition(":")[2])
        back = threading.Event()

        def pieces(start: int) -> Iterator[bytes]:
            asked.append(start)
            for at in range(start, len(data), MIB):
                if at == 2 * MIB and not back.is_set():
                    first.close()
                    back.set()
                elif back.is_set() and len(asked) == 2:
                    stack.enter_context(services.registry(tmp_path / "r", port=port))
                    asked.append(-1)
                yield data[at : at + MIB]

        registry = Registry(host, plain=True, backoff=0.01)
        assert registry.upload("golden/x", digest, len(data), pieces)
        assert not registry.upload("golden/x", digest, len(data), pieces)
    assert asked[:3] == [0, 2 * MIB, -1]


def test_another_bundle_under_the_same_name_is_refused(
    publisher: Host, tmp_path: Path, registry: str
) -> None:
    folder = services.publish(publisher.published, publisher.key)
    other = services.publish(tmp_path / "other", publisher.key, disk=b"ksid")
    for place in (f"oci://{registry}/golden", str(tmp_path / "store")):
        with open_store(place, Path("/"), print) as opened:
            store = writable(opened)
            for source in (folder, folder):
                files = {path.name: path for path in source.iterdir()}
                store.push("toy/1", files, Silent(), disk="disk.qcow2")
            files = {path.name: path for path in other.iterdir()}
            with pytest.raises(Taken, match="toy/1"):
                store.push("toy/1", files, Silent(), disk="disk.qcow2")


def _list_a_version(base: Path, place: str, number: int) -> None:
    from pipeline.definitions.model import Settings
    from pipeline.foundation.paths import Workspace
    from pipeline.publishing.stores.push import Publisher, change
    from pipeline.publishing.trust import Anchors

    workspace = Workspace(ROOT, base / "output", base / f"cache{number}")
    publisher = Publisher(workspace, Settings(), base / "output" / "keys" / "signing_ed25519")
    one = services.entry(f"26100.1-20261123.{number}")
    with open_store(place, Path("/"), print) as store:
        trust = publisher.trust(place, Anchors())
        change(writable(store), trust, publisher, lambda found: found.having(one), Silent())


def test_publishers_on_several_hosts_lose_nothing(
    publisher: Host, tmp_path: Path, registry: str
) -> None:
    assert publisher.key.exists()
    for place in (f"oci://{registry}/golden", str(tmp_path / "store")):
        hosts = [
            multiprocessing.Process(target=_list_a_version, args=(publisher.base, place, number))
            for number in range(1, 5)
        ]
        for host in hosts:
            host.start()
        for host in hosts:
            host.join(120)
        with open_store(place, Path("/"), print) as store:
            data = store.read("", catalog.INDEX, MIB)
        assert data is not None
        found = catalog.parse(data, place).entries("toy")
        assert [one.version[-1] for one in found] == ["1", "2", "3", "4"]


def test_a_catalog_that_another_key_signed_is_not_signed_on(
    published_rehearsal: Path, publisher: Host, consumer: Host, tmp_path: Path
) -> None:
    rehearsal(publisher, published_rehearsal)
    services.publish(tmp_path / "store", services.signing_key(tmp_path, "foreign"))
    said = publisher.golden("push", "rehearsal", "--to", str(tmp_path / "store"), code=23)
    assert "is signed by" in said
    assert "--trust" in said


def test_yank_and_gc_reach_the_stores(publisher: Host, tmp_path: Path, registry: str) -> None:
    place = f"oci://{registry}/golden"
    first, second = services.entry(), services.entry("26100.1-20261123.2")
    for one in (first, second):
        services.publish(publisher.published, publisher.key, one)
    with store_at(registry) as store:
        fill(store, publisher.published, first)
        fill(store, publisher.published, second)
        store.point(second.key)
    consumer = Host(tmp_path / "consumer")
    trust = ("--trust", publisher.fingerprint)
    publisher.golden("yank", "toy", second.version, "--in", place)
    listing = consumer.golden("images", "--from", place, *trust)
    assert "withdrawn" in listing.splitlines()[1]
    said = consumer.golden("pull", f"toy@{second.version}", "--from", place, code=28)
    assert "--force" in said
    assert first.version in consumer.golden("pull", "toy", "--from", place)
    assert consumer.golden("pull", f"toy@{second.version}", "--from", place, "--force")
    assert f"{first.version}" in tags_of_latest(registry, first)
    with store_at(registry) as store:
        store.remove(second.key)
        assert not store.has(second.key)
        assert store.has(first.key)


def tags_of_latest(host: str, one: catalog.Entry) -> list[str]:
    """The tags that name the same manifest as ``latest``."""
    registry = Registry(host, plain=True)
    form = "application/vnd.oci.image.manifest.v1+json"
    latest = registry.digest("golden/toy", "latest", form)
    tags = registry.tags("golden/toy")
    return [tag for tag in tags if registry.digest("golden/toy", tag, form) == latest]


def test_where_nothing_may_be_deleted_the_hint_says_so(tmp_path: Path, publisher: Host) -> None:
    require("docker-registry")
    one = services.entry()
    services.publish(publisher.published, publisher.key, one)
    with services.registry(tmp_path / "r", delete=False) as host, store_at(host) as store:
        with store.lease("something", print):  # is withdrawn without deleting
            pass
        with store.lease("something", lambda who: pytest.fail(f"held by {who}")):
            pass
        fill(store, publisher.published, one)
        with pytest.raises(RegistryRefused, match="405") as refused:
            store.remove(one.key)
        assert "delete" in refused.value.hint


def test_a_registry_with_a_password(
    tmp_path: Path, publisher: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("docker-registry")
    one = services.entry()
    services.publish(publisher.published, publisher.key, one)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with services.registry(tmp_path / "r", password=True) as host:
        with (
            store_at(host) as store,
            pytest.raises(RegistryRefused, match="asks for credentials") as refused,
        ):
            fill(store, publisher.published, one)
        assert "login" in refused.value.hint
        docker = tmp_path / "home" / ".docker" / "config.json"
        docker.parent.mkdir(parents=True)
        secret = base64.b64encode(b"golden:secret").decode()
        docker.write_text(json.dumps({"auths": {host: {"auth": secret}}}))
        with store_at(host) as store:
            fill(store, publisher.published, one)
        with store_at(host) as store:
            assert store.read(one.key, "manifest.json", MIB)
            blob = Blob("disk.qcow2", one.sha256, one.size)
            store.get(one.key, blob, tmp_path / "got", tmp_path / "partial", Silent())
    assert (tmp_path / "got").read_bytes() == b"disk"


def test_the_table_of_hostile_stores_is_todays() -> None:
    """docs/pulling.md, sentence by sentence; the cases themselves are unit tests."""
    words = [sys.executable, "-m", "tests.hostile_table", "--check"]
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, "python -m tests.hostile_table --write\n" + done.stdout


def test_a_registry_that_is_away_is_a_sentence() -> None:
    with pytest.raises(RegistryRefused, match="connection refused"):
        Registry("127.0.0.1:1", plain=True).tags("golden")
