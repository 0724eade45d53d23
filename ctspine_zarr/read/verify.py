"""Is what is stored what was written? Every receipt's digests against every byte."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore, StorageError, UnknownCase, nearest
from ctspine_zarr.format import layout
from ctspine_zarr.format.records import Receipt, Record
from ctspine_zarr.read.case import Case, Name
from ctspine_zarr.read.store import Store, open_store
from ctspine_zarr.read.voxels import Voxels
from ctspine_zarr.storage import Location, Storage
from ctspine_zarr.workers import Finished, run_each


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What was found of one case; whole when there are no problems."""

    case: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found of a store.

    Attributes:
        cases: one report a case of the catalog.
        problems: of the store as a whole: receipts that the catalog leaves out.
        refused: cases that the build could not take in, and why; no fault of the store.
    """

    cases: tuple[CaseReport, ...]
    problems: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing at all is wrong with what is stored."""
        return not self.problems and all(not report.problems for report in self.cases)


def verify(
    location: Location,
    *,
    cases: Collection[str] = (),
    workers: int = 1,
    on_case: Callable[[CaseReport], None] | None = None,
) -> Verification:
    """Compare every object with its receipt's size and sha256, and every decoded volume with
    the sha256 of the voxels that went in.

    Args:
        location: of the store.
        cases: ids to verify; all by default.
        workers: processes.
        on_case: told of each case as it is done, in this process.

    Raises:
        NotAStore: there is no store that opens.
        UnknownCase: an id that the store does not have.
    """
    store = open_store(location)
    for case in cases:
        if case not in store:
            message = f"no case {case!r} in {store.location}{nearest(case, store)}"
            raise UnknownCase(message)
    task = functools.partial(_verify_case, storage=store.storage)
    reports = []
    chosen = [record for record in store.records.values() if not cases or record.id in cases]
    for progress in run_each(task, chosen, workers):
        if isinstance(progress, Finished):
            died = CaseReport(progress.item.id, ("its worker process died",))
            reports.append(progress.result or died)
            if on_case is not None:
                on_case(reports[-1])
    refused = tuple((entry["case"], entry["reason"]) for entry in store.about["refused"])
    return Verification(tuple(reports), tuple(_unlisted(store)), refused)


def _unlisted(store: Store) -> Iterator[str]:
    listed = {layout.receipt_key(case) for case in store}
    for key in store.storage.keys(layout.RECEIPTS):
        if key not in listed:
            yield f"{key}: a whole case that the catalog does not list; run the build again"


def _verify_case(record: Record, storage: Storage) -> CaseReport:
    try:
        return CaseReport(record.id, tuple(_problems(record, storage)))
    except (StorageError, DamagedStore) as error:
        return CaseReport(record.id, (str(error),))


def _problems(record: Record, storage: Storage) -> Iterator[str]:
    data = storage.get(layout.receipt_key(record.id))
    try:
        receipt = Receipt.from_json(json.loads(data or b""))
    except (ValueError, KeyError, TypeError) as error:
        yield f"its receipt is missing or damaged ({error})"
        return
    if receipt.record != record:
        yield "its line of the catalog differs from its receipt"
    damaged = list(_damaged_objects(receipt, storage))
    yield from damaged
    if not damaged:
        yield from _damaged_voxels(receipt, storage)


def _damaged_objects(receipt: Receipt, storage: Storage) -> Iterator[str]:
    for key, written in receipt.objects.items():
        data = storage.get(f"{receipt.record.path}/{key}")
        if data is None:
            yield f"{key} is missing"
        elif len(data) != written.bytes:
            yield f"{key} has {len(data)} bytes, {written.bytes} were written"
        elif sha256(data) != written.sha256:
            yield f"{key} was altered: its sha256 is not that of its receipt"


def _damaged_voxels(receipt: Receipt, storage: Storage) -> Iterator[str]:
    case = Case(storage, receipt.record)
    digests: dict[Name, str] = {
        "image": receipt.image_voxels,
        "segmentation": receipt.segmentation_voxels,
    }
    for name, expected in digests.items():
        if _voxels_sha256(case.voxels(name)) != expected:
            yield f"the {name} decodes to other voxels than went in"


def _voxels_sha256(voxels: Voxels) -> str:
    digest = hashlib.sha256()
    for start in range(0, voxels.shape[0], layout.CHUNK[0]):
        digest.update(voxels[start : start + layout.CHUNK[0]].data)
    return digest.hexdigest()
