"""The quick checks of many cases: sizes from one listing, and every document; no shard is read.

What is lost, cut or longer is found, and any document that was altered; bytes within a shard are not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from ctspine_zarr.errors import Malformed, StorageError
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, Receipt, StoredObject
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.maintain.checks import judged, named
from ctspine_zarr.maintain.reports import require_here
from ctspine_zarr.manifest.receipts import KeptReceipt, batches
from ctspine_zarr.read.proof import require_bytes, require_size
from ctspine_zarr.storage import Storage, all_at_once

type _Read = bytes | StorageError | None


@dataclass(frozen=True)
class QuickChecks:
    """What was found of many cases.

    Attributes:
        receipts: case id -> its receipt, but for the counts of HU, where it says what the case consists of.
        problems: case id -> a line each; cases without any are left out.
    """

    receipts: Mapping[str, Receipt]
    problems: Mapping[str, list[str]]

    def kept(self, entries: Sequence[Entry]) -> list[KeptReceipt]:
        """The receipts as a store has them, those that say nothing of their cases left out."""
        found = [(self.receipts.get(entry.record.id), entry.receipt) for entry in entries]
        return [KeptReceipt(receipt, digest) for receipt, digest in found if receipt is not None]


def read_receipts_of(storage: Storage, entries: Sequence[Entry], spec: Spec) -> QuickChecks:
    """The receipts of cases, many read at once, and what is wrong with them.

    Raises:
        StorageError: a store elsewhere than in a folder cannot be read.
    """
    by_key = {entry.record.receipt_key: entry for entry in entries}
    receipts: dict[str, Receipt] = {}
    problems: dict[str, list[str]] = defaultdict(list)
    # Most receipts are far smaller than the longest that is legal: as a guess, so many are held at once.
    for key, data in _each(storage, dict.fromkeys(by_key, MOST_DOCUMENT_BYTES >> 8)):
        entry = by_key[key]
        if isinstance(data, StorageError):
            problems[entry.record.id].append(str(data))
            continue
        receipt, found = judged(data, entry, spec)
        problems[entry.record.id].extend(found)
        if receipt is not None:
            receipts[entry.record.id] = structs.replace(receipt, foreground={}, foreground_of_sets={})
    return QuickChecks(receipts, {case: lines for case, lines in problems.items() if lines})


def quick_checks(storage: Storage, entries: Sequence[Entry], spec: Spec) -> QuickChecks:
    """The receipts of cases, and what is wrong with their sizes and documents.

    Args:
        storage: of the store.
        entries: lines of the catalog.
        spec: of the dataset.

    Raises:
        StorageError: a store elsewhere than in a folder cannot be read.
    """
    checked = read_receipts_of(storage, entries, spec)
    owners = {key: receipt for receipt in checked.receipts.values() for key in receipt.keys}
    written = {key: one for receipt in checked.receipts.values() for key, one in receipt.keys.items()}
    problems = defaultdict(list, {case: list(lines) for case, lines in checked.problems.items()})
    for key, line in _faults(storage, written):
        owner = owners[key]
        told = named(owner, key, line) if isinstance(line, Malformed) else str(line)
        problems[owner.record.id].append(told)
    return QuickChecks(checked.receipts, dict(problems))


def _faults(
    storage: Storage, written: Mapping[str, StoredObject]
) -> Iterator[tuple[str, Malformed | StorageError]]:
    """Objects of other sizes than were written, and documents of other bytes."""
    sizes, documents = _sizes(storage, list(written)), {}
    for key, one in written.items():
        try:
            require_size(sizes.get(key), one)
        except Malformed as error:
            yield key, error
        else:
            if not key.endswith(f"/{layout.SHARD}"):
                documents[key] = one.bytes
    for key, data in _each(storage, documents):
        try:
            require_bytes(_raised(data), written[key])
        except (Malformed, StorageError) as error:
            yield key, error


def _raised(data: _Read) -> bytes | None:
    if isinstance(data, StorageError):
        raise data
    return data


def _sizes(storage: Storage, keys: Sequence[str]) -> Mapping[str, int | None]:
    """Of the objects: from one listing, or each asked for where nothing can be listed."""
    if storage.is_listable:
        return storage.sizes()
    return dict(zip(keys, all_at_once(storage.size, keys), strict=True))


def _each(storage: Storage, sizes: Mapping[str, int]) -> Iterator[tuple[str, _Read]]:
    """Each document, or in a local folder the reason why it cannot be read; many are asked for at once."""
    for keys in batches(sizes):
        yield from zip(keys, _some(storage, keys), strict=True)


def _some(storage: Storage, keys: Sequence[str]) -> Sequence[_Read]:
    try:
        return storage.get_each(keys, most=MOST_DOCUMENT_BYTES)
    except StorageError as error:
        require_here(storage, error)
    return [_got(storage, key) for key in keys]


def _got(storage: Storage, key: str) -> _Read:
    try:
        return storage.get(key, most=MOST_DOCUMENT_BYTES)
    except StorageError as error:
        return error
