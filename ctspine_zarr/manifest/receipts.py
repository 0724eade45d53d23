"""Receipts as a store has them: each proves itself by its seal and its place, or claims nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import Malformed, OtherFormat, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, Receipt, decode_receipt
from ctspine_zarr.storage import Storage

# Receipts, and their bytes as listed, that are held at a time.
_AT_ONCE: Final = 256
_BYTES_AT_ONCE: Final = MOST_DOCUMENT_BYTES


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """A receipt that lies in a store.

    Attributes:
        receipt: what it says, but for the counts of HU and the thumbnail, of which a store has more than
            memory holds.
        sha256: of its bytes, which a later version may have written with fields of its own.
    """

    receipt: Receipt
    sha256: str

    @property
    def entry(self) -> Entry:
        """The case's line of the catalog."""
        return Entry(self.receipt.record, self.sha256, self.receipt.group.sha256)


def read_receipts(storage: Storage, *, to_write: bool = True) -> list[KeptReceipt]:
    """Every receipt of a store that holds; torn and altered ones claim nothing.

    In order of key, but those of cases that took another's place first: of two of a case, the newer.

    Args:
        storage: of the store.
        to_write: whether one of another format is an error; else it claims nothing as well.

    Raises:
        StoreMismatch: a receipt of another format: the store is not ours to write.
    """
    listed = storage.sizes(layout.RECEIPTS).items()
    sizes = {key: size for key, size in listed if key.endswith(".json") and size <= MOST_DOCUMENT_BYTES}
    found = [one for one in _each(storage, sizes, to_write=to_write) if one is not None]
    return sorted(found, key=lambda one: not one.receipt.record.is_replaced)


def _each(storage: Storage, sizes: Mapping[str, int], *, to_write: bool) -> Iterator[KeptReceipt | None]:
    for keys in batches(sizes):
        yield from _some(storage, keys, to_write=to_write)


def _some(storage: Storage, keys: list[str], *, to_write: bool) -> Iterator[KeptReceipt | None]:
    found = storage.get_each(keys, most=MOST_DOCUMENT_BYTES)
    for key, data in zip(keys, found, strict=True):
        yield _parsed(storage, key, data, to_write=to_write)


def batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """The keys in order, so many at a time as may be held; one that is larger by itself.

    Args:
        sizes: key -> bytes.
    """
    batch: list[str] = []
    room = _BYTES_AT_ONCE
    for key, size in sizes.items():
        if batch and (size > room or len(batch) == _AT_ONCE):
            yield batch
            batch, room = [], _BYTES_AT_ONCE
        batch.append(key)
        room -= size
    if batch:
        yield batch


def _parsed(storage: Storage, key: str, data: bytes | None, *, to_write: bool) -> KeptReceipt | None:
    try:
        receipt = decode_receipt(data, key)
        kept = structs.replace(receipt, foreground={}, foreground_of_sets={}, thumbnail=b"")
        return KeptReceipt(kept, sha256(data or b""))
    except Malformed:
        return None
    except OtherFormat as error:
        if not to_write:
            return None
        message = f"{storage.location}, {key}: {error}; build into another store"
        raise StoreMismatch(message) from error
