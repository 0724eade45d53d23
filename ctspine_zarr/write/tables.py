"""The tables at a store's root, made from the cases of a state."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import Malformed, OtherFormat, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import MOST_CATALOG_BYTES, Entry, Root, in_order, tables_named
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, MOST_THUMBNAIL_BYTES, decode_receipt
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.storage import Storage

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
        StoreMismatch: a file of others lies in the place of a table.
        StorageError: the receipts cannot be read.
    """
    # Arrow takes a third of a second to import, which those who build cases need not wait for.
    from ctspine_zarr.tables.stored import encode_tables

    require_own_tables(storage)
    chosen = in_order(spec, entries)
    return encode_tables([entry.record for entry in chosen], spec, _thumbnails(storage, chosen))


def require_own_tables(storage: Storage) -> None:
    """Do nothing where no file of others lies in the place of a table, which would be written over.

    Ours is what the root there names, and what has the mark of our tables, such as those that a killed
    process has put before the root.

    Raises:
        StoreMismatch: one does.
        StorageError: it cannot be read.
    """
    there = [key for key in layout.TABLES if storage.size(key) is not None]
    if not there:
        return
    named = tables_named(storage.get(layout.ROOT, most=MOST_DOCUMENT_BYTES))
    for key in there:
        if key not in named and not _is_ours(storage.get(key, most=MOST_CATALOG_BYTES)):
            message = (
                f"{storage.location} holds a {key} that is no table of a store; legal: that file elsewhere, "
                "or another place for the store"
            )
            raise StoreMismatch(message)


def _is_ours(data: bytes | None) -> bool:
    from ctspine_zarr.tables.parquet import is_marked

    return data is None or is_marked(data)


def kept_tables(storage: Storage, root: Root) -> dict[str, bytes]:
    """The tables that a root names, where all are there as they were written; else none.

    They follow from the catalog and the receipts that it names, but for the version of the library that
    wrote them: of an equal catalog they hold.

    Args:
        storage: of the store.
        root: of the state.

    Raises:
        StorageError: they cannot be read.
    """
    found: dict[str, bytes] = {}
    for key, written in root.tables.items():
        data = storage.get(key, most=written.bytes) if storage.size(key) == written.bytes else None
        if data is None or sha256(data) != written.sha256:
            return {}
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
