"""Receipts as a store has them: each proves itself by its seal and its place, or claims nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ctspine_zarr.errors import Malformed, OtherFormat, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, Receipt, decode_receipt
from ctspine_zarr.storage import Storage, all_at_once

# Read together where each read is a round trip; more would only wait for one another.
_AT_ONCE: Final = 256


def read_receipts(storage: Storage, *, to_write: bool = True) -> list[Receipt]:
    """Every receipt of a store that holds, in order of key; torn and altered ones claim nothing.

    Args:
        storage: of the store.
        to_write: whether one of another format is an error; else it claims nothing as well.

    Raises:
        StoreMismatch: a receipt of another format: the store is not ours to write.
    """
    keys = [key for key in storage.sizes(layout.RECEIPTS) if key.endswith(".json")]
    return [receipt for receipt in _each(storage, keys, to_write=to_write) if receipt is not None]


def _each(storage: Storage, keys: list[str], *, to_write: bool) -> Iterable[Receipt | None]:
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        found = all_at_once(lambda key: storage.get(key, most=MOST_DOCUMENT_BYTES), some)
        for key, data in zip(some, found, strict=True):
            yield _parsed(storage, key, data, to_write=to_write)


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
