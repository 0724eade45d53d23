"""A proof that what is stored is what was written: every digest against every byte.

The root holds the sha256 of the catalog, the catalog that of every receipt and group, a receipt that
of every object and of the voxels that went in: who keeps the root's seal can prove the rest.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.concurrency.choice import AnyExecutor, runner_of
from ctspine_zarr.concurrency.runners import TRIES, Finished
from ctspine_zarr.digest import VoxelDigest, sha256
from ctspine_zarr.errors import (
    DamagedStore,
    Malformed,
    OtherFormat,
    StorageError,
    StoreUpdated,
    UnknownValue,
    require_case,
)
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry, Refused, counted, require_dataset
from ctspine_zarr.format.receipt import (
    MOST_DOCUMENT_BYTES,
    Receipt,
    decode_receipt,
)
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.maintain.metadata import differences
from ctspine_zarr.manifest.inventory import documents_above, own_keys, strangers
from ctspine_zarr.manifest.receipts import read_receipts
from ctspine_zarr.manifest.state import State, UpdateCheck, load
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.original import kept_header
from ctspine_zarr.read.proof import require_object
from ctspine_zarr.storage import Location, Storage, open_storage

_DIGEST: Final = re.compile("[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What was found of one case; whole when there are no problems.

    Attributes:
        case: its id.
        problems: a line each.
        has_mask: False where the case has no mask, so that there is none to prove.
    """

    case: str
    problems: tuple[str, ...]
    has_mask: bool = True


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found of a store.

    Attributes:
        cases: one report a case of the catalog.
        problems: of the store as a whole: the root, the catalog, the groups above the cases,
            and whatever lies there that is not of the store.
        refused: cases that the build could not take in, and why; no fault of the store.
        digest: the root's seal, if the root can be read.
    """

    cases: tuple[CaseReport, ...]
    problems: tuple[str, ...]
    refused: tuple[Refused, ...]
    digest: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether nothing at all is wrong with what is stored."""
        return not self.problems and all(not report.problems for report in self.cases)


def verify(
    location: Location,
    *,
    cases: str | Collection[str] = (),
    digest: str | None = None,
    workers: int = 1,
    executor: AnyExecutor | None = None,
    on_case: Callable[[CaseReport], None] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Verification:
    """Compare every object with its size and sha256, and every decoded volume with the digest of
    the voxels that went in.

    Whatever else lies in the store is told too, where it can be listed: a web server's cannot.

    Args:
        location: of the store.
        cases: ids to verify; all by default.
        digest: the root's seal as somebody kept it (`Store.digest`): with it every byte is proven, the
            root's own included. 64 hex digits, in upper or lower case.
        workers: processes.
        executor: what verifies cases in their place; see `build_store`.
        on_case: told of each case as it is done, in this process.
        storage_options: see `open_store`.

    Raises:
        NotAStore: there is no store.
        UnknownCase: an id that the store does not have.
        UnknownValue: a digest that is not 64 hex digits.
        StoreUpdated: the store was updated meanwhile; verify it again.
        StorageError: a store elsewhere than in a folder cannot be read; it may be whole.
    """
    kept = None if digest is None else _hex(digest)
    storage = open_storage(location, read_only=True, options=storage_options)
    try:
        state = load(storage)
    except (DamagedStore, StorageError) as error:
        _require_here(storage, error)
        return Verification((), (str(error), *(f"{path} {what}" for path, what in _irregular(storage))), ())
    chosen = {cases} if isinstance(cases, str) else set(cases)
    for case in sorted(chosen):
        require_case(case, state.records.keys(), storage.location)
    task = functools.partial(_verify_case, storage=storage, spec=state.spec)
    reports = []
    wanted = [entry for entry in state.entries if not chosen or entry.record.id in chosen]
    for progress in runner_of(workers, executor).run(task, wanted):
        if isinstance(progress, Finished):
            died = CaseReport(progress.item.record.id, (f"its worker died of it {TRIES} times",))
            reports.append(progress.result or died)
            if on_case is not None:
                on_case(reports[-1])
    beside = tuple(f"{one.path}/" for case, one in state.records.items() if chosen and case not in chosen)
    unclaimed = [
        f"{key} {what}".lstrip() for key, what in _unclaimed(state, storage) if not key.startswith(beside)
    ]
    problems = (*_wrong_digest(state, kept), *_damaged_above(state, storage), *unclaimed)
    _require_current(storage, state, reports, problems)
    return Verification(tuple(reports), problems, state.root.refused, state.root.seal)


def _require_current(
    storage: Storage, state: State, reports: Collection[CaseReport], problems: Collection[str]
) -> None:
    """Do nothing where what was found is of the state that holds."""
    is_whole = not problems and not any(report.problems for report in reports)
    if not is_whole and UpdateCheck(storage, state.root.seal)():
        message = f"{storage.location} was updated while it was verified; verify it again"
        raise StoreUpdated(message)


def _hex(digest: str) -> str:
    if _DIGEST.fullmatch(str(digest)) is None:
        message = f"digest {digest!r}; legal: the 64 hex digits of the store's, as info prints them"
        raise UnknownValue(message)
    return digest.lower()


def _wrong_digest(state: State, digest: str | None) -> Iterator[str]:
    if digest is not None and digest != state.root.seal:
        yield f"the root's digest is {state.root.seal}, not {digest}: it is another state of the store"
    if state.is_partial:
        yield "partial: its first build has not ended; run it again"


def _damaged_above(state: State, storage: Storage) -> Iterator[str]:
    """Documents above the cases that are not what follows from the root and the catalog."""
    for key, data in documents_above(state.root, state.entries).items():
        try:
            found = storage.get(key, most=max(len(data), MOST_DOCUMENT_BYTES))
        except StorageError as error:
            _require_here(storage, error)
            yield str(error)
        else:
            if found != data:
                yield f"{key} is missing or altered; run the build again"
    if not state.is_partial and state.root.cases != counted(state.spec, state.records.values()):
        yield f"{layout.ROOT} was altered: it does not count the cases that the catalog has"


def _unclaimed(state: State, storage: Storage) -> Iterator[tuple[str, str]]:
    """Key and fault of what lies in the store, or beside its objects, and is not of its state.

    Where that cannot be listed, why; the key is empty.
    """
    try:
        yield from _others(state, storage)
        yield from _irregular(storage)
    except StorageError as error:
        _require_here(storage, error)
        yield "", str(error)


def _others(state: State, storage: Storage) -> Iterator[tuple[str, str]]:
    if storage.is_listable:
        above = documents_above(state.root, state.entries)
        own = own_keys(above, state.entries, read_receipts(storage, to_write=False))
        for key in strangers(storage.sizes(), own):
            is_left = layout.is_written(key, state.spec.splits)
            yield key, "belongs to no case of the catalog" + "; run the build again" * is_left


def _irregular(storage: Storage) -> Iterator[tuple[str, str]]:
    for path, kind in storage.irregular():
        yield path, f"is {kind}; a store has none"


def _verify_case(entry: Entry, storage: Storage, spec: Spec) -> CaseReport:
    record = entry.record
    try:
        return CaseReport(record.id, tuple(_problems(entry, storage, spec)), record.has_mask)
    except (DamagedStore, StorageError) as error:
        _require_here(storage, error)
        return CaseReport(record.id, (str(error),), record.has_mask)


def _require_here(storage: Storage, error: DamagedStore | StorageError) -> None:
    """Do nothing where an error is a fault of the store: far away, what cannot be read may well be whole."""
    if isinstance(error, StorageError) and storage.path is None:
        raise error


def _problems(entry: Entry, storage: Storage, spec: Spec) -> Iterator[str]:
    key = entry.record.receipt_key
    data = storage.get(key, most=MOST_DOCUMENT_BYTES)
    try:
        receipt = decode_receipt(data, key)
    except (Malformed, OtherFormat) as error:
        yield f"its receipt is damaged ({error})"
        return
    if sha256(data or b"") != entry.receipt:
        yield "its receipt was altered: its sha256 is not that in the catalog"
    try:
        require_dataset(receipt, spec)
    except Malformed as error:
        yield f"its receipt does not hold: {error}"
    if receipt.record != entry.record or receipt.group.sha256 != entry.group:
        yield "its line of the catalog differs from its receipt"
        return
    damaged = list(_damaged_objects(receipt, storage))
    yield from damaged or _damaged_content(entry, receipt, storage, spec)


def _damaged_objects(receipt: Receipt, storage: Storage) -> Iterator[str]:
    for key, written in receipt.keys.items():
        try:
            require_object(storage, key, written)
        except Malformed as error:
            yield f"{key.removeprefix(receipt.record.path + '/')} {error}"


def _damaged_content(entry: Entry, receipt: Receipt, storage: Storage, spec: Spec) -> Iterator[str]:
    """Facts and voxels that are not those of the receipt."""
    case = Case(storage, entry, spec, Reading())
    facts = case.facts
    if (facts.record, facts.voxels) != (receipt.record, receipt.voxels):
        yield f"{layout.METADATA} says other things of the case than its receipt"
    yield from differences(case, storage)
    for name in case.names:
        try:
            kept_header(case.nifti_source(name), case.record, name)
        except DamagedStore as error:
            yield str(error)
        expected = receipt.voxels.image if name == "image" else receipt.voxels.segmentation
        if _voxels_digest(case.voxels(name)) != expected:
            yield f"the {name} decodes to other voxels than went in"


def _voxels_digest(voxels: Voxels) -> str:
    digest = VoxelDigest()
    thickness = voxels.chunk[0]
    for start in range(0, voxels.shape[0], thickness):
        digest.update(voxels[start : start + thickness])
    return digest.hexdigest()
