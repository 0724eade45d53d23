"""The quick checks of many cases: what one listing says of objects, and every document; no shard is read.

What is lost, cut or longer is found, and any document that was altered. Bytes within a shard are not, but
where the place has recorded the sha256 of what it holds.
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
from ctspine_zarr.hub.files import RemoteFile, git_blob
from ctspine_zarr.maintain.checks import judged, named
from ctspine_zarr.maintain.reports import require_here
from ctspine_zarr.manifest.receipts import KeptReceipt, batches
from ctspine_zarr.read.proof import require_bytes, require_object, require_size
from ctspine_zarr.storage import Storage, all_at_once

type _Read = bytes | StorageError | None
type HubRecord = Mapping[str, RemoteFile]
"""Key -> what the Hub has recorded of an object; see `Storage.recorded`."""


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


def quick_checks(
    storage: Storage, entries: Sequence[Entry], spec: Spec, record: HubRecord | None = None
) -> QuickChecks:
    """The receipts of cases, and what is wrong with their sizes and documents.

    Args:
        storage: of the store.
        entries: lines of the catalog.
        spec: of the dataset.
        record: what the place says it holds, by which every object is compared; None for sizes.

    Raises:
        StorageError: a store elsewhere than in a folder cannot be read.
    """
    checked = read_receipts_of(storage, entries, spec)
    owners = {key: receipt for receipt in checked.receipts.values() for key in receipt.keys}
    written = {key: one for receipt in checked.receipts.values() for key, one in receipt.keys.items()}
    problems = defaultdict(list, {case: list(lines) for case, lines in checked.problems.items()})
    for key, line in _faults(storage, written, record):
        owner = owners[key]
        told = named(owner, key, line) if isinstance(line, Malformed) else str(line)
        problems[owner.record.id].append(told)
    return QuickChecks(checked.receipts, dict(problems))


def require_recorded(storage: Storage, key: str, written: StoredObject, record: HubRecord) -> None:
    """Do nothing where the Hub has recorded an object as it was written; one without a sha256 is read.

    Raises:
        Malformed: it has not.
        StorageError: it cannot be read.
    """
    recorded = record.get(key)
    require_size(None if recorded is None else recorded.size, written)
    if recorded is None or recorded.sha256 is None:
        require_object(storage, key, written)
    elif recorded.sha256 != written.sha256:
        message = "was altered: the sha256 that the Hub has recorded of it is not that in its receipt"
        raise Malformed(message)


def _faults(
    storage: Storage, written: Mapping[str, StoredObject], record: HubRecord | None
) -> Iterator[tuple[str, Malformed | StorageError]]:
    """Objects of other sizes than were written, of another sha256 by the record, documents of other bytes."""
    sizes = _sizes(storage, list(written)) if record is None else {}
    unread = {}
    for key, one in written.items():
        is_shard = key.endswith(f"/{layout.SHARD}")
        try:
            if record is None:
                require_size(sizes.get(key), one)
            elif is_shard or key not in record or record[key].sha256 is not None:
                require_recorded(storage, key, one, record)
                continue
            else:
                require_size(record[key].size, one)
        except Malformed as error:
            yield key, error
            continue
        if not is_shard:
            unread[key] = one
    yield from _read_faults(storage, unread, record)


def _read_faults(
    storage: Storage, written: Mapping[str, StoredObject], record: HubRecord | None
) -> Iterator[tuple[str, Malformed | StorageError]]:
    """Documents of other bytes than were written.

    Of those that should be the same, such as each case's list of label groups, one is read where git's id is
    recorded of each: whoever has the id of the one has its bytes.
    """
    known: dict[str, str] = {}
    first = {one.sha256: key for key, one in reversed(list(written.items()))} if record else {}
    for keys in (set(first.values()), written.keys() - set(first.values())):
        some = {key: one for key, one in written.items() if key in keys}
        unread = {key: one.bytes for key, one in some.items() if not _is_known(key, one, known, record)}
        for key, data in _each(storage, unread):
            try:
                found = _raised(data)
                require_bytes(found, written[key])
                known[written[key].sha256] = git_blob(found or b"")
            except (Malformed, StorageError) as error:
                yield key, error


def _is_known(key: str, written: StoredObject, known: Mapping[str, str], record: HubRecord | None) -> bool:
    """Whether the record has the id of bytes that were read and are these."""
    blob = known.get(written.sha256)
    return blob is not None and record is not None and key in record and record[key].blob == blob


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
