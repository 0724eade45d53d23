"""Receipts of a store: which cases are whole, so that a second run takes up where one ended."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import PurePosixPath

from ctspine_zarr import nifti
from ctspine_zarr.errors import CaseRefused, Malformed, OtherFormat, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.encoding import decode
from ctspine_zarr.format.receipt import Receipt, SourceFile
from ctspine_zarr.source.cases import CaseFile, Source, SourceCase
from ctspine_zarr.storage import Storage


def read_receipt(storage: Storage, key: str) -> Receipt | None:
    """The receipt at a key; None where there is none, or a torn one, which claims nothing.

    Raises:
        StoreMismatch: a receipt of another format: the store is not ours to write.
    """
    return _parsed(storage, key, storage.get(key))


def _parsed(storage: Storage, key: str, data: bytes | None) -> Receipt | None:
    try:
        receipt = decode(data, Receipt.from_json)
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
    keys = list(storage.sizes(layout.RECEIPTS))
    found = map(_parsed, itertools.repeat(storage), keys, storage.get_each(keys))
    return {receipt.record.id: receipt for receipt in found if receipt is not None}


def is_whole(receipt: Receipt | None, case: SourceCase, source: Source, sizes: Mapping[str, int]) -> bool:
    """Whether a case needs no building: same files, same place, every object of its size.

    A file is the same by its size and the sha256 that the source has a record of, else by gzip's
    own checksum at its end, for a resumed build must start at once; `verify` compares every byte
    that is stored.

    Args:
        receipt: of an earlier build.
        case: as the source has it now.
        source: of the case.
        sizes: of the store's objects.
    """
    if receipt is None:
        return False
    record, files = receipt.record, receipt.files
    return (
        (record.split, record.source, record.spreadsheet) == (case.split, case.source, case.spreadsheet)
        and _is_same(files.image, case.image, source)
        and _is_same(files.segmentation, case.segmentation, source)
        and all(sizes.get(f"{record.path}/{key}") == o.bytes for key, o in receipt.objects.items())
    )


def _is_same(read: SourceFile, file: CaseFile, source: Source) -> bool:
    if file.sha256 is not None:
        return (read.bytes, read.sha256) == (file.bytes, file.sha256)
    path = source.local(file)
    try:
        return path is not None and read.bytes == file.bytes and read.ending == nifti.ending(path)
    except CaseRefused:
        return False
