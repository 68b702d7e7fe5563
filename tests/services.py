"""Debian's nginx, docker-registry and a made-up version, for tests of stores.

Goes in: a folder. Comes out: a server on loopback that ends with its ``with`` block, and version
folders as ``publish`` makes them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline.foundation.process import find_program
from pipeline.foundation.waiting import wait_until
from pipeline.publishing import catalog, signature
from pipeline.publishing.catalog import Entry

REGISTRY = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: {delete}}}
http: {{addr: "127.0.0.1:{port}", relativeurls: true, secret: some}}
{auth}
"""
# bcrypt of "secret", for htpasswd.
PASSWORD = "golden:$2b$04$1HETO4DwzvZ0mQ947HnBjO2oVfak/6liBOx1XVYbddPdgJpsNyNPW\n"
NGINX = """daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
  access_log {folder}/access.log; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; root "{root}"; sendfile on; }}
}}
"""
VERSION = "26100.1-20261123.1"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def _running(words: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            wait_until(f"{words[0]} answers", lambda: _answers(port), 20, 0.05)
            yield server
        finally:
            server.terminate()
            server.wait(20)


@contextlib.contextmanager
def registry(
    folder: Path, *, delete: bool = True, port: int = 0, password: bool = False
) -> Iterator[str]:
    """A docker-registry over ``folder``; gives ``host:port``."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yml"
    (folder / "htpasswd").write_text(PASSWORD)
    auth = f"auth: {{htpasswd: {{realm: here, path: {folder / 'htpasswd'}}}}}" if password else ""
    facts = {"folder": folder / "data", "delete": str(delete).lower(), "port": port, "auth": auth}
    config.write_text(REGISTRY.format(**facts))
    program = str(find_program("docker-registry"))
    with _running([program, "serve", str(config)], port, folder / "registry.log"):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def nginx(folder: Path, root: Path) -> Iterator[str]:
    """An nginx that serves ``root``; gives its URL."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, root=root, port=port))
    words = [str(find_program("nginx")), "-p", str(folder), "-c", str(config)]
    with _running(words, port, folder / "nginx.log"):
        yield f"http://127.0.0.1:{port}"


def signing_key(folder: Path, name: str = "key") -> Path:
    """A key to sign with."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / name
    if not key.exists():
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return key


def fingerprint(key: Path) -> str:
    return signature.fingerprint(signature.public_key(key))


def entry(version: str = VERSION, disk: bytes = b"disk", **more: object) -> Entry:
    """What the catalog says of a made-up version."""
    facts = {"rehearsal": True, "expires_at": None, "built_at": "2026-11-23T10:00:00Z"} | more
    return Entry(
        image="toy", version=version, build_id=f"id-{version}", disk="disk.qcow2",
        size=len(disk), sha256=hashlib.sha256(disk).hexdigest(), **facts,  # type: ignore[arg-type]
    )  # fmt: skip


def version_folder(published: Path, key: Path, one: Entry, disk: bytes = b"disk") -> Path:
    """A version as ``publish`` leaves it: disk, manifest, another file, digests, signature."""
    folder = published / one.image / one.version
    folder.mkdir(parents=True)
    (folder / one.disk).write_bytes(disk)
    about = {"file": one.disk, "size": one.size, "sha256": one.sha256}
    manifest = {
        "schema": 1, "image": one.image, "version": one.version, "disk": about,
        "rehearsal": one.rehearsal,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "report.html").write_text(f"<!doctype html><title>{one.version}</title>")
    write_sums(folder, key)
    return folder


def write_sums(folder: Path, key: Path) -> None:
    """``SHA256SUMS`` over what is there, and its signature."""
    names = sorted(p for p in folder.rglob("*") if p.is_file() and "SHA256SUMS" not in p.name)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
        for path in names
    ]
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(lines))
    signature.sign(sums, key)


def publish(published: Path, key: Path, one: Entry | None = None, disk: bytes = b"disk") -> Path:
    """A version folder and its line in a signed catalog; returns the folder."""
    one = one or entry(disk=disk)
    folder = version_folder(published, key, one, disk)
    catalog.add(published / catalog.INDEX, one, lambda file: signature.sign(file, key))
    return folder
