"""What went wrong below HTTP, as words for people.

Goes in: an exception of the HTTP libraries. Comes out: a few words without the URL that libraries
put into theirs (its query may be a secret), and whether trying again may help.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from pipeline.foundation.units import human_seconds

_NAMED = {
    "ConnectTimeout": "no connection in time",
    "ConnectTimeoutError": "no connection in time",
    "InvalidURL": "the URL is malformed",
    "MissingSchema": "the URL is malformed",
    "InvalidSchema": "the URL is neither http nor https",
    "LocationParseError": "the URL is malformed",
    "InvalidProxyURL": "the proxy in the environment is malformed",
    "IncompleteRead": "broke off before its announced end",
    "RemoteDisconnected": "closed the connection without an answer",
    "ConnectionResetError": "reset the connection",
    "BadStatusLine": "answered something other than HTTP",
    "InvalidHeader": "answered with malformed headers",
    "InvalidChunkLength": "broke off within its chunked body",
}
_FINAL = ("InvalidURL", "MissingSchema", "InvalidSchema", "LocationParseError", "InvalidProxyURL")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and everything it wraps, outermost first."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop(0)
        if isinstance(found, BaseException) and found not in seen:
            seen.append(found)
            yield found
            waiting += [found.__cause__, getattr(found, "reason", None), *found.args]
            waiting.append(found.__context__)


def reason(error: BaseException, stall: float) -> str:
    """Why a request or a transfer failed, in a few words."""
    chain = list(_chain(error))
    through = (
        "through the proxy: " if any("ProxyError" in type(one).__name__ for one in chain) else ""
    )
    return through + _innermost(chain, stall)


def _innermost(chain: list[BaseException], stall: float) -> str:
    for one in reversed(chain):
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {one.verify_message}"
        if isinstance(one, socket.gaierror):
            return f"the host name does not resolve: {one.strerror}"
        if isinstance(one, ssl.SSLError):
            return f"TLS failed: {one.reason or one.strerror}"
    names = {type(one).__name__ for one in chain}
    if "ReadTimeoutError" in names or "ReadTimeout" in names:
        return f"stalled: nothing came for {human_seconds(stall)}"
    known = [text for name, text in _NAMED.items() if name in names]
    if known:
        return known[0]
    system = [one.strerror for one in chain if isinstance(one, OSError) and one.strerror]
    return system[-1].lower() if system else type(chain[0]).__name__


def is_passing(error: BaseException) -> bool:
    """Whether the same request may work later."""
    chain = list(_chain(error))
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in chain):
        return False
    return not any(type(one).__name__ in _FINAL for one in chain)
