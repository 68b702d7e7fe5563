"""A store that a web server serves: the layout of a directory store, to read from.

Goes in: a URL. Comes out: its files. Nothing the server says is believed: documents have a largest
size and a deadline, everything else a digest.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from pipeline.inputs.fetch_types import Limits
from pipeline.inputs.fetch_urls import shown_url
from pipeline.inputs.http import Client
from pipeline.publishing.stores.base import Source, Store


class WebStore(Store):
    """``https://…`` or ``http://…``; read-only."""

    def __init__(self, url: str, tell: Callable[[str], None], limits: Limits | None = None) -> None:
        self._url = url.rstrip("/")
        self.title = shown_url(self._url)
        self.remote = True
        # A redirect to plain HTTP is followed, and said: signatures vouch for the content.
        self._client = Client(limits, downgrade=tell)

    def close(self) -> None:
        """Drop connections."""
        self._client.close()

    def source(self, key: str, name: str) -> Source:
        """See :class:`Store`."""
        path = f"{key}/{name}" if key else name
        return Source(f"{self._url}/{quote(path)}", self._client)
