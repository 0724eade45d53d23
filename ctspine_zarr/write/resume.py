"""The test whether a case is whole already, so that a second run takes up where one ended."""

from __future__ import annotations

from collections.abc import Mapping

from ctspine_zarr import nifti
from ctspine_zarr.datasets.cases import CaseFile, SourceCase
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.format.receipt import Receipt, SourceFile
from ctspine_zarr.sources.source import Source


def is_whole(receipt: Receipt, case: SourceCase, source: Source, sizes: Mapping[str, int]) -> bool:
    """Whether a case needs no building: same files, same place, every object of its size.

    A file is the same by its size and the sha256 that the source has a record of, else by gzip's
    own checksum at its end, for a resumed build must start at once; `verify` compares every byte
    that is stored.

    Args:
        receipt: of an earlier build, proven by its seal.
        case: as the source has it now.
        source: of the case.
        sizes: of the store's objects.
    """
    record, files = receipt.record, receipt.files
    return (
        (record.split, record.source) == (case.split, case.source)
        and (record.patient_id, record.transitional) == (case.patient_id, case.transitional)
        and record.spreadsheet == case.spreadsheet
        and _is_same(files.image, case.image, source)
        and _is_same(files.segmentation, case.segmentation, source)
        and all(sizes.get(key) == one.bytes for key, one in receipt.keys.items())
    )


def _is_same(read: SourceFile | None, file: CaseFile | None, source: Source) -> bool:
    if read is None or file is None:
        return read is None and file is None
    if file.sha256 is not None:
        return (read.bytes, read.sha256) == (file.bytes, file.sha256)
    path = source.local(file)
    try:
        return path is not None and read.bytes == file.bytes and read.ending == nifti.ending(path)
    except CaseRefused:
        return False
