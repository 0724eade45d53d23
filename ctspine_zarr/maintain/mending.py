"""One damaged case made whole: from its files, or from another store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, override

from ctspine_zarr.concurrency.runners import DIED, Finished, Progress, Runner
from ctspine_zarr.datasets.cases import SourceCase
from ctspine_zarr.datasets.dataset import Described
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import (
    CaseRefused,
    Malformed,
    NotMendable,
    OtherFormat,
    StorageError,
    StoreInUse,
    UnknownValue,
)
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.receipt import (
    MOST_DOCUMENT_BYTES,
    Arrays,
    Receipt,
    SourceFile,
    StoredObject,
    decode_facts,
    decode_receipt,
    encode_receipt,
)
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.maintain.above import is_there
from ctspine_zarr.maintain.reports import require_here
from ctspine_zarr.manifest.commit import commit_case
from ctspine_zarr.manifest.state import State
from ctspine_zarr.read.proof import proven_object, require_object
from ctspine_zarr.sources.source import Fetched, Source
from ctspine_zarr.storage import Storage
from ctspine_zarr.write.arrivals import Arrival, run_on_files
from ctspine_zarr.write.case_objects import WRITER
from ctspine_zarr.write.ingest import made, recipe_of
from ctspine_zarr.write.kept_sets import Objects
from ctspine_zarr.write.label_sets import WrittenCase

_FIELDS: Final = Record.__struct_fields__
_LEGAL_SET: Final = "legal: another store, or to take the set out and to add it again"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case.

    Attributes:
        keys: of the objects that were put, in order; none where its objects are right.
        reason: why it cannot be mended; empty where it is.
        fault: of the store that is mended, or that is read; it ends the repair.
    """

    keys: tuple[str, ...] = ()
    reason: str = ""
    fault: StorageError | StoreInUse | None = None


class Supply(ABC):
    """What a store is mended from."""

    @abstractmethod
    def mend(
        self, damaged: Iterable[Entry], storage: Storage, spec: Spec, runner: Runner
    ) -> Iterator[tuple[Entry, Outcome]]:
        """Mend cases, and say what became of each.

        Args:
            damaged: lines of the catalog.
            storage: of the store.
            spec: of its dataset.
            runner: who mends them.
        """


@dataclass(frozen=True)
class FromSource(Supply):
    """A source whose cases are ingested again.

    Attributes:
        source: of the files.
        described: the dataset that lies there.
    """

    source: Source
    described: Described

    @override
    def mend(
        self, damaged: Iterable[Entry], storage: Storage, spec: Spec, runner: Runner
    ) -> Iterator[tuple[Entry, Outcome]]:
        cases, wanted = self.described.listing.by_id, []
        for entry in damaged:
            case = cases.get(entry.record.id)
            if case is None:
                yield entry, Outcome(reason=f"{self.source} has no such case")
            else:
                wanted.append(_WithCase(entry, case))
        task = partial(_from_files, storage=storage, spec=spec)
        steps = run_on_files(runner, self.source, wanted, task)
        yield from _finished(steps, lambda one: one.entry)


@dataclass(frozen=True)
class FromStore(Supply):
    """Another store, which has the same cases, or some objects of them.

    Attributes:
        storage: of it.
        state: that it holds.
    """

    storage: Storage
    state: State

    @override
    def mend(
        self, damaged: Iterable[Entry], storage: Storage, spec: Spec, runner: Runner
    ) -> Iterator[tuple[Entry, Outcome]]:
        task = partial(_from_store, storage=storage, other=self.storage)
        yield from _finished(runner.run(task, damaged), lambda entry: entry)


@dataclass(frozen=True, slots=True)
class _WithCase:
    """A damaged case, and as the source has it."""

    entry: Entry
    case: SourceCase


def _finished[Item](
    steps: Iterable[Progress[Item, Outcome]], entry_of: Callable[[Item], Entry]
) -> Iterator[tuple[Entry, Outcome]]:
    for step in steps:
        if isinstance(step, Finished):
            outcome = step.result or Outcome(reason=DIED)
            if outcome.fault is not None:
                raise outcome.fault
            yield entry_of(step.item), outcome


def _attempted(mend: Callable[[], tuple[str, ...]]) -> Outcome:
    try:
        return Outcome(mend())
    except (CaseRefused, Malformed, NotMendable, OtherFormat, UnknownValue) as error:
        return Outcome(reason=str(error))
    except (StorageError, StoreInUse) as error:
        return Outcome(fault=error)
    except MemoryError:
        return Outcome(reason="out of memory; use fewer --workers")


def _from_files(arrival: Arrival[_WithCase, Fetched], storage: Storage, spec: Spec) -> Outcome:
    return _attempted(lambda: _ingested_again(arrival, storage, spec))


def _ingested_again(arrival: Arrival[_WithCase, Fetched], storage: Storage, spec: Spec) -> tuple[str, ...]:
    entry = arrival.planned.entry
    if arrival.files is None:
        raise NotMendable(arrival.reason)
    recipe = recipe_of(spec, entry.record)
    # The same content goes to the place that the catalog has.
    objects, receipt = made(arrival.files, recipe, entry.record)
    if entry.record.sets:
        objects, receipt = _with_own_sets(objects, receipt, entry, storage, spec)
    data = encode_receipt(receipt)
    if sha256(data) != entry.receipt:
        raise NotMendable(_why_another(receipt, entry, storage))
    found: dict[str, bytes | bytearray | memoryview] = {}
    commit_case(objects, receipt, found.__setitem__)

    def read(key: str) -> bytes | bytearray | memoryview:
        if key not in found:
            message = f"{key} is of a label set, which no source has; {_LEGAL_SET}"
            raise NotMendable(message)
        return found[key]

    return _put_wrong(storage, receipt, data, read)


def _with_own_sets(
    objects: Objects, receipt: Receipt, entry: Entry, storage: Storage, spec: Spec
) -> tuple[Objects, Receipt]:
    """A case made again, with the documents of its label sets as the store has them.

    What was begun and did not come to hold, such as a join of metadata, is left out.

    Raises:
        NotMendable: the store's own receipt or facts are damaged as well.
    """
    record = entry.record
    documents = [(record.receipt_key, entry.receipt), (f"{record.path}/{layout.METADATA}", entry.group)]
    kept, group = (_bytes_at(storage, key) for key, _ in documents)
    try:
        own = WrittenCase.of(kept, group, record).held(entry, spec)
    # A ValueError where parts of the documents are of two states.
    except (Malformed, OtherFormat, ValueError) as error:
        altered = [key for key, digest in documents if _document(storage, key, digest) is None]
        seen = f"{', '.join(altered)} is lost or altered, which tells of the case's label sets"
        message = f"{seen}; legal: another store, or the build again, which drops them"
        raise NotMendable(message) from error
    new = WrittenCase.of(encode_receipt(receipt), bytes(objects[layout.METADATA]), receipt.record)
    mended = new.with_sets_of(own, spec)
    return {**objects, **mended.documents(spec)}, mended.receipt


def _from_store(entry: Entry, storage: Storage, other: Storage) -> Outcome:
    return _attempted(lambda: _copied(entry, storage, other))


def _copied(entry: Entry, storage: Storage, other: Storage) -> tuple[str, ...]:
    key = entry.record.receipt_key
    # The store's own receipt, where it holds, says what is wanted: the other may have a later state.
    data = _document(storage, key, entry.receipt) or _document(other, key, entry.receipt)
    if data is None:
        message = f"{other.location} has no case of that receipt: {key} is missing there, or another"
        raise NotMendable(message)
    receipt = decode_receipt(data, key)

    def read(key: str) -> bytes:
        try:
            return bytes(proven_object(other, key, receipt.keys[key]))
        except Malformed as error:
            message = f"{other.location}: {key} {error}"
            raise NotMendable(message) from error

    return _put_wrong(storage, receipt, data, read)


def _put_wrong(
    storage: Storage, receipt: Receipt, data: bytes, read: Callable[[str], bytes | bytearray | memoryview]
) -> tuple[str, ...]:
    """Put the objects of a case that are not right, the receipt last; their keys.

    Args:
        storage: of the store.
        receipt: of the case.
        data: its bytes.
        read: gives the right bytes of an object.
    """
    wrong = [key for key, written in receipt.keys.items() if not _is_written(storage, key, written)]
    for key in wrong:
        storage.put(key, read(key))
    if not is_there(storage, receipt.key, data):
        storage.put(receipt.key, data)
        wrong.append(receipt.key)
    return tuple(wrong)


def _is_written(storage: Storage, key: str, written: StoredObject) -> bool:
    try:
        require_object(storage, key, written)
    except Malformed:
        return False
    except StorageError as error:
        require_here(storage, error)
        return False
    return True


def _why_another(receipt: Receipt, entry: Entry, storage: Storage) -> str:
    """Why a case that was made again is not the one that the catalog has."""
    kept, seen = _kept_files(entry, storage), receipt.files
    pairs = [] if kept is None else [(kept.image, seen.image), (kept.segmentation, seen.segmentation)]
    for before, now in pairs:
        if before != now:
            there, kept_one = _described(now), _described(before)
            return f"the source's file is another: {there}; the case was made from {kept_one}"
    # What follows from all the rest says nothing.
    names = [name for name in _FIELDS if name not in {"content", "is_replaced"}]
    fields = ", ".join(n for n in names if getattr(receipt.record, n) != getattr(entry.record, n))
    files = "these files, and nothing says which it was made from," if kept is None else "the same files"
    differing = f": its {fields} differ" if fields else ""
    return (
        f"made again from {files} it is another{differing}; another version of the writer or of a library "
        f"made it, here {WRITER}"
    )


def _described(file: SourceFile | None) -> str:
    return "none" if file is None else f"{file.name} of {file.bytes} bytes and sha256 {file.sha256}"


def _kept_files(entry: Entry, storage: Storage) -> Arrays[SourceFile] | None:
    """The files that a case was made from, by its receipt or its facts; None where both are damaged."""
    record = entry.record
    receipt = _document(storage, record.receipt_key, entry.receipt)
    group = _document(storage, f"{record.path}/{layout.METADATA}", entry.group)
    try:
        if receipt is not None:
            return decode_receipt(receipt, record.receipt_key).files
        if group is not None:
            nifti = decode_facts(group).nifti
            mask = nifti.segmentation
            return Arrays(nifti.image.file, None if mask is None else mask.file)
    except (Malformed, OtherFormat):
        pass
    return None


def _document(storage: Storage, key: str, digest: str) -> bytes | None:
    """A document of that sha256; None where there is none at that key."""
    data = _bytes_at(storage, key)
    return data if data is not None and sha256(data) == digest else None


def _bytes_at(storage: Storage, key: str) -> bytes | None:
    """A document, whatever it says; None where there is none, or it cannot be read."""
    try:
        return storage.get(key, most=MOST_DOCUMENT_BYTES)
    except StorageError as error:
        require_here(storage, error)
        return None
