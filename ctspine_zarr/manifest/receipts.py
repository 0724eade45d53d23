"""Receipts as a store has them: each proves itself by its seal and its place, or claims nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ctspine_zarr.errors import Malformed, OtherFormat, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, Receipt, decode_receipt
from ctspine_zarr.storage import Storage

# Receipts, and their bytes as listed, that are held at a time.
_AT_ONCE: Final = 256
_BYTES_AT_ONCE: Final = MOST_DOCUMENT_BYTES


def read_receipts(storage: Storage, *, to_write: bool = True) -> list[Receipt]:
    """Every receipt of a store that holds, in order of key; torn and altered ones claim nothing.

    Args:
        storage: of the store.
        to_write: whether one of another format is an error; else it claims nothing as well.

    Raises:
        StoreMismatch: a receipt of another format: the store is not ours to write.
    """
    sizes = {key: size for key, size in storage.sizes(layout.RECEIPTS).items() if key.endswith(".json")}
    return [receipt for receipt in _each(storage, sizes, to_write=to_write) if receipt is not None]


def _each(storage: Storage, sizes: Mapping[str, int], *, to_write: bool) -> Iterator[Receipt | None]:
    for keys in _batches(sizes):
        yield from _some(storage, keys, to_write=to_write)


def _some(storage: Storage, keys: list[str], *, to_write: bool) -> Iterator[Receipt | None]:
    found = storage.get_each(keys, most=MOST_DOCUMENT_BYTES)
    for key, data in zip(keys, found, strict=True):
        yield _parsed(storage, key, data, to_write=to_write)


def _batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """The keys in order, so many at a time as may be held; one that is larger by itself."""
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


def _parsed(storage: Storage, key: str, data: bytes | None, *, to_write: bool) -> Receipt | None:
    try:
        return decode_receipt(data, key)
    except Malformed:
        return None
    except OtherFormat as error:
        if not to_write:
            return None
        message = f"{storage.location}, {key}: {error}; build into another store"
        raise StoreMismatch(message) from error
