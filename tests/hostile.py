"""Hostile stores: what each tries, and what a pull from it must end with.

Goes in: an empty folder. Comes out: for a case, the exit code, the sentence and how many bytes were
written outside the cache. ``python -m tests.hostile_table`` prints them all.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import gzip
import hashlib
import io
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from pipeline.cli.main import main
from pipeline.publishing import catalog, signature
from pipeline.publishing.catalog import Catalog, Entry
from pipeline.publishing.stores import oci_manifest as manifests
from tests import services

DISK = b"QFI\xfb" + bytes(range(256)) * 64
VERSION = services.VERSION
NEWER = "26100.1-20261123.2"
Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Serves a folder, but for the paths that have a reply of their own."""

    protocol_version = "HTTP/1.1"
    server: Shop

    def do_GET(self) -> None:
        reply = self.server.replies.get(self.path)
        file = self.server.root / self.path.lstrip("/")
        with contextlib.suppress(ConnectionError):
            if reply:
                reply(self)
            elif file.is_file():
                self.answer(file.read_bytes())
            else:
                self.answer(b"not here", 404)

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        length = headers.pop("length", str(len(body)))
        if length:
            self.send_header("Content-Length", length)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Shop(ThreadingHTTPServer):
    """The store's server on loopback."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.replies: dict[str, Reply] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.005,), daemon=True).start()
        return self

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what this is about."""

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


@dataclass
class World:
    """An honest store with one version, about to be made hostile; and a host that pulls."""

    base: Path
    shop: Shop
    other: Shop
    place: str = ""
    wanted: str = "toy"
    options: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = self.base / "keys" / "key"
        self.published = self.shop.root
        self.place = self.shop.url
        self.folder = self.published / "toy" / VERSION
        self.options = ["--trust", services.fingerprint(self.key)]

    @property
    def entry(self) -> Entry:
        return services.entry(disk=DISK)

    @property
    def path(self) -> str:
        return f"/toy/{VERSION}/"

    def pull(self) -> tuple[int, str]:
        said = io.StringIO()
        words = ["pull", self.wanted, "--from", self.place, "--retries", "0", *self.options]
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = main(words)
        sentence = said.getvalue().partition("golden: ")[2].partition("\n  hint:")[0]
        return code, " ".join(sentence.split())

    def sign(self, file: Path) -> None:
        signature.sign(file, self.key)

    def catalog(self, document: object) -> None:
        """A catalog as somebody with the publisher's key might make it."""
        index = self.published / catalog.INDEX
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        index.write_bytes(data)
        self.sign(index)

    def listed(self, **changes: object) -> None:
        """The catalog with one field of its only version changed, and properly signed."""
        entry = self.entry.data() | changes
        document = {"newest": entry["version"], "versions": [entry]}
        self.catalog({"schema": 1, "serial": 5, "images": {"toy": document}})

    def sums(self, line: str) -> None:
        """The signed list with one line more."""
        sums = self.folder / "SHA256SUMS"
        sums.write_text(sums.read_text() + line)
        self.sign(sums)

    def newer(self, serial_more: int) -> None:
        """Let this host see a newer catalog, then show the old one again."""
        index, sig = self.published / catalog.INDEX, self.published / catalog.SIGNATURE
        old = index.read_bytes(), sig.read_bytes()
        seen = catalog.parse(old[0], "")
        more = Catalog(seen.serial + serial_more, seen.images)
        if not serial_more:
            more = more.having(services.entry(NEWER, DISK))
            more = Catalog(seen.serial, more.images)
        self.catalog(more.data())
        self.wanted = "toy@26100.1-20261123.9"
        assert self.pull()[0] == 29  # nothing is pulled, the catalog is seen
        self.wanted = "toy"
        index.write_bytes(old[0])
        sig.write_bytes(old[1])


def endless(start: bytes = b"") -> Reply:
    """A body without a length and without an end."""

    def reply(handler: Handler) -> None:
        handler.answer(start, length="", Connection="close")
        while True:
            handler.wfile.write(b"x" * (1 << 20))

    return reply


def body(data: bytes, status: int = 200, **headers: str) -> Reply:
    return lambda handler: handler.answer(data, status, **headers)


def cut(data: bytes, announced: int) -> Reply:
    """Fewer bytes than announced."""

    def reply(handler: Handler) -> None:
        handler.answer(data, length=str(announced))
        handler.close_connection = True

    return reply


def to(target: str) -> Reply:
    return body(b"", 302, Location=target)


# Cases: each makes the world hostile. Its docstring is what the store does.


def honest(world: World) -> None:
    """nothing wrong"""


def swapped_disk(world: World) -> None:
    """another disk of the same size"""
    world.shop.replies[world.path + "disk.qcow2"] = body(DISK[::-1])


def swapped_file(world: World) -> None:
    """another manifest than the signed list says"""
    world.shop.replies[world.path + "manifest.json"] = body(b"{}")


def swapped_version(world: World) -> None:
    """an older, signed version in the place of a newer one"""
    newer = services.entry(NEWER, DISK)
    services.publish(world.published, world.key, newer, DISK)
    shutil.rmtree(world.published / newer.key)
    shutil.copytree(world.folder, world.published / newer.key)


def two_disks(world: World) -> None:
    """a catalog and a list that name different disks, both signed"""
    world.listed(sha256="0" * 64)


def older_catalog(world: World) -> None:
    """a catalog older than the one seen, properly signed"""
    world.newer(100)


def forked_catalog(world: World) -> None:
    """another catalog under the serial number of the one seen"""
    world.newer(0)


def changed_catalog(world: World) -> None:
    """a catalog changed after it was signed"""
    index = world.published / catalog.INDEX
    index.write_bytes(index.read_bytes().replace(b'"yanked": false', b'"yanked": true '))


def foreign_signature(world: World) -> None:
    """the signature of another file"""
    world.shop.replies["/index.json.sig"] = body((world.folder / "SHA256SUMS.sig").read_bytes())


def garbage_signature(world: World) -> None:
    """a signature that is none"""
    world.shop.replies["/index.json.sig"] = body(b"-----BEGIN SSH SIGNATURE-----\nno\n")


def changed_list(world: World) -> None:
    """a list of digests changed after it was signed"""
    sums = (world.folder / "SHA256SUMS").read_bytes()
    world.shop.replies[world.path + "SHA256SUMS"] = body(sums.upper().lower() + b"\n")


def another_key(world: World) -> None:
    """everything signed by another key"""
    world.key = services.signing_key(world.base / "keys", "other")
    world.listed()


def list_by_another_key(world: World) -> None:
    """a list of digests signed by another key than the catalog"""
    signature.sign(world.folder / "SHA256SUMS", services.signing_key(world.base / "keys", "b"))


def unsigned_catalog(world: World) -> None:
    """a catalog without a signature"""
    (world.published / catalog.SIGNATURE).unlink()


def unsigned_version(world: World) -> None:
    """a list of digests without a signature"""
    (world.folder / "SHA256SUMS.sig").unlink()


def stranger(world: World) -> None:
    """a store met for the first time, with nobody to ask"""
    world.options = []


def parent_name(world: World) -> None:
    """a signed list that names ../../evil"""
    world.sums(f"{hashlib.sha256(b'not here').hexdigest()}  ../../evil\n")


def absolute_name(world: World) -> None:
    """a signed list that names an absolute path"""
    world.sums(f"{'0' * 64}  /etc/cron.d/evil\n")


def hidden_name(world: World) -> None:
    """a signed list that names a hidden file"""
    world.sums(f"{'0' * 64}  .profile\n")


def twice(world: World) -> None:
    """a signed list that names a file twice"""
    world.sums(f"{'0' * 64}  manifest.json\n")


def file_and_folder(world: World) -> None:
    """a signed list that names a file below another file"""
    world.sums(f"{'0' * 64}  manifest.json/evil\n")


def odd_image(world: World) -> None:
    """a signed catalog with an image called ../toy"""
    entry = world.entry.data()
    world.catalog({"schema": 1, "serial": 5, "images": {"../toy": {"versions": [entry]}}})
    world.wanted = "../toy"


def odd_version(world: World) -> None:
    """a signed catalog with a version called ../../evil"""
    world.listed(version="../../evil")


def odd_disk(world: World) -> None:
    """a signed catalog whose disk is called ../disk.qcow2"""
    world.listed(disk="../disk.qcow2")


def odd_size(world: World) -> None:
    """a signed catalog with a disk of -1 bytes"""
    world.listed(size=-1)


def not_json(world: World) -> None:
    """a signed catalog that is no JSON"""
    world.catalog(b"<html>welcome</html>")


def nested(world: World) -> None:
    """a signed catalog nested a hundred thousand deep"""
    world.catalog(b"[" * 100_000)


def endless_catalog(world: World) -> None:
    """a catalog without end"""
    world.shop.replies["/index.json"] = endless()


def large_catalog(world: World) -> None:
    """a catalog of 17 MiB"""
    world.shop.replies["/index.json"] = body(b" " * (17 << 20))


def cut_catalog(world: World) -> None:
    """a catalog that breaks off"""
    data = (world.published / catalog.INDEX).read_bytes()
    world.shop.replies["/index.json"] = cut(data[:50], len(data))


def endless_disk(world: World) -> None:
    """the right disk, and bytes without end after it"""
    world.shop.replies[world.path + "disk.qcow2"] = endless(DISK)


def endless_garbage(world: World) -> None:
    """another disk, without end"""
    world.shop.replies[world.path + "disk.qcow2"] = endless(b"garbage")


def endless_file(world: World) -> None:
    """a report without end"""
    world.shop.replies[world.path + "report.html"] = endless()


def truncated_disk(world: World) -> None:
    """a disk that breaks off"""
    world.shop.replies[world.path + "disk.qcow2"] = cut(DISK[:100], len(DISK))


def short_disk(world: World) -> None:
    """a shorter disk than the catalog says"""
    world.shop.replies[world.path + "disk.qcow2"] = body(DISK[:-1])


def long_disk(world: World) -> None:
    """a longer disk than the catalog says"""
    world.shop.replies[world.path + "disk.qcow2"] = body(DISK + b"x")


def compressed(world: World) -> None:
    """a disk compressed although that was not asked for"""
    data = gzip.compress(DISK)
    world.shop.replies[world.path + "disk.qcow2"] = body(data, Content_Encoding="gzip")


def to_another_host(world: World) -> None:
    """a redirect to another host that has the right disk"""
    world.other.replies["/d"] = body(DISK)
    world.shop.replies[world.path + "disk.qcow2"] = to(f"{world.other.url}/d")


def to_a_liar(world: World) -> None:
    """a redirect to another host that has another disk"""
    world.other.replies["/d"] = body(DISK[::-1])
    world.shop.replies[world.path + "disk.qcow2"] = to(f"{world.other.url}/d")


def to_a_file(world: World) -> None:
    """a redirect to a file of this host"""
    world.shop.replies[world.path + "manifest.json"] = to("file:///etc/passwd")


def in_a_circle(world: World) -> None:
    """redirects in a circle"""
    world.shop.replies["/index.json"] = to("/a")
    world.shop.replies["/a"] = to("/index.json")


def on_and_on(world: World) -> None:
    """redirects without end"""
    for number in range(20):
        world.shop.replies[f"/{number}"] = to(f"/{number + 1}")
    world.shop.replies["/index.json"] = to("/0")


def broken_server(world: World) -> None:
    """an error for every request"""
    world.shop.replies["/index.json"] = body(b"oops", 500)


def empty_store(world: World) -> None:
    """no catalog at all"""
    world.place = f"{world.shop.url}/nothing/here"


def withdrawn(world: World) -> None:
    """a version that was withdrawn"""
    world.listed(yanked=True)
    world.wanted = f"toy@{VERSION}"


def link_in_a_folder(world: World) -> None:
    """a folder whose disk is a symbolic link to a file elsewhere"""
    elsewhere = world.base / "elsewhere"
    elsewhere.write_bytes(DISK)
    (world.folder / "disk.qcow2").unlink()
    (world.folder / "disk.qcow2").symlink_to(elsewhere)
    world.place = str(world.published)


def pipe_in_a_folder(world: World) -> None:
    """a folder whose catalog is a pipe that nobody writes to"""
    (world.published / catalog.INDEX).unlink()
    os.mkfifo(world.published / catalog.INDEX)
    world.place = str(world.published)


def folder_in_a_folder(world: World) -> None:
    """a folder whose manifest is a folder"""
    (world.folder / "manifest.json").unlink()
    (world.folder / "manifest.json").mkdir()
    world.place = str(world.published)


def registry_of(world: World) -> dict[str, Reply]:
    """The version in a registry, as replies."""
    made = manifests.DiskLayer.of(world.folder / "disk.qcow2")
    layer = made.layer()
    names = [path for path in sorted(world.folder.iterdir()) if path.name != "disk.qcow2"]
    index = [world.published / catalog.INDEX, world.published / catalog.SIGNATURE]
    base, replies = "/v2/golden", dict[str, Reply]()
    for where, tag, files in (
        (f"{base}/toy", f"{VERSION}.files", names),
        (base, "catalog", index),
    ):
        layers = []
        for path in files:
            data = path.read_bytes()
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            layers.append(manifests.Layer(path.name, digest, len(data)))
            replies[f"{where}/blobs/{digest}"] = body(data)
        replies[f"{where}/manifests/{tag}"] = body(manifests.artifact(layers, {}, None))
    image = manifests.image(layer, b"{}", {})
    replies[f"{base}/toy/manifests/{VERSION}"] = body(image)
    tar = b"".join(made.pieces(0, 1 << 20))
    replies[f"{base}/toy/blobs/{layer.digest}"] = body(tar)
    world.place = f"oci://127.0.0.1:{world.shop.server_port}/golden"
    return replies


def honest_registry(world: World) -> None:
    """a registry that ignores ranges, nothing wrong"""
    world.shop.replies |= registry_of(world)


def registry_with_another_disk(world: World) -> None:
    """a registry whose layer holds another disk"""
    replies = registry_of(world)
    blob = next(
        path for path in replies
        if path.startswith("/v2/golden/toy/blobs/") and path.endswith(_layer_digest(world))
    )  # fmt: skip
    replies[blob] = body(b"\0" * 1024 + DISK[::-1] + b"\0" * 2048)
    world.shop.replies |= replies


def _layer_digest(world: World) -> str:
    return manifests.DiskLayer.of(world.folder / "disk.qcow2").layer().digest


def _image_of(world: World, **changes: Any) -> None:
    replies = registry_of(world)
    layer = manifests.DiskLayer.of(world.folder / "disk.qcow2").layer()
    wrong = manifests.image(dataclasses.replace(layer, **changes), b"{}", {})
    replies[f"/v2/golden/toy/manifests/{VERSION}"] = body(wrong)
    world.shop.replies |= replies


def registry_with_odd_digest(world: World) -> None:
    """a registry whose manifest names a layer ../../secret"""
    _image_of(world, digest="../../secret")


def registry_with_odd_offset(world: World) -> None:
    """a registry whose disk lies outside its layer"""
    _image_of(world, offset=1 << 40)


def registry_with_large_manifest(world: World) -> None:
    """a registry with a manifest without end"""
    replies = registry_of(world)
    replies[f"/v2/golden/toy/manifests/{VERSION}"] = endless(b"{")
    replies[f"/v2/golden/toy/manifests/{VERSION}.files"] = endless(b"{")
    world.shop.replies |= replies


def registry_with_odd_title(world: World) -> None:
    """a registry that offers a file called ../../evil besides"""
    replies = registry_of(world)
    data = b"evil"
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    known = json.loads(_body_of(replies[f"/v2/golden/toy/manifests/{VERSION}.files"]))
    known["layers"].append(manifests.Layer("../../evil", digest, 4, data=data).descriptor())
    replies[f"/v2/golden/toy/manifests/{VERSION}.files"] = body(json.dumps(known).encode())
    world.shop.replies |= replies


def _body_of(reply: Reply) -> bytes:
    class Catch:
        def answer(self, data: bytes, *_: object, **__: object) -> None:
            self.data = data

    catch = Catch()
    reply(catch)  # type: ignore[arg-type]
    return catch.data


CASES: dict[Callable[[World], None], int] = {
    honest: 0,
    swapped_disk: 26,
    swapped_file: 26,
    swapped_version: 26,
    two_disks: 26,
    older_catalog: 25,
    forked_catalog: 25,
    changed_catalog: 22,
    foreign_signature: 22,
    garbage_signature: 22,
    changed_list: 22,
    another_key: 23,
    list_by_another_key: 23,
    unsigned_catalog: 21,
    unsigned_version: 21,
    stranger: 30,
    parent_name: 27,
    absolute_name: 27,
    hidden_name: 27,
    twice: 27,
    file_and_folder: 27,
    odd_image: 27,
    odd_version: 27,
    odd_disk: 27,
    odd_size: 27,
    not_json: 27,
    nested: 27,
    endless_catalog: 27,
    large_catalog: 27,
    cut_catalog: 20,
    endless_disk: 0,
    endless_garbage: 26,
    endless_file: 20,
    truncated_disk: 20,
    short_disk: 20,
    long_disk: 20,
    compressed: 20,
    to_another_host: 0,
    to_a_liar: 26,
    to_a_file: 20,
    in_a_circle: 20,
    on_and_on: 20,
    broken_server: 20,
    empty_store: 29,
    withdrawn: 28,
    link_in_a_folder: 27,
    pipe_in_a_folder: 27,
    folder_in_a_folder: 27,
    honest_registry: 0,
    registry_with_another_disk: 26,
    registry_with_odd_digest: 27,
    registry_with_odd_offset: 27,
    registry_with_large_manifest: 27,
    registry_with_odd_title: 0,
}


@functools.cache
def prepared() -> Path:
    """A key and an honest store, made once; every case has its own copy."""
    base = Path(tempfile.mkdtemp(prefix="hostile-stores-"))
    atexit.register(shutil.rmtree, base)
    services.publish(base / "store", services.signing_key(base / "keys"), disk=DISK)
    return base


@dataclass(frozen=True)
class Row:
    """What came of a case."""

    case: str
    code: int
    sentence: str
    outside: int
    pulled: list[str]


def _files(base: Path) -> dict[Path, tuple[int, int]]:
    found = {}
    for path in base.rglob("*"):
        if path.is_file() or path.is_symlink():
            state = path.lstat()
            found[path] = (state.st_size, state.st_mtime_ns)
    return found


@contextlib.contextmanager
def _surroundings(base: Path) -> Iterator[None]:
    """Everything a pull could write to lies below ``base``: home, temporary files, the folder."""
    before, where, temporary = dict(os.environ), Path.cwd(), tempfile.tempdir
    for name in ("home", "cwd", "tmp"):
        (base / name).mkdir(parents=True)
    os.environ |= {
        "HOME": str(base / "home"),
        "TMPDIR": str(base / "tmp"),
        "GOLDEN_OUTPUT": str(base / "output"),
        "GOLDEN_CACHE": str(base / "cache"),
        "NO_PROXY": "127.0.0.1",
    }
    tempfile.tempdir = str(base / "tmp")
    os.chdir(base / "cwd")
    try:
        yield
    finally:
        os.chdir(where)
        tempfile.tempdir = temporary
        os.environ.clear()
        os.environ.update(before)


def run(case: Callable[[World], None], base: Path) -> Row:
    """Pull from a store as ``case`` makes it; ``base`` is empty."""
    shutil.copytree(prepared(), base)
    (base / "other").mkdir()
    with _surroundings(base), Shop(base / "store") as shop, Shop(base / "other") as other:
        world = World(base, shop, other)
        case(world)
        before = _files(base)
        code, sentence = world.pull()
        after = _files(base)
    changed = [path for path in after if before.get(path) != after[path]]
    outside = [path for path in changed if not path.is_relative_to(base / "cache")]
    pulled = [
        str(path.relative_to(base / "cache" / "images"))
        for path in after
        if path.is_relative_to(base / "cache" / "images") and ".part" not in str(path)
    ]
    written = sum(after[path][0] for path in outside)
    text = sentence.replace(str(base), "").replace(f":{shop.server_port}", "")
    text = text.replace(f":{other.server_port}", ":81")
    return Row(case.__doc__ or "", code, text, written, sorted(pulled))
