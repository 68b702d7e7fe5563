"""A local HTTP server that behaves as well or as badly as a test says.

Goes in: a body, and for each coming request a behaviour (the good one when the script has run out).
Comes out: a URL, and afterwards the list of requests with what was sent to each. All ends with
the ``with`` block; a behaviour that hangs does so only until then.
"""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Behaviour = Callable[["Handler"], None]
PATIENCE = 30.0


@dataclass
class Seen:
    """One request, and how much of a body was sent in answer."""

    path: str
    headers: Message
    sent: int = 0


@dataclass
class Site:
    """What a server serves, what it will do, and what it saw."""

    body: bytes = b""
    etag: str = '"one"'
    modified: str = ""
    script: list[Behaviour] = field(default_factory=list)
    always: Behaviour | None = None
    seen: list[Seen] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> Behaviour:
        with self.lock:
            return self.script.pop(0) if self.script else self.always or good

    @property
    def ranges(self) -> list[str | None]:
        return [one.headers.get("Range") for one in self.seen]


class Handler(BaseHTTPRequestHandler):
    """Runs the next behaviour of the site for each request."""

    protocol_version = "HTTP/1.1"
    server: Server
    record: Seen

    def do_GET(self) -> None:
        site = self.server.site
        self.record = Seen(self.path, self.headers)
        with site.lock:
            site.seen.append(self.record)
        try:
            site.next()(self)
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass

    def head(self, status: int, headers: dict[str, str], *, validators: bool = True) -> None:
        site = self.server.site
        self.send_response(status)
        if validators and site.etag:
            self.send_header("ETag", site.etag)
        if validators and site.modified:
            self.send_header("Last-Modified", site.modified)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()
        self.record.sent += len(data)

    def wanted(self) -> tuple[int, int] | None:
        """First and last byte asked for, when the range is to be honoured."""
        text, site = self.headers.get("Range"), self.server.site
        condition = self.headers.get("If-Range")
        if not text or (condition and condition not in (site.etag, site.modified)):
            return None
        first, _, last = text.removeprefix("bytes=").partition("-")
        return int(first), min(int(last or len(site.body)), len(site.body) - 1)


class Server(ThreadingHTTPServer):
    """The listening socket; ``with`` starts and ends it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, site: Site, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.site = site
        self.scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def url(self, name: str = "artifact.bin") -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up, or does not trust us, is what tests are about."""

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, args=(0.005,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.site.closing.set()
        self.shutdown()
        self.server_close()


# Behaviours


def good(handler: Handler) -> None:
    """Ranges, If-Range, a length, a validator: as it should be."""
    body, wanted = handler.server.site.body, handler.wanted()
    if wanted is None:
        handler.head(200, {"Content-Length": str(len(body)), "Accept-Ranges": "bytes"})
        handler.send(body)
    elif wanted[0] >= len(body):
        handler.head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
    else:
        part = body[wanted[0] : wanted[1] + 1]
        extent = f"bytes {wanted[0]}-{wanted[1]}/{len(body)}"
        handler.head(206, {"Content-Length": str(len(part)), "Content-Range": extent})
        handler.send(part)


def without_ranges(handler: Handler) -> None:
    """Always the whole."""
    body = handler.server.site.body
    handler.head(200, {"Content-Length": str(len(body))})
    handler.send(body)


def cut(count: int, then: Behaviour = good) -> Behaviour:
    """Announce what ``then`` would, send ``count`` bytes of it, close the connection."""

    def behave(handler: Handler) -> None:
        whole = handler.send

        def send(data: bytes) -> None:
            whole(data[:count])
            handler.close_connection = True

        handler.send = send  # type: ignore[method-assign]
        try:
            then(handler)
        finally:
            handler.send = whole  # type: ignore[method-assign]

    return behave


def stall(count: int) -> Behaviour:
    """Send ``count`` bytes, then nothing more, with the connection open."""

    def behave(handler: Handler) -> None:
        body = handler.server.site.body
        handler.head(200, {"Content-Length": str(len(body))})
        handler.send(body[:count])
        handler.server.site.closing.wait(PATIENCE)
        handler.close_connection = True

    return behave


def drip(every: float) -> Behaviour:
    """One byte after the other."""

    def behave(handler: Handler) -> None:
        site = handler.server.site
        handler.head(200, {"Content-Length": str(len(site.body))})
        for value in site.body:
            handler.send(bytes([value]))
            if site.closing.wait(every):
                break
        handler.close_connection = True

    return behave


def drip_headers(every: float) -> Behaviour:
    """A status line, then header after header without an end."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not handler.server.site.closing.wait(every):
            handler.wfile.write(b"X")
            handler.wfile.flush()
        handler.close_connection = True

    return behave


def silent(handler: Handler) -> None:
    """Accept the request and never answer."""
    handler.server.site.closing.wait(PATIENCE)
    handler.close_connection = True


def status(code: int, **headers: str) -> Behaviour:
    """A bare status; ``retry_after="1"`` becomes the header Retry-After."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}

    def behave(handler: Handler) -> None:
        handler.head(code, {"Content-Length": "0"} | named, validators=False)

    return behave


def redirect(target: str, code: int = 302) -> Behaviour:
    """Send the client elsewhere."""
    return status(code, location=target)


def answer(body: bytes, headers: dict[str, str] | None = None, code: int = 200) -> Behaviour:
    """Another body, as it is."""

    def behave(handler: Handler) -> None:
        handler.head(code, {"Content-Length": str(len(body))} | (headers or {}))
        handler.send(body)

    return behave


def zipped(handler: Handler) -> None:
    """Compress although that was not wanted."""
    answer(gzip.compress(handler.server.site.body), {"Content-Encoding": "gzip"})(handler)


def no_length(body: bytes | None = None) -> Behaviour:
    """No length: the end of the connection is the end of the body."""

    def behave(handler: Handler) -> None:
        handler.head(200, {"Connection": "close"})
        handler.send(handler.server.site.body if body is None else body)
        handler.close_connection = True

    return behave


def chunked(handler: Handler) -> None:
    """The body in chunks, without a length."""
    handler.head(200, {"Transfer-Encoding": "chunked"})
    body = handler.server.site.body
    for at in range(0, len(body), 1000):
        piece = body[at : at + 1000]
        handler.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.send(b"0\r\n\r\n")


def cut_chunk(count: int) -> Behaviour:
    """Close the connection ``count`` bytes into the only chunk; no length was ever announced."""

    def behave(handler: Handler) -> None:
        body = handler.server.site.body
        handler.head(200, {"Transfer-Encoding": "chunked"})
        handler.send(b"%x\r\n%s" % (len(body), body[:count]))
        handler.close_connection = True

    return behave


def endless(handler: Handler) -> None:
    """A body without end."""
    handler.head(200, {"Connection": "close"})
    while not handler.server.site.closing.is_set():
        handler.send(handler.server.site.body)
    handler.close_connection = True


def announcing(length: int) -> Behaviour:
    """The body under a wrong length."""

    def behave(handler: Handler) -> None:
        handler.head(200, {"Content-Length": str(length)})
        handler.send(handler.server.site.body)
        handler.close_connection = True

    return behave


def part_of(first: int, etag: str | None = None, total: int | None = None) -> Behaviour:
    """A 206 that begins at ``first`` whatever was asked, perhaps of another file."""

    def behave(handler: Handler) -> None:
        body = handler.server.site.body
        extent = f"bytes {first}-{len(body) - 1}/{total or len(body)}"
        headers = {"Content-Range": extent, "Content-Length": str(len(body) - first)}
        if etag:
            headers["ETag"] = etag
        handler.head(206, headers, validators=etag is None)
        handler.send(body[first:])

    return behave


def replaced(body: bytes, etag: str) -> Behaviour:
    """The file is replaced on the server before this request is answered."""

    def behave(handler: Handler) -> None:
        handler.server.site.body, handler.server.site.etag = body, etag
        good(handler)

    return behave
