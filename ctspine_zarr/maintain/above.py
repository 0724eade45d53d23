"""The checks of a store as a whole: the documents above its cases, and what lies there beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from ctspine_zarr.errors import Malformed, StorageError
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Root, counted
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.maintain.quick import HubRecord, require_recorded
from ctspine_zarr.maintain.reports import require_here
from ctspine_zarr.manifest.claims import live_claims
from ctspine_zarr.manifest.inventory import documents_above, keys_above, own_keys, strangers
from ctspine_zarr.manifest.receipts import KeptReceipt, read_receipts
from ctspine_zarr.manifest.state import State, kept_root
from ctspine_zarr.read.proof import require_object
from ctspine_zarr.storage import Storage


def store_problems(
    state: State,
    storage: Storage,
    chosen: Collection[str],
    receipts: Iterable[KeptReceipt] | None,
    record: HubRecord | None = None,
) -> Iterator[str]:
    """Lines on what is wrong above and beside the cases of a store.

    Args:
        state: of the store.
        storage: of the store.
        chosen: ids of the cases that are verified, all where there are none: what lies in the groups of
            others is not told.
        receipts: of the cases, where they have been read.
        record: what the Hub has recorded, by which documents are compared; None to read them.

    Raises:
        StorageError: a store elsewhere than in a folder cannot be read.
    """
    if state.is_partial:
        yield "partial: its first build has not ended; run it again"
    yield from _damaged_above(state, storage, record)
    others = (one.path for case, one in state.records.items() if chosen and case not in chosen)
    beside = tuple(f"{path}/" for path in others)
    for key, what in _unclaimed(state, storage, receipts):
        if not key.startswith(beside):
            yield f"{key} {what}".lstrip()


def irregular(storage: Storage) -> Iterator[tuple[str, str]]:
    """Place and kind of what lies in a local folder and is no object."""
    for path, kind in storage.irregular():
        yield path, f"is {kind}; a store has none"


def is_right(storage: Storage, key: str, data: bytes) -> bool:
    """Whether a document is there as it should be.

    Raises:
        StorageError: it cannot be read.
    """
    return storage.get(key, most=max(len(data), MOST_DOCUMENT_BYTES)) == data


def is_there(storage: Storage, key: str, data: bytes) -> bool:
    """The same, where what cannot be read in a local folder is not there.

    Raises:
        StorageError: a store elsewhere cannot be read.
    """
    try:
        return is_right(storage, key, data)
    except StorageError as error:
        require_here(storage, error)
        return False


def has_root(storage: Storage, root: Root) -> bool:
    """Whether a root is there, whichever version wrote it; see `kept_root`.

    Raises:
        StorageError: a store elsewhere than in a folder cannot be read.
    """
    try:
        return kept_root(storage, root) is not None
    except StorageError as error:
        require_here(storage, error)
        return False


def _damaged_above(state: State, storage: Storage, record: HubRecord | None) -> Iterator[str]:
    """Documents above the cases that are not what follows from the root and the catalog."""
    for key, data in documents_above(state.root, state.entries, {}).items():
        try:
            is_root = key == layout.ROOT and kept_root(storage, state.root) is not None
            if not (is_root or _is_as_written(storage, key, data, record)):
                yield f"{key} is missing or altered; run the build again"
        except StorageError as error:
            require_here(storage, error)
            yield str(error)
    for key in wrong_tables(state.root, storage, record):
        yield f"{key} is missing or altered; run the build again"
    if not state.is_partial and state.root.cases != counted(state.spec, state.records.values()):
        yield f"{layout.ROOT} was altered: it does not count the cases that the catalog has"


def wrong_tables(root: Root, storage: Storage, record: HubRecord | None = None) -> Iterator[str]:
    """Keys of tables that are not what the root says.

    Args:
        root: of the store.
        storage: of it.
        record: what the Hub has recorded, by which they are compared; None to read them.

    Raises:
        StorageError: a store elsewhere than in a folder cannot be read.
    """
    for key, written in root.tables.items():
        try:
            if record is None:
                require_object(storage, key, written)
            else:
                require_recorded(storage, key, written, record)
        except Malformed:
            yield key
        except StorageError as error:
            require_here(storage, error)
            yield key


def _is_as_written(storage: Storage, key: str, data: bytes, record: HubRecord | None) -> bool:
    """Whether a document is as it should be, by the record, or read where that tells nothing."""
    recorded = None if record is None else record.get(key)
    if record is None or (recorded is not None and not recorded.is_usable):
        return is_right(storage, key, data)
    return recorded is not None and recorded.is_of(data)


def _unclaimed(
    state: State, storage: Storage, receipts: Iterable[KeptReceipt] | None
) -> Iterator[tuple[str, str]]:
    """Key and fault of what lies in the store, or beside its objects, and is not of its state.

    Where that cannot be listed, why; the key is empty.
    """
    try:
        yield from _others(state, storage, receipts)
        yield from irregular(storage)
    except StorageError as error:
        require_here(storage, error)
        yield "", str(error)


def _others(
    state: State, storage: Storage, receipts: Iterable[KeptReceipt] | None
) -> Iterator[tuple[str, str]]:
    if not storage.is_listable:
        return
    above = keys_above(state.root, state.entries)
    known = read_receipts(storage, to_write=False) if receipts is None else receipts
    sizes = storage.sizes()
    # What a build has written that is under way belongs to no state yet.
    is_busy = any(map(layout.is_build, sizes)) and bool(live_claims(storage))
    for key in strangers(sizes, own_keys(above, state.entries, known)):
        is_left = layout.is_written(key, state.spec.splits)
        if layout.is_build(key) and not is_busy:
            yield key, "is of a build that has not ended; run it, or finalize, again"
        elif not (is_busy and (is_left or layout.is_build(key))):
            yield key, "belongs to no case of the catalog" + "; run the build again" * is_left
