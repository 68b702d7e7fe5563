"""Why a pull ends: an exit code for each kind of failure.

Goes in: nothing. Comes out: the codes with their meaning, for ``--help`` and docs/pulling.md, and
the error that carries one.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.foundation.errors import PipelineError

EXIT_CODES: Mapping[int, str] = {
    0: "the version is here, verified",
    1: "something on this host went wrong, such as a full disk",
    2: "wrong use",
    3: "a program is missing on this host",
    20: "the store did not answer, broke off, or sent fewer or more bytes than announced",
    21: "the catalog or the version is not signed",
    22: "a signature does not fit what it should sign",
    23: "signed, but by another key than the trusted one",
    25: "the catalog is older than the one seen before, or gone",
    26: "a file is not the one in the signed list",
    27: "what the store sent is no catalog, list or manifest, is too large, or names odd paths",
    28: "the version was withdrawn; --force pulls it all the same",
    29: "the store has no such image or version",
    30: "signed by a key that is not known here yet",
    130: "interrupted",
}


class PullFailed(PipelineError):
    """A pull ended; ``exit_code`` tells why, see ``EXIT_CODES``."""

    def __init__(self, code: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = code
