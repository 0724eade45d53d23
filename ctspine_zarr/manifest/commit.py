"""The commit protocol: a case exists when its receipt does, a state when the root that names it does.

It needs no rename, so that it holds in a bucket as in a folder: a case is written to a place that
no state names, its receipt last; then the documents above the cases, the root last; then what no
state names any more is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import structs

from ctspine_zarr.errors import StorageError
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import MOST_CATALOG_BYTES, Provenance, Root, encode_root
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, Receipt, encode_receipt
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.inventory import case_folders
from ctspine_zarr.storage import Storage


def placed(record: Record, earlier: Record | None) -> Record:
    """The record of a case, in a group where no reader of another state reads.

    Args:
        record: of the case.
        earlier: of the case of that id which the store has, whose group may be open: the same content
            goes to the same place, other content to a place of its own.
    """
    if earlier is None:
        return structs.replace(record, is_replaced=False)
    is_same = (earlier.content, earlier.split, earlier.source) == (
        record.content,
        record.split,
        record.source,
    )
    return structs.replace(record, is_replaced=earlier.is_replaced if is_same else True)


def begin(storage: Storage, spec: Spec, provenance: Provenance) -> None:
    """Write the root of a store whose first build begins: it opens, as what it is.

    Raises:
        StorageError: the store could not be written.
    """
    root = Root(dataset=spec, catalog=None, cases={}, refused=(), provenance=provenance)
    put_changed(storage, layout.ROOT, encode_root(root))


def commit_case(
    objects: Mapping[str, bytes | bytearray | memoryview], receipt: Receipt, put: Callable[[str, Any], None]
) -> None:
    """Write a case: its objects in their order, then the receipt that makes it exist.

    Args:
        objects: key below the case's group -> bytes.
        receipt: of the case.
        put: writes an object of the store.
    """
    for key, data in objects.items():
        put(f"{receipt.record.path}/{key}", data)
    put(receipt.key, encode_receipt(receipt))


def switch(storage: Storage, documents: Mapping[str, bytes]) -> None:
    """Make a state hold, whose cases are all written.

    Args:
        storage: of the store.
        documents: above the cases, the root the last: its put is the switch.

    Raises:
        StorageError: the store could not be written, or no reader would take the documents: the state
            before holds.
    """
    for key, size, most in too_large(documents):
        message = f"{key} would have {size} bytes; legal: at most {most}, in a store of fewer cases"
        raise StorageError(message)
    for key, data in documents.items():
        put_changed(storage, key, data)


def sweep(storage: Storage, keys: Iterable[str], splits: Iterable[str]) -> None:
    """Remove what no state names any more, and what killed writers leave. Nobody else may be writing.

    Args:
        storage: of the store.
        keys: of objects.
        splits: of this state and of those before it.

    Raises:
        StorageError: something could not be removed: the state holds nevertheless.
    """
    for key in keys:
        storage.remove(key)
    storage.clean([*case_folders(splits), layout.BUILDS.removesuffix("/")])


def put_changed(storage: Storage, key: str, data: bytes) -> None:
    """Write a document, where it is not there already: a store that is whole is not written to.

    Raises:
        StorageError: it could not be written.
    """
    if not is_put(storage, key, data):
        storage.put(key, data)


def is_put(storage: Storage, key: str, data: bytes) -> bool:
    """Whether an object is there already, with these bytes."""
    return storage.size(key) == len(data) and storage.get(key, most=len(data)) == data


def too_large(objects: Mapping[str, bytes | bytearray | memoryview]) -> Iterator[tuple[str, int, int]]:
    """Key, size and legal size of each document that no reader would take; shards are none."""
    for key, data in objects.items():
        is_long = layout.is_catalog(key) or layout.is_table(key)
        most = MOST_CATALOG_BYTES if is_long else MOST_DOCUMENT_BYTES
        if len(data) > most and not key.endswith(layout.SHARD):
            yield key, len(data), most
