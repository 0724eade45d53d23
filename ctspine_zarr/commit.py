"""The commit protocol: a case exists when its receipt does, and goes when its receipt goes.

It needs no rename, so that it holds in a bucket as in a folder.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import PurePosixPath

from ctspine_zarr.errors import Malformed, OtherFormat, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.encoding import decode
from ctspine_zarr.format.receipt import Receipt
from ctspine_zarr.storage import Storage


def read_receipt(storage: Storage, key: str) -> Receipt | None:
    """The receipt at a key; None where there is none, or a torn one, which claims nothing.

    Raises:
        StoreMismatch: a receipt of another format: the store is not ours to write.
    """
    return _parsed(storage, key, storage.get(key))


def read_receipts(storage: Storage) -> dict[str, Receipt]:
    """Case id -> receipt, for every receipt of the store that claims its case.

    Raises:
        StoreMismatch: as `read_receipt`.
    """
    keys = list(storage.sizes(layout.RECEIPTS))
    found = map(_parsed, itertools.repeat(storage), keys, storage.get_each(keys))
    return {receipt.record.id: receipt for receipt in found if receipt is not None}


def forget(storage: Storage, case: str, path: str, written: Iterable[str]) -> None:
    """Remove what an interrupted attempt, or other files of that name, left of a case.

    Args:
        storage: of the store.
        case: its id.
        path: of its group, where it will be written.
        written: keys below it that will be written over.
    """
    earlier = read_receipt(storage, layout.receipt_key(case))
    if earlier is not None:
        # The catalog describes the case that is about to be replaced; it is written anew at the end.
        storage.remove(layout.CATALOG)
        storage.remove(layout.receipt_key(case))
        storage.remove_below(earlier.record.path, earlier.objects)
    storage.remove_below(path, set(layout.SHARDS).difference(written))


def _parsed(storage: Storage, key: str, data: bytes | None) -> Receipt | None:
    try:
        receipt = decode(data, Receipt.from_json)
    except Malformed:
        return None
    except OtherFormat as error:
        message = f"{storage.location}, {key}: {error}; build into another store"
        raise StoreMismatch(message) from error
    return receipt if PurePosixPath(key).name == f"{receipt.record.id}.json" else None
