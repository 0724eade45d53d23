"""The tables at a store's root, made from the cases of a state."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import Malformed, OtherFormat
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry, Root, in_order
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, MOST_THUMBNAIL_BYTES, decode_receipt
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.storage import Storage
from ctspine_zarr.tables.stored import encode_tables

# Receipts that are held at a time.
_AT_ONCE: Final = 64
# Of larger stores no case has its picture in the table, which would not fit in memory.
_MOST_CASES: Final = 2**29 // MOST_THUMBNAIL_BYTES


def made_tables(storage: Storage, entries: Iterable[Entry], spec: Spec) -> dict[str, bytes]:
    """Key -> Parquet file of each table of a state, whose receipts are written.

    A case whose receipt is lost or altered, which a verification tells, has no picture there.

    Args:
        storage: of the store.
        entries: of the state.
        spec: of its dataset.

    Raises:
        StorageError: the receipts cannot be read.
    """
    chosen = in_order(spec, entries)
    return encode_tables([entry.record for entry in chosen], spec, _thumbnails(storage, chosen))


def kept_tables(storage: Storage, root: Root | None) -> dict[str, bytes] | None:
    """The tables that a root names, where all are there as they were written.

    They follow from the catalog and the receipts that it names, but for the version of the library that
    wrote them: of an equal catalog they hold.

    Args:
        storage: of the store.
        root: of the state; None where there is none.

    Raises:
        StorageError: they cannot be read.
    """
    if root is None or not root.tables:
        return None
    found: dict[str, bytes] = {}
    for key, written in root.tables.items():
        data = storage.get(key, most=written.bytes) if storage.size(key) == written.bytes else None
        if data is None or sha256(data) != written.sha256:
            return None
        found[key] = data
    return found


def _thumbnails(storage: Storage, entries: Sequence[Entry]) -> Iterator[bytes]:
    if len(entries) > _MOST_CASES:
        yield from itertools.repeat(b"", len(entries))
        return
    sizes = storage.sizes(layout.RECEIPTS)
    for some in itertools.batched(entries, _AT_ONCE):
        keys = [entry.record.receipt_key for entry in some]
        # One that is longer than legal is not read.
        legal = [key for key in keys if sizes.get(key, 0) <= MOST_DOCUMENT_BYTES]
        found = dict(zip(legal, storage.get_each(legal, most=MOST_DOCUMENT_BYTES), strict=True))
        yield from (_thumbnail(entry, found.get(key)) for entry, key in zip(some, keys, strict=True))


def _thumbnail(entry: Entry, data: bytes | None) -> bytes:
    if data is None or sha256(data) != entry.receipt:
        return b""
    try:
        return decode_receipt(data, entry.record.receipt_key).thumbnail
    except (Malformed, OtherFormat):
        return b""
