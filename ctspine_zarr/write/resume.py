"""The test whether a case is whole already, so that a second run takes up where one ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ctspine_zarr.datasets.cases import CaseFile, SourceCase
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import Malformed, OtherFormat
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.profiles import PROFILES
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, Receipt, SourceFile, decode_receipt
from ctspine_zarr.format.record import Record
from ctspine_zarr.manifest.holdings import Holdings
from ctspine_zarr.storage import Storage
from ctspine_zarr.write.document import PlanDocument, PlannedCase
from ctspine_zarr.write.plan import PendingCase


def is_whole(receipt: Receipt, case: SourceCase, sizes: Mapping[str, int]) -> bool:
    """Whether a case needs no building: same files, same place, every object of its size.

    A file is the same by its size and the sha256 that the source has a record of, else by gzip's
    own checksum at its end, for a resumed build must start at once; `verify` compares every byte
    that is stored.

    Args:
        receipt: of an earlier build, proven by its seal.
        case: as the source has it now.
        sizes: of the store's objects.
    """
    record, files = receipt.record, receipt.files
    return (
        (record.split, record.source) == (case.split, case.source)
        and (record.patient_id, record.transitional) == (case.patient_id, case.transitional)
        and record.spreadsheet == case.spreadsheet
        and _is_same(files.image, case.image)
        and _is_same(files.segmentation, case.segmentation)
        and all(sizes.get(key) == one.bytes for key, one in receipt.keys.items())
    )


def _is_same(read: SourceFile | None, file: CaseFile | None) -> bool:
    if read is None or file is None:
        return read is None and file is None
    return is_file(read, file)


def is_file(read: SourceFile, file: CaseFile) -> bool:
    """Whether a file that was read is, as far as can be told at once, the one that a source has now."""
    if file.sha256 is not None:
        return (read.bytes, read.sha256) == (file.bytes, file.sha256)
    return (read.bytes, read.ending) == (file.bytes, file.ending)


def built_meanwhile(pending: PendingCase, storage: Storage) -> Entry | None:
    """The line of the catalog of a case that a build of the same plan has finished; None where none has.

    Of a case that takes another's place the place is not known before it is encoded.
    """
    if pending.earlier is not None:
        return None
    key = layout.receipt_key(pending.case.id)
    data = storage.get(key, most=MOST_DOCUMENT_BYTES)
    if data is None:
        return None
    try:
        receipt = decode_receipt(data, key)
    except (Malformed, OtherFormat):
        return None
    sizes = {found: size for found in receipt.keys if (size := storage.size(found)) is not None}
    entry = Entry(receipt.record, sha256(data), receipt.group.sha256)
    return entry if is_whole(receipt, pending.case, sizes) else None


def whole_cases(
    document: PlanDocument, chosen: Iterable[PlannedCase], holdings: Holdings, sizes: Mapping[str, int]
) -> dict[str, Entry]:
    """Case id -> its line of the catalog, where a receipt says that the case needs no building.

    Args:
        document: of the plan.
        chosen: cases of it.
        holdings: what the store has.
        sizes: of the store's objects.
    """
    found: dict[str, Entry] = {}
    for planned in chosen:
        receipts = holdings.receipts.get(planned.case.id, ())
        own = (one for one in receipts if has_form(one.receipt.record, document))
        whole = next((one for one in own if is_whole(one.receipt, planned.case, sizes)), None)
        if whole is not None:
            found[planned.case.id] = whole.entry
    return found


def has_form(record: Record, document: PlanDocument) -> bool:
    """Whether a case is encoded as a plan says."""
    codec = PROFILES[document.codec].image_codec_of(np.dtype(record.image.dtype))
    return (record.image.codec, record.image.chunk) == (codec, document.chunk)
