"""Receipts of a store: which cases are whole, so that a second run takes up where one ended."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ctspine_zarr import nifti
from ctspine_zarr.errors import CaseRefused, Malformed, OtherFormat, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.encoding import decode
from ctspine_zarr.format.receipt import Receipt, SourceFile
from ctspine_zarr.source.cases import SourceCase
from ctspine_zarr.storage import Storage


def read_receipt(storage: Storage, key: str) -> Receipt | None:
    """The receipt at a key; None where there is none, or a torn one, which claims nothing.

    Raises:
        StoreMismatch: a receipt of another format: the store is not ours to write.
    """
    try:
        receipt = decode(storage.get(key), Receipt.from_json)
    except Malformed:
        return None
    except OtherFormat as error:
        message = f"{storage.location}, {key}: {error}; build into another store"
        raise StoreMismatch(message) from error
    return receipt if PurePosixPath(key).name == f"{receipt.record.id}.json" else None


def read_receipts(storage: Storage) -> dict[str, Receipt]:
    """Case id -> receipt, for every receipt of the store that claims its case.

    Raises:
        StoreMismatch: as `read_receipt`.
    """
    found = (read_receipt(storage, key) for key in storage.keys(layout.RECEIPTS))
    return {receipt.record.id: receipt for receipt in found if receipt is not None}


def is_whole(receipt: Receipt | None, case: SourceCase, storage: Storage) -> bool:
    """Whether a case needs no building: same files, same place, every object of its size.

    A file is the same by its size and gzip's own checksum at its end, for a resumed build must
    start at once; `verify` compares every byte that is stored.
    """
    if receipt is None:
        return False
    record, files = receipt.record, receipt.files
    return (
        (record.split, record.source, record.spreadsheet) == (case.split, case.source, case.spreadsheet)
        and _is_same(files.image, case.image, case.image_bytes)
        and _is_same(files.segmentation, case.segmentation, case.segmentation_bytes)
        and all(storage.size(f"{record.path}/{key}") == o.bytes for key, o in receipt.objects.items())
    )


def _is_same(read: SourceFile, path: Path, size: int) -> bool:
    try:
        return read.bytes == size and read.ending == nifti.ending(path)
    except CaseRefused:
        return False
