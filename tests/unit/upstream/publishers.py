"""Publishers on loopback: a driver archive, a GitHub, links to media; as good or bad as one says.

Goes in: files and releases. Comes out: one TLS server that answers as those upstreams do, a small
checkout whose pins point at it, and ``golden refresh`` on that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certifi
import pytest

from pipeline.cli.main import main
from pipeline.definitions.loader import load
from pipeline.definitions.model import Pin
from pipeline.foundation import paths
from pipeline.foundation.files import sha256_bytes
from pipeline.foundation.paths import Workspace
from tests.servers import Behaviour, Handler, Server, Site, answer, redirect, status
from tests.unit.fetch.conftest import certificate
from tests.unit.media.making import SERVER, disc, image_xml, wim

ARCHIVE = "/virtio/archive/"
ISO = bytes(32768) + b"\x01CD001\x01" + bytes(4096)
MSI = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)


def iso(mark: str, size: int = 40_000) -> bytes:
    """Something that begins like a disc; another mark makes another file of the same size."""
    return (ISO + mark.encode()).ljust(size, b"\0")


def msi(mark: str, size: int = 1000) -> bytes:
    return (MSI + mark.encode()).ljust(size, b"\0")


def medium(build: int, language: str = "en-US", names: Sequence[str] = ()) -> bytes:
    """A Windows medium of a build, with Server's editions or others."""
    rows = [(name, "ServerStandardEval", "Server") for name in names] or list(SERVER)
    images = "".join(image_xml(number, *row) for number, row in enumerate(rows, start=1))
    xml = f"<WIM>{images}</WIM>".replace("<SPBUILD>32230", f"<SPBUILD>{build}")
    return disc({"sources/install.wim": wim(xml.replace("en-US", language))})


def served(body: bytes, etag: str = "") -> Behaviour:
    """A file with ranges and a tag of its own."""
    tag = etag or f'"{sha256_bytes(body)[:8]}"'

    def behave(handler: Handler) -> None:
        text = handler.headers.get("Range")
        condition = handler.headers.get("If-Range")
        head = {"ETag": tag}
        if not text or (condition and condition != tag):
            handler.head(200, head | {"Content-Length": str(len(body))}, validators=False)
            handler.send(body)
            return
        first, _, last = text.removeprefix("bytes=").partition("-")
        part = body[int(first) : int(last or len(body)) + 1]
        extent = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
        head |= {"Content-Range": extent, "Content-Length": str(len(part))}
        handler.head(206, head, validators=False)
        handler.send(part)

    return behave


@dataclass
class Publishers:
    """The server, what it has, and the checkout that is refreshed from it."""

    root: Path
    server: Server
    routes: dict[str, Behaviour] = field(default_factory=dict)

    @property
    def site(self) -> Site:
        return self.server.site

    @property
    def workspace(self) -> Workspace:
        return Workspace.default()

    def url(self, path: str) -> str:
        return self.server.url(path.lstrip("/"))

    def asked(self, part: str = "") -> list[str]:
        return [seen.path for seen in self.site.seen if part in seen.path]

    def sent(self, path: str) -> int:
        return sum(seen.sent for seen in self.site.seen if seen.path == path)

    # Upstreams

    def archive(self, discs: dict[str, bytes], listed: Sequence[str] | None = None) -> None:
        """An archive of driver discs by version-packaging, with Apache's kind of listing."""
        names = [f"virtio-win-{label}" for label in (discs if listed is None else listed)]
        rows = "".join(f'<tr><td><a href="{name}/">{name}/</a></td></tr>' for name in names)
        listing = f'<html><body><a href="../">Parent</a><table>{rows}</table></body></html>'
        self.routes[ARCHIVE] = answer(listing.encode(), {"Content-Type": "text/html"})
        for label, data in discs.items():
            version = label.rpartition("-")[0]
            self.routes[f"{ARCHIVE}virtio-win-{label}/virtio-win-{version}.iso"] = served(data)

    def github(self, *releases: dict[str, Any], repository: str = "winfsp/winfsp") -> None:
        """The API, the downloads and the feed of a repository, newest release first."""
        api = f"/api/v3/repos/{repository}/releases?per_page=30"
        self.routes[api] = answer(json.dumps(releases).encode())
        links = "".join(
            f'<entry><link href="{self.url(repository)}/releases/tag/{one["tag_name"]}"/></entry>'
            for one in releases
        )
        self.routes[f"/{repository}/releases.atom"] = answer(f"<feed>{links}</feed>".encode())

    def release(
        self, tag: str, name: str = "", data: bytes = b"", *, digest: bool = True, **more: Any
    ) -> dict[str, Any]:
        """A release, with one asset when it has a name."""
        path = f"/winfsp/winfsp/releases/download/{tag}/{name}"
        asset = {
            "name": name,
            "size": len(data),
            "state": "uploaded",
            "browser_download_url": self.url(path),
            "digest": f"sha256:{sha256_bytes(data)}" if digest else None,
        }
        if name:
            self.routes[path] = served(data)
        base = {"tag_name": tag, "draft": False, "prerelease": False}
        return base | {"assets": [asset] if name else []} | more

    def link(self, target: str) -> None:
        """Where Microsoft's link leads to now."""
        self.routes["/fwlink/?linkid=1"] = redirect(self.url(target))

    # The checkout

    def pin_drivers(self, version: str, data: bytes, *mirrors: str, extra: str = "") -> None:
        path = f"virtio-win-{version}-1/virtio-win-{version}.iso"
        urls = [self.url(ARCHIVE + path), *(f"{mirror}{path}" for mirror in mirrors)]
        self.pin("virtio-win", version, "iso", urls, data, ARCHIVE, extra)

    def pin_winfsp(self, version: str, tag: str, data: bytes, remark: str = "") -> None:
        url = self.url(f"/winfsp/winfsp/releases/download/{tag}/winfsp-{version}.msi")
        self.pin("winfsp", version, "msi", [url], data, "/winfsp/winfsp/releases", remark=remark)

    def pin_windows(self, path: str, data: bytes, build: int, extra: str = "") -> None:
        editions = "".join(
            f'      - {{index: {number}, name: "{row[0]}"}}\n'
            for number, row in enumerate(SERVER, start=1)
        )
        media = (
            f'{extra}  media:\n    build: "26100.{build}"\n    architecture: amd64\n'
            f"    language: en-US\n    evaluation_days: 180\n    editions:\n{editions}"
        )
        url = self.url(path)
        self.pin("windows", f"26100.{build}", "iso", [url], data, "/fwlink/?linkid=1", media)

    def pin(
        self,
        name: str,
        version: str,
        kind: str,
        urls: Sequence[str],
        data: bytes,
        upstream: str,
        extra: str = "",
        remark: str = "",
    ) -> None:
        lines = "".join(f"    - {url}\n" for url in urls)
        text = (
            f'# About {name}.\n\n{name}:\n  version: "{version}"{remark}\n  kind: {kind}\n'
            f'  urls:\n{lines}  sha256: "{sha256_bytes(data)}"\n  size: {len(data)}\n'
            f"  upstream: {self.url(upstream)}\n{extra}"
            f'\n# An old one, held.\n{name}-old:\n  version: "0.1"\n  kind: {kind}\n'
            f'  urls: ["https://example.org/old"]\n  sha256: "{"0" * 64}"\n'
        )
        self.file(name).write_text(text)

    def file(self, name: str) -> Path:
        return self.root / "checksums" / f"{name}.yaml"

    def now(self, name: str) -> Pin:
        return load(self.workspace, {}).pins[name]


@dataclass
class Said:
    """What ``golden refresh`` printed, and its exit code."""

    code: int
    out: str
    err: str


Refresh = Callable[..., Said]


@contextmanager
def serving(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publishers]:
    """The server alone, trusted beside everybody who was trusted before."""
    pem, bundle = certificate(folder), folder / "bundle.pem"
    before = os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where()
    bundle.write_bytes(Path(before).read_bytes() + b"\n" + pem.read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    with Server(Site(etag=""), pem) as server:
        made = Publishers(root, server)

        def route(handler: Handler) -> None:
            made.routes.get(handler.path, status(404))(handler)

        server.site.always = route
        yield made


@contextmanager
def publishers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publishers]:
    """The server, and an empty checkout that is refreshed in this process."""
    root = tmp_path / "check out"
    for name in ("checksums", "images"):
        (root / name).mkdir(parents=True)
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setenv("GOLDEN_OUTPUT", str(tmp_path / "out put"))
    monkeypatch.setenv("GOLDEN_CACHE", str(tmp_path / "cache"))
    with serving(tmp_path, root, monkeypatch) as made:
        yield made


def refreshed(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    capsys.readouterr()
    code = main(["refresh", *words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return Said(code, said.out, said.err)
