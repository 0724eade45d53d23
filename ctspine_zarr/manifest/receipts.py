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


def read_receipts(storage: Storage) -> list[Receipt]:
    """Every receipt of a store that holds, in order of key; torn and altered ones claim nothing.

    Raises:
        StoreMismatch: a receipt of another format: the store is not ours to write.
    """
    keys = [key for key in storage.sizes(layout.RECEIPTS) if key.endswith(".json")]
    return [receipt for receipt in _each(storage, keys) if receipt is not None]


def _each(storage: Storage, keys: list[str]) -> Iterable[Receipt | None]:
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        found = all_at_once(lambda key: storage.get(key, most=MOST_DOCUMENT_BYTES), some)
        for key, data in zip(some, found, strict=True):
            yield _parsed(storage, key, data)


def _parsed(storage: Storage, key: str, data: bytes | None) -> Receipt | None:
    try:
        return decode_receipt(data, key)
    except Malformed:
        return None
    except OtherFormat as error:
        message = f"{storage.location}, {key}: {error}; build into another store"
        raise StoreMismatch(message) from error
