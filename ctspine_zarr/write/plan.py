"""What a build will do, before any byte of it: frozen and printable."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ctspine_zarr import nifti
from ctspine_zarr.commit import read_receipts
from ctspine_zarr.dataset import SOURCE_NAMES, SPLIT_NAMES
from ctspine_zarr.errors import (
    CaseRefused,
    Malformed,
    NoSpace,
    OtherFormat,
    SourceError,
    StoreMismatch,
    UnknownValue,
)
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import About
from ctspine_zarr.format.encoding import OWN_ATTRIBUTES, decode
from ctspine_zarr.format.profiles import Profile, profile
from ctspine_zarr.format.receipt import Receipt
from ctspine_zarr.source.cases import Listing, Refusal, Selection, Source, SourceCase
from ctspine_zarr.source.location import open_source
from ctspine_zarr.storage import Location, Storage, free_bytes, open_storage, share_disk
from ctspine_zarr.text import cases_table, size
from ctspine_zarr.workers import usable_cores
from ctspine_zarr.write.resume import is_whole

# Measured on real masks: bytes of an encoded mask per byte of its `.nii.gz`.
_MASK_RATIO: Final = 0.26
# The seven metadata objects of a case and its receipt.
_METADATA_BYTES: Final = 30_000
# Of a CT that needs int16 and has int32 on disk: more than any of the real ones.
_INFLATES: Final = 4.5
_MOST_NAMED: Final = 20
_WORKER_BASE: Final = 300_000_000
_INFLATED_COPIES: Final = 2


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """A case to build.

    Attributes:
        case: its files.
        inflated_bytes: of the larger of them; an estimate where they are not here yet, and 0
            where its header cannot be read, which the build will say.
    """

    case: SourceCase
    inflated_bytes: int


@dataclass(frozen=True)
class Plan:
    """A build before it starts.

    Attributes:
        source: where the files are.
        storage: where the store is, or will be.
        profile: how arrays are encoded.
        workers: cases in flight at once.
        pending: cases to build, largest first, so that no large one is left for the end.
        whole: receipts of the selected cases that are built already.
        refused: selected cases that cannot be tried.
        elsewhere: ids that the source has beyond the selection.
    """

    source: Source
    storage: Storage
    profile: Profile
    workers: int
    pending: tuple[PlannedCase, ...]
    whole: tuple[Receipt, ...]
    refused: tuple[Refusal, ...]
    elsewhere: frozenset[str]

    @property
    def ids(self) -> tuple[str, ...]:
        """The cases that the build is for, refused ones not included."""
        return (*(p.case.id for p in self.pending), *(receipt.record.id for receipt in self.whole))

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """(split, source) -> cases, built ones included, refused ones not."""
        pending = ((p.case.split, p.case.source) for p in self.pending)
        return Counter([*pending, *((r.record.split, r.record.source) for r in self.whole)])

    @property
    def read_bytes(self) -> int:
        """Bytes of `.nii.gz` still to be read."""
        return sum(planned.case.bytes for planned in self.pending)

    @property
    def store_bytes(self) -> int:
        """Estimated bytes still to be written, from ratios measured on real CT."""
        images = sum(planned.case.image.bytes for planned in self.pending) * self.profile.image_ratio
        masks = sum(planned.case.segmentation.bytes for planned in self.pending) * _MASK_RATIO
        return math.ceil(images + masks + _METADATA_BYTES * len(self.pending))

    @property
    def memory_bytes(self) -> int:
        """Upper bound of memory: twice the largest inflated file and 300 MB for each worker."""
        return self.workers * worker_memory(self.pending)

    @property
    def download_bytes(self) -> int:
        """Most bytes of `.nii.gz` that are here at once only to be built from; 0 for a local source."""
        return self.source.disk_bytes((p.case for p in self.pending), self.workers)

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
        needed, free = self.store_bytes, self.free_bytes
        if folder is not None and self.storage.path is not None and share_disk(folder, self.storage.path):
            needed += self.download_bytes
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
    codec: str = "portable",
    workers: int | None = None,
    split_file: str | Path | None = None,
    storage_options: Mapping[str, Any] | None = None,
    source_options: Mapping[str, Any] | None = None,
    keep_downloads: bool = False,
) -> Plan:
    """Find out what a build would do; reads headers and receipts, writes nothing.

    Args:
        source: a local tree laid out as the dataset is on the Hub, hf://datasets/USER/NAME[@REVISION],
            or "hub" for the dataset itself. What is there is built as its newest commit has it.
        store: where the store is, or will be: a path, s3://, gs://, az://, memory:// or a zarr Store.
        selection: which cases; all by default.
        codec: `portable` or `compact`.
        workers: cases in flight at once; by default as many as cores and memory allow.
        split_file: the split list, where it is not at `metadata/data_split.txt`.
        storage_options: see `open_store`.
        source_options: of the Hub: `token` and `endpoint`; else those of the environment.
        keep_downloads: leave them in the Hub's cache; else each is deleted once its case is built.

    Raises:
        SourceError: the source is not laid out as the dataset, has no split list, or is on the Hub
            and lacks a file of a selected case.
        HubError: the Hub cannot be reached, or has no such repository.
        UnknownCase, UnknownValue: the selection or codec names what does not exist, or the
            store is one that several workers cannot share.
        MissingDependency: the codec needs a library that is not installed.
        StoreMismatch: the store was begun with another codec, or is of another format.
        StorageError: the store cannot be read, or is not one that can be written.
    """
    chosen = profile(codec)
    storage = open_storage(store, options=storage_options)
    origin = open_source(source, split_file, source_options or {}, name=storage.location, keep=keep_downloads)
    everything = origin.listing()
    listing = selection.of(everything)
    if not listing.ids:
        message = f"no case of the source is selected by {selection}"
        raise UnknownValue(message)
    _require_all(origin, listing)
    receipts = read_receipts(storage)
    _require_ours(storage, receipts)
    _require_codec(receipts.values(), chosen, storage)
    sizes = storage.sizes() if receipts else {}
    whole = {case.id for case in listing.cases if is_whole(receipts.get(case.id), case, origin, sizes)}
    pending = _largest_first((case for case in listing.cases if case.id not in whole), origin)
    return Plan(
        source=origin,
        storage=storage,
        profile=chosen,
        workers=_workers(workers, pending, storage),
        pending=pending,
        whole=tuple(receipts[case.id] for case in listing.cases if case.id in whole),
        refused=listing.refused,
        elsewhere=everything.ids - listing.ids,
    )


def worker_memory(pending: Iterable[PlannedCase]) -> int:
    """Upper bound of one worker's memory in bytes."""
    largest = max((planned.inflated_bytes for planned in pending), default=0)
    return _INFLATED_COPIES * largest + _WORKER_BASE


def describe(plan: Plan) -> list[str]:
    """The plan in lines for a person: cases by split and source, bytes, memory, disk."""
    counts = plan.counts
    by_split = {split: {s: counts.get((split, s), 0) for s in SOURCE_NAMES} for split in SPLIT_NAMES}
    free = plan.free_bytes
    short = "" if free is None or free >= plan.store_bytes else ": too little"
    return [
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


def _largest_first(cases: Iterable[SourceCase], source: Source) -> tuple[PlannedCase, ...]:
    planned = (PlannedCase(case, _inflated_bytes(case, source)) for case in cases)
    return tuple(sorted(planned, key=lambda p: (-p.inflated_bytes, p.case.id)))


def _inflated_bytes(case: SourceCase, source: Source) -> int:
    image, mask = source.local(case.image), source.local(case.segmentation)
    if image is None or mask is None:
        return math.ceil(case.image.bytes * _INFLATES)
    try:
        return max(nifti.read_header(path).nbytes for path in (image, mask))
    except CaseRefused:
        return 0


def _require_all(source: Source, listing: Listing) -> None:
    missing = source.missing(listing)
    if missing:
        shown = ", ".join(missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
        message = (
            f"{source} lists {2 * len(listing.ids) - len(missing)} of {2 * len(listing.ids)} files; missing: "
            f"{shown}; run it again, or choose others by --split or --case"
        )
        raise SourceError(message)


def _require_ours(storage: Storage, receipts: Mapping[str, Receipt]) -> None:
    root = storage.get(layout.ROOT)
    if root is None or receipts:
        return
    try:
        decode(root, About.from_json, OWN_ATTRIBUTES)
    except (Malformed, OtherFormat) as error:
        message = f"{storage.location} holds a {layout.ROOT} that is not ours; build into another place"
        raise StoreMismatch(message) from error


def _require_codec(receipts: Iterable[Receipt], chosen: Profile, storage: Storage) -> None:
    for receipt in receipts:
        if receipt.record.codec != chosen.name:
            message = (
                f"{storage.location} was begun with codec {receipt.record.codec}, asked for {chosen.name}; "
                f"legal: --codec {receipt.record.codec}, or another store"
            )
            raise StoreMismatch(message)


def _workers(asked: int | None, pending: tuple[PlannedCase, ...], storage: Storage) -> int:
    if asked is None:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        most = min(usable_cores(), memory // worker_memory(pending), len(pending))
        return max(1, most) if storage.is_shared else 1
    if asked < 1 or (asked > 1 and not storage.is_shared):
        message = f"{asked} workers for {storage.location}; legal: 1" + " or more" * storage.is_shared
        raise UnknownValue(message)
    return asked
