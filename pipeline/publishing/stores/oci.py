"""What is asked of an OCI registry through the ORAS library: credentials, uploads, tags, deletion.

Goes in: blobs by digest, manifests. Comes out: their places in the registry, or one sentence on why
not. An upload that breaks off goes on where the registry says it is; one that was abandoned begins
anew, and what is there already is not sent again. Credentials are those of ``docker login``.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urljoin

from pipeline.foundation.errors import PipelineError
from pipeline.inputs.fetch_urls import shown_url

PIECE = 16 << 20
TRIES = 5
PATIENCE = (20.0, 300.0)
"""Seconds to connect, and from one byte to the next."""
_DONE = (200, 201, 202, 204)
Pieces = Callable[[int], Iterator[bytes]]
"""The bytes of a blob from an offset on, in pieces of at most ``PIECE``."""


class RegistryRefused(PipelineError):
    """The registry said no; ``status`` is its answer, 0 when there was none."""

    def __init__(self, message: str, *, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Registry:
    """One registry, by host name and port; ``plain``: without TLS, on this host only."""

    def __init__(self, host: str, *, plain: bool, backoff: float = 1.0) -> None:
        self.host, self.url = host, f"{'http' if plain else 'https'}://{host}"
        self._plain, self._backoff = plain, backoff
        self._headers: dict[str, str] = {}

    @functools.cached_property
    def _client(self) -> Any:
        """The library's client, with the kind of credentials that the registry asks for."""
        import oras.provider

        client = oras.provider.Registry(self.host, insecure=self._plain)
        # The library sets no time limit, and repeats in vain for two minutes.
        client.session.request = functools.partial(client.session.request, timeout=PATIENCE)
        client.session.trust_env = not self._plain  # a registry of this host is behind no proxy
        challenge = client.session.get(f"{self.url}/v2/").headers.get("Www-Authenticate", "")
        if challenge.lower().startswith("basic"):
            client = oras.provider.Registry(self.host, insecure=self._plain, auth_backend="basic")
            client.session.trust_env = not self._plain
            client.session.request = functools.partial(client.session.request, timeout=PATIENCE)
        client.auth.load_configs(client.get_container(f"{self.host}/any/thing"))
        return client

    def authorise(self, url: str) -> dict[str, str]:
        """The headers that let one read ``url``."""
        self.ask("HEAD", url, ok=(*_DONE, 404))
        return dict(self._headers)

    def ask(self, method: str, url: str, *, ok: tuple[int, ...] = _DONE, **more: Any) -> Any:
        """One request; anything but ``ok`` is raised as :class:`RegistryRefused`."""
        with _sentences(url):
            response = self._send(method, url, **more)
            if response.status_code == 401:  # a token for reading does not do for writing
                self._client.auth.token = None
                response = self._send(method, url, **more)
            if response.status_code not in ok:
                raise _refused(method, url, response)
            return response

    def _send(self, method: str, url: str, **more: Any) -> Any:
        client = self._client
        plain = type(client).do_request.__wrapped__  # without the library's repetitions
        headers = {**more.pop("headers", {}), **self._headers}
        response = plain(client, url, method, headers=headers, **more)
        if getattr(client.auth, "token", None) or getattr(client.auth, "_basic_auth", None):
            with contextlib.suppress(AttributeError, NotImplementedError):
                self._headers = dict(client.auth.get_auth_header())
        return response

    def digest(self, repository: str, reference: str, accept: str) -> str | None:
        """The digest of a manifest by its tag; None when there is none."""
        url = f"{self.url}/v2/{repository}/manifests/{reference}"
        response = self.ask("HEAD", url, ok=(200, 404), headers={"Accept": accept})
        found: str | None = response.headers.get("Docker-Content-Digest")
        return found if response.status_code == 200 else None

    def put_manifest(self, repository: str, reference: str, body: bytes, form: str) -> None:
        """Put a manifest under a tag or its own digest."""
        url = f"{self.url}/v2/{repository}/manifests/{reference}"
        self.ask("PUT", url, data=body, headers={"Content-Type": form})

    def tags(self, repository: str) -> list[str]:
        """Every tag of a repository; none when there is no such repository."""
        found: list[str] = []
        url = f"{self.url}/v2/{repository}/tags/list"
        while url:
            response = self.ask("GET", url, ok=(200, 404))
            if response.status_code == 404:
                break
            found += response.json().get("tags") or []
            following = response.links.get("next", {}).get("url", "")
            url = urljoin(url, following) if following else ""
        return found

    def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest and every tag on it; raises where the registry does not allow that."""
        url = f"{self.url}/v2/{repository}/manifests/{digest}"
        self.ask("DELETE", url, ok=(*_DONE, 404))

    def upload(self, repository: str, digest: str, size: int, pieces: Pieces) -> bool:
        """Bring a blob there, unless it is; returns whether anything was sent."""
        blob = f"{self.url}/v2/{repository}/blobs/{digest}"
        if self.ask("HEAD", blob, ok=(200, 404)).status_code == 200:
            return False
        begun = self.ask("POST", f"{self.url}/v2/{repository}/blobs/uploads/")
        session = self._session(begun)
        sent = failures = 0
        while sent < size:
            try:
                for data in pieces(sent):
                    session = self._patch(session, sent, data)
                    sent, failures = sent + len(data), 0
                break
            except RegistryRefused:
                failures += 1
                if failures > TRIES:
                    raise
                time.sleep(self._backoff * 2**failures)
                session, sent = self._resume(session, sent)
        joint = "&" if "?" in session else "?"
        self.ask("PUT", f"{session}{joint}{urlencode({'digest': digest})}")
        return True

    def _patch(self, session: str, sent: int, data: bytes) -> str:
        """Send one piece; returns where the next one goes."""
        headers = {
            "Content-Range": f"{sent}-{sent + len(data) - 1}",
            "Content-Length": str(len(data)),
            "Content-Type": "application/octet-stream",
        }
        return self._session(self.ask("PATCH", session, data=data, headers=headers))

    def _resume(self, session: str, sent: int) -> tuple[str, int]:
        """How far the registry has come, after a failure that may have been only ours."""
        try:
            response = self.ask("GET", session)
        except RegistryRefused:
            return session, sent
        last = response.headers.get("Range", "").rpartition("-")[2]
        done = int(last) + 1 if last.isdecimal() and last != "0" else 0
        return self._session(response, session), done

    def _session(self, response: Any, known: str = "") -> str:
        location: str = response.headers.get("Location", "") or known
        if not location:
            raise RegistryRefused(f"{self.host}: does not say where to upload to")
        return urljoin(self.url, location)


@contextlib.contextmanager
def _sentences(url: str) -> Iterator[None]:
    """Turn the library's exceptions into a sentence; requests' are all OSErrors."""
    try:
        yield
    except (OSError, ValueError, AttributeError) as error:
        from pipeline.inputs.fetch_reasons import reason

        asks = isinstance(error, ValueError | AttributeError)
        why = "asks for credentials" if asks else reason(error, PATIENCE[1])
        hint = "docker login, podman login or skopeo login keep them where they are found: "
        raise RegistryRefused(
            f"{shown_url(url)}: {why}",
            hint=f"{hint}~/.docker/config.json" if asks else "check the registry and its address",
        ) from error


def _refused(method: str, url: str, response: Any) -> RegistryRefused:
    said = ""
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        errors: list[Mapping[str, Any]] = response.json().get("errors", [])
        said = "; ".join(str(error.get("message", "")) for error in errors)[:200]
    text = f"{shown_url(url)}: {method} answered {response.status_code} {said or response.reason}"
    hint = {
        401: "log in first: docker login, podman login or skopeo login",
        403: "this account may not do that in this repository",
        405: "the registry does not allow deletion (for docker-registry: storage.delete.enabled)",
    }.get(response.status_code, "")
    return RegistryRefused(text.rstrip(), hint=hint, status=response.status_code)
