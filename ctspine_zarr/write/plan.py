"""The plan of a build, before any byte of it: frozen and printable."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ctspine_zarr import nifti
from ctspine_zarr.concurrency.limits import usable_cores, usable_memory
from ctspine_zarr.datasets.cases import Listing, Refusal, SourceCase
from ctspine_zarr.datasets.selection import Selection
from ctspine_zarr.errors import CaseRefused, NoSpace, SourceError, StoreMismatch, UnknownValue
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.names import colliding
from ctspine_zarr.format.profiles import Profile, profile
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.holdings import (
    Holdings,
    read_holdings,
    require_own_folders,
    require_same_dataset,
    with_terms,
)
from ctspine_zarr.nifti import Header
from ctspine_zarr.sources.source import Source
from ctspine_zarr.storage import Location, Storage, free_bytes, open_storage, share_disk
from ctspine_zarr.text import cases_table, size, some_names
from ctspine_zarr.write.origin import Origin
from ctspine_zarr.write.resume import is_whole

# Measured on real masks: bytes of an encoded mask per byte of its `.nii.gz`.
_MASK_RATIO: Final = 0.26
# The metadata objects of a case and its receipt.
_METADATA_BYTES: Final = 60_000
# Of a CT that needs int16 and has int32 on disk: more than any of the real ones.
_INFLATES: Final = 4.5
# Of a voxel, where its values are surely counted: see `distribution`.
_COUNTED_BYTES: Final = 2
_WORKER_BASE: Final = 300_000_000


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """A case to build.

    Attributes:
        case: its files.
        working_bytes: memory that they take at the most, inflated and encoded; an estimate where they
            are not here yet, and 0 where a header cannot be read, which the build will say.
        earlier: the record of the case of that id that the store has, which keeps its place until the
            build has ended.
        widening: bytes of the image's values per byte on disk, at the most, where scaling makes wider ones.
    """

    case: SourceCase
    working_bytes: int
    earlier: Record | None = None
    widening: float = 1


@dataclass(frozen=True)
class Plan:
    """A build before it starts.

    Attributes:
        source: where the files are.
        spec: the dataset's description.
        storage: where the store is, or will be.
        holdings: what is there already.
        profile: how arrays are encoded.
        workers: cases in flight at once.
        pending: cases to build, largest first, so that no large one is left for the end.
        whole: the selected cases that are built already.
        refused: selected cases that cannot be tried.
        elsewhere: ids that the source has beyond the selection.
    """

    source: Source
    spec: Spec
    storage: Storage
    holdings: Holdings
    profile: Profile
    workers: int
    pending: tuple[PlannedCase, ...]
    whole: tuple[Entry, ...]
    refused: tuple[Refusal, ...]
    elsewhere: frozenset[str]

    @property
    def ids(self) -> tuple[str, ...]:
        """The cases that the build is for, refused ones not included."""
        return (*(p.case.id for p in self.pending), *(entry.record.id for entry in self.whole))

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """(split, source) -> cases, built ones included, refused ones not."""
        pending = ((p.case.split, p.case.source) for p in self.pending)
        return Counter([*pending, *((entry.record.split, entry.record.source) for entry in self.whole)])

    @property
    def read_bytes(self) -> int:
        """Bytes of `.nii.gz` still to be read."""
        return sum(planned.case.bytes for planned in self.pending)

    @property
    def store_bytes(self) -> int:
        """Estimated bytes still to be written, from ratios measured on real CT; more for images whose values
        are wider than what is on disk.
        """
        images = sum(p.case.image.bytes * p.widening for p in self.pending) * self.profile.image_ratio
        masks = sum(p.case.segmentation.bytes for p in self.pending if p.case.segmentation) * _MASK_RATIO
        return math.ceil(images + masks + _METADATA_BYTES * len(self.pending))

    @property
    def memory_bytes(self) -> int:
        """Upper bound of memory: for each worker what the largest case takes, which for int16 is two and a
        half times the inflated image, and 300 MB.
        """
        return self.workers * worker_memory(self.pending)

    @property
    def download_bytes(self) -> int:
        """Most bytes of `.nii.gz` that are here at once only to be built from; 0 for a local source."""
        return self.source.disk_bytes((p.case for p in self.pending), self.workers)

    @property
    def needed_bytes(self) -> int:
        """Estimated bytes that must be free for the store, and for downloads where they share its disk."""
        folder, store = self.source.disk, self.storage.path
        shared = folder is not None and store is not None and share_disk(folder, store)
        return self.store_bytes + (self.download_bytes if shared else 0)

    @property
    def free_bytes(self) -> int | None:
        """Bytes free where the store will be; None where nobody can say."""
        return self.storage.free_bytes()

    def require_space(self) -> None:
        """Refuse to begin what cannot end.

        Raises:
            NoSpace: fewer bytes are free than the estimate, for the store or for downloads.
        """
        folder = self.source.disk
        if folder is not None and free_bytes(folder) < self.download_bytes:
            message = (
                f"{folder}: {size(self.download_bytes)} are needed for downloads, "
                f"{size(free_bytes(folder))} are free; free some, or set HF_HOME to another disk"
            )
            raise NoSpace(message)
        needed, free = self.needed_bytes, self.free_bytes
        if free is not None and free < needed:
            message = (
                f"{self.storage.location}: about {size(needed)} are needed, {size(free)} are free; "
                "free some, choose another place, or build fewer cases with --split or --case"
            )
            raise NoSpace(message)


def plan_build(
    source: str | Path,
    store: Location,
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    dataset: str | None = None,
    fold: int | None = None,
    licence: str | None = None,
    citation: str | None = None,
    codec: str = "portable",
    workers: int | None = None,
    split_file: str | Path | None = None,
    storage_options: Mapping[str, Any] | None = None,
    source_options: Mapping[str, Any] | None = None,
    keep_downloads: bool = False,
) -> Plan:
    """Find out what a build would do; reads headers and receipts, writes nothing.

    Args:
        source: a folder that holds a dataset, hf://datasets/USER/NAME[@REVISION], or "hub" for
            CTSpine1K itself. What is there is built as its newest commit has it.
        store: where the store is, or will be: a path, s3://, gs://, az://, memory:// or a zarr Store.
        selection: which cases; all by default.
        dataset: `ctspine1k`, `verse` or `nnunet`; by default what the layout of the files says.
        fold: of an nnU-Net dataset's `splits_final.json`, whose validation cases become the split
            `validation`.
        licence, citation: of a dataset that states none.
        codec: `portable` or `compact`.
        workers: cases in flight at once; by default as many as cores and memory allow.
        split_file: CTSpine1K's split list, where it is not at `metadata/data_split.txt`; or nnU-Net's
            `splits_final.json`, together with `fold`.
        storage_options: see `open_store`.
        source_options: of the Hub: `token` and `endpoint`, else those of the environment; `timeout`, the
            seconds after which a listing or a document is given up (60).
        keep_downloads: leave them in the Hub's cache; else each is deleted once its case is built.

    Raises:
        SourceError: the source is laid out as no dataset is, has no split list, or is on the Hub
            and lacks a file of a selected case.
        HubError: the Hub cannot be reached, or has no such repository.
        UnknownCase, UnknownValue: the selection, dataset or codec names what does not exist, or the
            store is one that several workers cannot share.
        MissingDependency: the codec needs a library that is not installed.
        StoreMismatch: the store holds another dataset, was begun with another codec, or is of another
            format.
        StorageError: the store cannot be read, or is not one that can be written.
    """
    chosen = profile(codec)
    storage = open_storage(store, options=storage_options)
    options = source_options or {}
    asked = Origin(source, dataset, fold, licence, citation, split_file, options, keep_downloads)
    origin = asked.open(storage.location)
    _require_apart(origin, storage)
    described = asked.describe(origin)
    listing = selection.of(described.spec, described.listing)
    if not listing.ids:
        count = len(described.listing.ids)
        message = f"no case of the source is selected by {selection}; legal: one or more of its {count}"
        raise UnknownValue(message)
    _require_all(origin, listing)
    holdings = read_holdings(storage)
    spec = with_terms(described.spec, holdings)
    require_same_dataset(holdings, spec, storage.location)
    if not holdings.receipts and holdings.root is None:
        require_own_folders(storage, spec)
    _require_codec(holdings, chosen, storage)
    listing = _without_twins(listing, holdings)
    whole = _whole(listing, holdings, origin, storage)
    pending = [case for case in listing.cases if case.id not in whole]
    planned = _largest_first(pending, holdings, origin)
    return Plan(
        source=origin,
        spec=spec,
        storage=storage,
        holdings=holdings,
        profile=chosen,
        workers=_workers(workers, planned, storage),
        pending=planned,
        whole=tuple(whole[case.id] for case in listing.cases if case.id in whole),
        refused=listing.refused,
        elsewhere=described.listing.ids - listing.ids,
    )


def _require_apart(source: Source, storage: Storage) -> None:
    """Refuse a store in whose place, or above whose place, its source lies."""
    if source.folder is None or storage.path is None:
        return
    here, there = source.folder.resolve(), storage.path.resolve()
    if here.is_relative_to(there):
        message = f"cannot build {source} into {storage.location}, where its files are; legal: a place apart"
        raise StoreMismatch(message)


def worker_memory(pending: Iterable[PlannedCase]) -> int:
    """Upper bound of one worker's memory in bytes."""
    largest = max((planned.working_bytes for planned in pending), default=0)
    return largest + _WORKER_BASE


def describe(plan: Plan) -> list[str]:
    """The plan in lines for a person: cases by split and source, bytes, memory, disk."""
    counts, spec = plan.counts, plan.spec
    by_split = {split: {s: counts.get((split, s), 0) for s in spec.sources} for split in spec.splits}
    free = plan.free_bytes
    short = "" if free is None or free >= plan.needed_bytes else ": too little"
    return [
        f"dataset      {spec.name}, licence {spec.licence}",
        *cases_table({split: row for split, row in by_split.items() if any(row.values())}),
        f"whole        {len(plan.whole)} of {sum(counts.values())} are built already",
        f"refused      {len(plan.refused)}",
        f"to read      {size(plan.read_bytes)} of .nii.gz in {len(plan.pending)} cases",
        *_downloads(plan),
        f"to write     about {size(plan.store_bytes)} with codec {plan.profile.name}",
        f"free disk    {'unknown' if free is None else size(free)} at {plan.storage.location}{short}",
        f"memory       at most {size(plan.memory_bytes)} with {plan.workers} workers",
    ]


def _downloads(plan: Plan) -> list[str]:
    if plan.source.disk is None:
        return []
    return [f"downloads    at most {size(plan.download_bytes)} at a time at {plan.source.disk}"]


def _whole(listing: Listing, holdings: Holdings, source: Source, storage: Storage) -> dict[str, Entry]:
    """Case id -> its line of the catalog, where a receipt says that the case needs no building."""
    sizes = storage.sizes() if holdings.receipts else {}
    found: dict[str, Entry] = {}
    for case in listing.cases:
        receipts = holdings.receipts.get(case.id, ())
        whole = next((one for one in receipts if is_whole(one.receipt, case, source, sizes)), None)
        if whole is not None:
            found[case.id] = whole.entry
    return found


def _without_twins(listing: Listing, holdings: Holdings) -> Listing:
    """The listing, but for cases whose ids are those of others in the store but for upper and lower case."""
    twins = colliding([*listing.ids, *holdings.ids])
    refused = [
        Refusal(
            case.id,
            f"its name differs from {twins[case.id][0]}, in the store, by case alone; legal: other names",
            case.split,
            case.source,
        )
        for case in listing.cases
        if case.id in twins and case.id not in holdings.ids
    ]
    ids = {refusal.case for refusal in refused}
    return Listing(tuple(case for case in listing.cases if case.id not in ids), (*listing.refused, *refused))


def _largest_first(
    cases: Iterable[SourceCase], holdings: Holdings, source: Source
) -> tuple[PlannedCase, ...]:
    planned = (_planned(case, holdings.earlier(case.id), source) for case in cases)
    return tuple(sorted(planned, key=lambda p: (-p.working_bytes, p.case.id)))


def _planned(case: SourceCase, earlier: Record | None, source: Source) -> PlannedCase:
    paths = [source.local(file) for file in case.files]
    if None in paths:
        # As for int16: inflated, compressed, and a byte a voxel of the mask.
        return PlannedCase(case, math.ceil(2.5 * case.image.bytes * _INFLATES), earlier)
    try:
        image, *mask = (nifti.read_header(path) for path in paths if path is not None)
    except CaseRefused:
        return PlannedCase(case, 0, earlier)
    most = max(_image_bytes(image, has_mask=bool(mask)), *(one.nbytes + 2 * one.voxels for one in mask), 0)
    return PlannedCase(case, most, earlier, _widening(image))


def _widening(image: Header) -> float:
    # Of a shifted integer the further bytes are all but constant, which costs nothing once compressed.
    return 1 if image.shifts_integers else max(1, image.decoded_bytes / image.nbytes)


def _image_bytes(image: Header, *, has_mask: bool) -> int:
    """What is there at once at the most: the image inflated and compressed, and the mask's voxels.

    Values that are not int16 may be kept to be sorted, those of labels once more.
    """
    copies = 1 if image.decoded_bytes <= image.voxels * _COUNTED_BYTES else 3
    return image.nbytes + copies * image.decoded_bytes + has_mask * image.voxels


def _require_all(source: Source, listing: Listing) -> None:
    missing = source.missing(listing)
    if missing:
        expected = sum(len(case.files) for case in listing.cases) + 2 * len(listing.refused)
        message = (
            f"{source} lists {expected - len(missing)} of {expected} files; missing: "
            f"{some_names(missing)}; run it again, or choose others by --split or --case"
        )
        raise SourceError(message)


def _require_codec(holdings: Holdings, chosen: Profile, storage: Storage) -> None:
    kept = (kept for some in holdings.receipts.values() for kept in some)
    records = [entry.record for entry in holdings.entries.values()]
    for record in (*records, *(one.receipt.record for one in kept)):
        if record.image.codec != chosen.image_codec:
            message = (
                f"{storage.location} was begun with codec {record.image.codec}, asked for {chosen.name} "
                f"({chosen.image_codec}); legal: the --codec of the store, or another store"
            )
            raise StoreMismatch(message)


def _workers(asked: int | None, pending: tuple[PlannedCase, ...], storage: Storage) -> int:
    if asked is None:
        most = min(usable_cores(), usable_memory() // worker_memory(pending), len(pending))
        return max(1, most) if storage.is_shared else 1
    if asked < 1 or (asked > 1 and not storage.is_shared):
        message = f"{asked} workers for {storage.location}; legal: 1" + " or more" * storage.is_shared
        raise UnknownValue(message)
    return asked
