"""The catalog of a store, under the signature of a trusted key.

Goes in: a store, whom to trust. Comes out: the catalog as it is now, not older than one that
was seen before.
"""

from __future__ import annotations

import time

from pipeline.publishing import catalog as catalogs
from pipeline.publishing.catalog import INDEX, NEXT, SIGNATURE, Catalog
from pipeline.publishing.signature import NotSigned, SignatureWrong
from pipeline.publishing.stores.base import Store
from pipeline.publishing.trust import Trust

SIGNATURE_SIZE = 16 << 10
_OUT_OF_STEP = 3


def current(store: Store, trust: Trust) -> tuple[bytes | None, Catalog]:
    """The catalog and its bytes; an empty one and None when the store has none yet.

    Raises what :meth:`Trust.check`, :meth:`Trust.refuse_older` and :meth:`Trust.refuse_missing`
    raise, and ``NotACatalog``.
    """
    data = _signed(store, trust)
    if data is None:
        trust.refuse_missing()
        return None, Catalog()
    found = catalogs.parse(data, f"{store.title}: {INDEX}")
    trust.refuse_older(found, data)
    return data, found


def _signed(store: Store, trust: Trust) -> bytes | None:
    """The bytes of the catalog; read again when somebody was just replacing it."""
    names = {INDEX: catalogs.LARGEST, SIGNATURE: SIGNATURE_SIZE}
    for left in reversed(range(_OUT_OF_STEP)):
        documents = store.documents("", names)
        data = documents[INDEX]
        if data is None:
            break
        try:
            _check(store, trust, data, documents[SIGNATURE])
        except SignatureWrong:
            if not left:
                raise
            time.sleep(0.1)
        else:
            return data
    return None


def _check(store: Store, trust: Trust, data: bytes, signed: bytes | None) -> None:
    try:
        trust.check(INDEX, data, signed)
    except (SignatureWrong, NotSigned):
        following = store.read("", NEXT, SIGNATURE_SIZE)
        if following is None:
            raise
        trust.check(INDEX, data, following)
