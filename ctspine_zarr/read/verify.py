"""Is what is stored what was written? Every digest against every byte.

The root holds the sha256 of the catalog, the catalog that of every receipt, a receipt that of
every object and of the voxels that went in: who trusts the root can prove the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ctspine_zarr.arrays.shards import Reading
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.dataset import SPLIT_NAMES
from ctspine_zarr.digest import VoxelDigest, sha256
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat, StorageError, require_case
from ctspine_zarr.format import documents, layout
from ctspine_zarr.format.catalog import About, Entry, Refused, groups_above
from ctspine_zarr.format.encoding import decode, encode
from ctspine_zarr.format.receipt import Receipt
from ctspine_zarr.read.case import Case, Name
from ctspine_zarr.read.store import Store, parse_catalog
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.workers import Finished, run_each

# Parts of a case's path: split, source, id.
_CASE_DEPTH: Final = 3


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
        problems: of the store as a whole: the root, the catalog, the groups above the cases,
            and objects that belong to no case.
        refused: cases that the build could not take in, and why; no fault of the store.
    """

    cases: tuple[CaseReport, ...]
    problems: tuple[str, ...]
    refused: tuple[Refused, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing at all is wrong with what is stored."""
        return not self.problems and all(not report.problems for report in self.cases)


def verify(
    location: Location,
    *,
    cases: str | Collection[str] = (),
    workers: int = 1,
    on_case: Callable[[CaseReport], None] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Verification:
    """Compare every object with its size and sha256, and every decoded volume with the digest of
    the voxels that went in.

    Objects that belong to nothing are looked for too, where they can be listed: a web server's cannot.

    Args:
        location: of the store.
        cases: ids to verify; all by default.
        workers: processes.
        on_case: told of each case as it is done, in this process.
        storage_options: see `open_store`.

    Raises:
        NotAStore: there is no store that opens.
        UnknownCase: an id that the store does not have.
        StorageError: a store elsewhere than in a folder cannot be read; it may be whole.
    """
    storage = open_storage(location, read_only=True, options=storage_options)
    catalog = storage.get(layout.CATALOG)
    entries = parse_catalog(storage, catalog)
    store = Store(storage, {entry.record.id: entry.record for entry in entries}, Reading())
    chosen = {cases} if isinstance(cases, str) else set(cases)
    for case in sorted(chosen):
        require_case(case, store.keys(), store.location)
    task = functools.partial(_verify_case, storage=store.storage)
    reports = []
    for progress in run_each(task, [e for e in entries if not chosen or e.record.id in chosen], workers):
        if isinstance(progress, Finished):
            died = CaseReport(progress.item.record.id, ("its worker process died",))
            reports.append(progress.result or died)
            if on_case is not None:
                on_case(reports[-1])
    problems = (*_damaged_root(store, catalog or b""), *_damaged_groups(store), *_unclaimed(store))
    return Verification(tuple(reports), problems, _refused(store))


def _damaged_root(store: Store, catalog: bytes) -> Iterator[str]:
    try:
        about = store.about
    except DamagedStore as error:
        yield str(error)
        return
    if about.catalog_sha256 != sha256(catalog):
        yield f"{layout.CATALOG} was altered: its sha256 is not that in {layout.ROOT}"
    expected = About.of(store.records.values(), about.refused, catalog, about.provenance)
    if store.storage.get(layout.ROOT) != encode(documents.group({layout.OWN_KEY: expected.to_json()})):
        yield f"{layout.ROOT} was altered: it does not say what follows from the catalog"


def _refused(store: Store) -> tuple[Refused, ...]:
    try:
        return store.about.refused
    except DamagedStore:
        return ()


def _damaged_groups(store: Store) -> Iterator[str]:
    for key in _group_keys(store):
        if store.storage.get(key) != encode(documents.group()):
            yield f"{key} is missing or altered; run the build again"


def _group_keys(store: Store) -> list[str]:
    return sorted(f"{path}/{layout.METADATA}" for path in groups_above(store.records.values()))


def _unclaimed(store: Store) -> Iterator[str]:
    """Objects among the cases and receipts that belong to no case of the catalog."""
    if not store.storage.is_listable:
        return
    paths = {record.path for record in store.records.values()}
    known = {*_group_keys(store), *(layout.receipt_key(case) for case in store)}
    for prefix in (layout.RECEIPTS, *(f"{split}/" for split in SPLIT_NAMES)):
        for key in store.storage.sizes(prefix):
            if key not in known and "/".join(key.split("/")[:_CASE_DEPTH]) not in paths:
                yield f"{key} belongs to no case of the catalog; run the build again"


def _verify_case(entry: Entry, storage: Storage) -> CaseReport:
    try:
        return CaseReport(entry.record.id, tuple(_problems(entry, storage)))
    except DamagedStore as error:
        return CaseReport(entry.record.id, (str(error),))
    except StorageError as error:
        if storage.path is None:
            # Far away, what cannot be read may well be whole.
            raise
        return CaseReport(entry.record.id, (str(error),))


def _problems(entry: Entry, storage: Storage) -> Iterator[str]:
    data = storage.get(layout.receipt_key(entry.record.id))
    try:
        receipt = decode(data, Receipt.from_json)
    except (Malformed, OtherFormat) as error:
        yield f"its receipt is damaged ({error})"
        return
    if sha256(data or b"") != entry.receipt:
        yield "its receipt was altered: its sha256 is not that in the catalog"
    if receipt.record != entry.record:
        yield "its line of the catalog differs from its receipt"
        return
    damaged = [*_damaged_objects(receipt, storage), *_extra_objects(receipt, storage)]
    yield from damaged or _damaged_voxels(receipt, storage)


def _extra_objects(receipt: Receipt, storage: Storage) -> Iterator[str]:
    if not storage.is_listable:
        return
    for key in storage.sizes(f"{receipt.record.path}/"):
        if key.removeprefix(f"{receipt.record.path}/") not in receipt.objects:
            yield f"{key} is not in its receipt"


def _damaged_objects(receipt: Receipt, storage: Storage) -> Iterator[str]:
    for key, written in receipt.objects.items():
        data = storage.get(f"{receipt.record.path}/{key}")
        if data is None:
            yield f"{key} is missing"
        elif len(data) != written.bytes:
            yield f"{key} has {len(data)} bytes, {written.bytes} were written"
        elif sha256(data) != written.sha256:
            yield f"{key} was altered: its sha256 is not that in its receipt"


def _damaged_voxels(receipt: Receipt, storage: Storage) -> Iterator[str]:
    case = Case(storage, receipt.record, Reading())
    digests: dict[Name, str] = {"image": receipt.voxels.image, "segmentation": receipt.voxels.segmentation}
    for name, expected in digests.items():
        if _voxels_digest(case.voxels(name)) != expected:
            yield f"the {name} decodes to other voxels than went in"


def _voxels_digest(voxels: Voxels) -> str:
    digest = VoxelDigest()
    for start in range(0, voxels.shape[0], layout.CHUNK[0]):
        digest.update(voxels[start : start + layout.CHUNK[0]])
    return digest.hexdigest()
