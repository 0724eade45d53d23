"""Receipts of a store: which cases are whole, so that a second run takes up where one ended."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from ctspine_zarr.format import layout
from ctspine_zarr.format.records import Receipt
from ctspine_zarr.source.cases import SourceCase
from ctspine_zarr.storage import Storage


def read_receipt(storage: Storage, key: str) -> Receipt | None:
    """The receipt at a key; None where there is none of this format."""
    data = storage.get(key)
    try:
        receipt = Receipt.from_json(json.loads(data or b""))
    except (ValueError, KeyError, TypeError):
        return None
    return receipt if PurePosixPath(key).name == f"{receipt.record.id}.json" else None


def read_receipts(storage: Storage) -> dict[str, Receipt]:
    """Case id -> receipt, for every receipt that can be read; a torn one claims nothing."""
    found = (read_receipt(storage, key) for key in storage.keys(layout.RECEIPTS))
    return {receipt.record.id: receipt for receipt in found if receipt is not None}


def is_whole(receipt: Receipt | None, case: SourceCase, storage: Storage) -> bool:
    """Whether a case needs no building: same files, same place, every object of its size.

    Sizes only, for a resumed build must start at once; `verify` compares every byte.
    """
    if receipt is None:
        return False
    record = receipt.record
    same_files = (receipt.image.bytes, receipt.segmentation.bytes) == (
        case.image_bytes,
        case.segmentation_bytes,
    )
    same_place = (record.split, record.source) == (case.split, case.source)
    return (
        same_files
        and same_place
        and record.spreadsheet == case.spreadsheet
        and all(
            storage.size(f"{record.path}/{key}") == stored.bytes for key, stored in receipt.objects.items()
        )
    )
