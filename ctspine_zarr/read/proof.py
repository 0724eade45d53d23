"""Documents of a case, proven by the catalog as they are read."""

from __future__ import annotations

from collections.abc import Callable

from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat
from ctspine_zarr.format.layout import case_in
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.storage import Storage


def proven[T](
    storage: Storage, reading: Reading, key: str, digest: str, parse: Callable[[bytes | None], T]
) -> T:
    """A document of a case; one read.

    Args:
        storage: of the store.
        reading: by which a store that was updated meanwhile is told.
        key: of the document.
        digest: its sha256, as the catalog has it.
        parse: raises Malformed or OtherFormat.

    Raises:
        DamagedStore: it is missing or altered.
        StoreUpdated: it is, since the store was updated.
    """
    data = storage.get(key, most=MOST_DOCUMENT_BYTES)
    try:
        _require_digest(data, digest)
        return parse(data)
    except (Malformed, OtherFormat) as error:
        reading.require_current(storage.location)
        message = f"{storage.location}, case {case_in(key)}: {key} is damaged ({error}); run verify"
        raise DamagedStore(message) from error


def _require_digest(data: bytes | None, digest: str) -> None:
    if data is not None and sha256(data) != digest:
        message = "its sha256 is not that in the catalog"
        raise Malformed(message)
