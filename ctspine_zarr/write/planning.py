"""Planning: a source and a store to the plan of a build; nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ctspine_zarr.concurrency.limits import usable_cores, usable_memory
from ctspine_zarr.datasets.cases import Listing, Refusal, SourceCase
from ctspine_zarr.datasets.dataset import Described
from ctspine_zarr.datasets.selection import Selection
from ctspine_zarr.errors import SourceError, StoreMismatch, UnknownValue
from ctspine_zarr.format import layout
from ctspine_zarr.format.layout import DEFAULT_CHUNK
from ctspine_zarr.format.names import colliding
from ctspine_zarr.format.profiles import DEFAULT, PROFILES, profile
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import Shape
from ctspine_zarr.manifest.holdings import (
    Holdings,
    holdings_mark,
    read_holdings,
    require_own_folders,
    require_same_dataset,
    with_terms,
)
from ctspine_zarr.sources.source import Source, Supply
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.text import some_names
from ctspine_zarr.write.document import (
    Part,
    PlanDocument,
    PlannedCase,
    ids_of,
    new_document,
    read_plan,
    write_plan,
)
from ctspine_zarr.write.estimates import estimate, worker_memory
from ctspine_zarr.write.metadata import Files, planned_tables
from ctspine_zarr.write.origin import Origin
from ctspine_zarr.write.plan import PendingCase, Plan
from ctspine_zarr.write.resume import has_form, whole_cases
from ctspine_zarr.write.tables import require_own_tables

MOST_WRITTEN_CHUNK: Final = 1 << 21
"""Voxels of a chunk that is written: a read of one voxel decodes all of it."""


def plan_build(
    source: str | Path,
    store: Location,
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    dataset: str | None = None,
    fold: int | None = None,
    licence: str | None = None,
    citation: str | None = None,
    codec: str | None = None,
    chunk: Shape | None = None,
    rebuild: bool = False,
    workers: int | None = None,
    split_file: str | Path | None = None,
    storage_options: Mapping[str, Any] | None = None,
    source_options: Mapping[str, Any] | None = None,
    keep_downloads: bool = False,
    plan_file: str | Path | None = None,
    part: Part | None = None,
    metadata: Files = (),
    metadata_key: str | None = None,
) -> Plan:
    """Find out what a build would do; reads headers and receipts, writes nothing but `plan_file`.

    Args:
        source: a folder that holds a dataset, hf://datasets/USER/NAME[@REVISION], or "hub" for
            CTSpine1K itself. What is there is built as its newest commit has it.
        store: where the store is, or will be: a path, s3://, gs://, az://, memory:// or a zarr Store.
        selection: which cases; all by default.
        dataset: `ctspine1k`, `verse` or `nnunet`; by default what the layout of the files says.
        fold: of an nnU-Net dataset's `splits_final.json`, whose validation cases become the split
            `validation`.
        licence, citation: of a dataset that states none.
        codec: `portable` or `compact`; by default that of the store, or `portable`.
        chunk: (z, y, x) voxels of a chunk; by default those of the store, or (8, 64, 64).
        rebuild: build cases again that have another codec or chunk.
        workers: cases in flight at once; by default as many as cores and memory allow.
        split_file: CTSpine1K's split list, where it is not at `metadata/data_split.txt`; or nnU-Net's
            `splits_final.json`, together with `fold`.
        storage_options: see `open_store`.
        source_options: of the Hub: `token` and `endpoint`, else those of the environment; `timeout`, the
            seconds after which a listing or a document is given up (60).
        keep_downloads: leave them in the Hub's cache; else each is deleted once its case is built.
        plan_file: where the plan is kept: made now if it is not there, else taken from there, whatever
            the source has become; then nothing else may be asked for that decides what is built.
        part: of the plan, where other builds have the other parts.
        metadata: files of tables that are joined to the cases once they are built; see `add_metadata`. A
            table that has changed changes no voxels: cases that are whole stay.
        metadata_key: as `key` there.

    Raises:
        SourceError: the source is laid out as no dataset is, has no split list, or is on the Hub
            and lacks a file of a selected case; or the plan file cannot be read or written; or a file of
            metadata is no table, has a key twice, or has no row of any case.
        HubError: the Hub cannot be reached, or has no such repository.
        UnknownCase, UnknownValue: the selection, dataset or codec names what does not exist, the
            store is one that several workers cannot share, or the plan was made for something else;
            metadata for a part, or by a column that is not there.
        MissingDependency: the codec needs a library that is not installed.
        StoreMismatch: the store holds another dataset, was begun with another codec, or is of another
            format; or the plan was made by another version.
        StorageError: the store cannot be read, or is not one that can be written.
    """
    _require_chunk(chunk)
    tables = planned_tables(metadata, metadata_key, is_part=part is not None)
    storage = open_storage(store, options=storage_options)
    kept = None if plan_file is None else read_plan(Path(plan_file))
    place = source if kept is None or "://" not in kept.source else kept.source
    options = source_options or {}
    asked = Origin(place, dataset, fold, licence, citation, split_file, options, keep_downloads)
    origin = asked.open(storage.location)
    _require_apart(origin, storage)
    if kept is not None:
        _require_no_more(kept, selection, asked, (codec, chunk))
        found = plan_for(kept, origin, storage, workers=workers, part=part, rebuild=rebuild)
        return found.joining(tables)
    described = asked.describe(origin)
    selection = selection.within(origin.asked, described.listing)
    listing = _selected(selection, described)
    _require_all(origin, listing)
    found = plan_of(
        origin,
        storage,
        described.spec,
        described.listing,
        selection=selection,
        planned=lambda case: _planned(case, origin),
        codec=codec,
        chunk=chunk,
        rebuild=rebuild,
        workers=workers,
        plan_file=plan_file,
        part=part,
    )
    return found.joining(tables)


def plan_of(
    source: Supply[Any],
    storage: Storage,
    spec: Spec,
    listing: Listing,
    *,
    selection: Selection,
    planned: Callable[[SourceCase], PlannedCase],
    codec: str | None,
    chunk: Shape | None,
    rebuild: bool,
    workers: int | None,
    plan_file: str | Path | None,
    part: Part | None,
) -> Plan:
    """What would be built of cases that are known; see `plan_build`.

    Args:
        source: of their volumes.
        storage: of the store.
        spec: of the dataset.
        listing: all its cases.
        selection: of them.
        planned: from a case to what is planned of it.
        codec, chunk, rebuild, workers, part: as for `plan_build`.
        plan_file: where the plan is kept; one that is there has to be the very same.

    Raises: as `plan_build`.
    """
    _require_chunk(chunk)
    chosen = _selected(selection, Described(spec, listing))
    holdings = read_holdings(storage)
    document = new_document(
        source.pinned,
        *_form(codec, chunk, holdings),
        with_terms(spec, holdings),
        cases=map(planned, chosen.cases),
        refused=chosen.refused,
        elsewhere=listing.ids - chosen.ids,
    )
    if plan_file is not None:
        document = _agreed(document, write_plan(Path(plan_file), document), str(plan_file))
    return plan_for(document, source, storage, workers=workers, part=part, rebuild=rebuild, holdings=holdings)


def _agreed(asked: PlanDocument, kept: PlanDocument, place: str) -> PlanDocument:
    if asked.seal != kept.seal:
        message = f"plan {place} was made for something else; legal: another file, or what it was made for"
        raise UnknownValue(message)
    return kept


def plan_for(
    document: PlanDocument,
    source: Supply[Any],
    storage: Storage,
    *,
    workers: int | None,
    part: Part | None,
    rebuild: bool,
    holdings: Holdings | None = None,
) -> Plan:
    """What a document asks for, beside what a store has; see `plan_build`.

    Args:
        document: of the plan.
        source: of its files.
        storage: of the store.
        workers: cases in flight at once; None for as many as cores and memory allow.
        part: of the document.
        rebuild: build cases again that have another codec or chunk.
        holdings: what the store has, where that was read just now.
    """
    profile(document.codec)
    holdings = _own_holdings(document, storage, holdings or read_holdings(storage))
    if not rebuild:
        _require_form(document, holdings, storage)
    own = None if part is None else ids_of(part, document)
    chosen = [one for one in document.cases if own is None or one.case.id in own]
    twins = _twins(chosen, holdings)
    chosen = [one for one in chosen if one.case.id not in {refusal.case for refusal in twins}]
    sizes = storage.sizes() if holdings.receipts else {}
    whole = whole_cases(document, chosen, holdings, sizes)
    pending = _largest_first((one for one in chosen if one.case.id not in whole), holdings)
    return Plan(
        document=document,
        source=source,
        storage=storage,
        holdings=holdings,
        workers=_workers(workers, pending, storage),
        pending=pending,
        whole=tuple(whole[one.case.id] for one in chosen if one.case.id in whole),
        refused=(*(document.refused if part is None else ()), *twins),
        part=part,
        rebuild=rebuild,
    )


def renewed(plan: Plan) -> Plan:
    """The plan, beside what its store has by now."""
    if plan.holdings.mark == holdings_mark(plan.storage):
        return plan
    found = plan_for(
        plan.document, plan.source, plan.storage, workers=plan.workers, part=plan.part, rebuild=plan.rebuild
    )
    return replace(found, metadata=plan.metadata)


def _selected(selection: Selection, described: Described) -> Listing:
    listing = selection.of(described.spec, described.listing)
    if not listing.ids:
        count = len(described.listing.ids)
        message = f"no case of the source is selected by {selection}; legal: one or more of its {count}"
        raise UnknownValue(message)
    return listing


def _require_no_more(
    kept: PlanDocument, selection: Selection, asked: Origin, form: tuple[str | None, Shape | None]
) -> None:
    """Refuse to ask for something else than what a plan that was made before says."""
    wishes = {
        "a selection": selection != Selection(),
        "another dataset or its terms": asked.says_something,
        f"codec {form[0]}": form[0] not in {None, kept.codec},
        f"chunk {form[1]}": form[1] not in {None, kept.chunk},
    }
    for what, is_asked in wishes.items():
        if is_asked:
            message = f"{what} for a plan that was made before; legal: what it says, or another plan file"
            raise UnknownValue(message)


def _own_holdings(document: PlanDocument, storage: Storage, holdings: Holdings) -> Holdings:
    """What a store has, which must be of the plan's dataset and codec."""
    if not holdings.receipts and holdings.root is None:
        try:
            require_own_folders(storage, document.dataset)
            require_own_tables(storage)
        except StoreMismatch:
            # Another build, which puts its root first, may have begun in between.
            if storage.size(layout.ROOT) is None:
                raise
            holdings = read_holdings(storage)
    require_same_dataset(holdings, document.dataset, storage.location)
    return holdings


def _require_apart(source: Source, storage: Storage) -> None:
    """Refuse a store in whose place, or above whose place, its source lies."""
    if source.folder is None or storage.path is None:
        return
    here, there = source.folder.resolve(), storage.path.resolve()
    if here.is_relative_to(there):
        message = f"cannot build {source} into {storage.location}, where its files are; legal: a place apart"
        raise StoreMismatch(message)


def _twins(chosen: Iterable[PlannedCase], holdings: Holdings) -> list[Refusal]:
    """Cases whose ids are those of others in the store but for upper and lower case."""
    cases = [planned.case for planned in chosen]
    twins = colliding([*(case.id for case in cases), *holdings.ids])
    return [
        Refusal(
            case.id,
            f"its name differs from {twins[case.id][0]}, in the store, by case alone; legal: other names",
            case.split,
            case.source,
        )
        for case in cases
        if case.id in twins and case.id not in holdings.ids
    ]


def _largest_first(cases: Iterable[PlannedCase], holdings: Holdings) -> tuple[PendingCase, ...]:
    pending = [
        PendingCase(one.case, one.working_bytes, one.widening, holdings.earlier(one.case.id)) for one in cases
    ]
    return tuple(sorted(pending, key=lambda one: (-one.working_bytes, one.case.id)))


def _planned(case: SourceCase, source: Source) -> PlannedCase:
    found = estimate(case, source)
    return PlannedCase(case, found.working_bytes, found.widening)


def _require_all(source: Source, listing: Listing) -> None:
    missing = source.missing(listing)
    if missing:
        expected = sum(len(case.files) for case in listing.cases) + 2 * len(listing.refused)
        message = (
            f"{source} lists {expected - len(missing)} of {expected} files; missing: "
            f"{some_names(missing)}; run it again, or choose others by --split or --case"
        )
        raise SourceError(message)


def _form(codec: str | None, chunk: Shape | None, holdings: Holdings) -> tuple[str, Shape]:
    """Codec and chunk of what is built: those that are asked for, else those of the store.

    Raises:
        UnknownValue: see `profile`.
    """
    records = [entry.record for entry in holdings.entries.values()]
    there = records[0].image if records else None
    dtypes = {(np.dtype(record.image.dtype), record.image.codec) for record in records}
    kept = [one.name for one in PROFILES.values() if all(one.image_codec_of(d) == name for d, name in dtypes)]
    chosen = codec or next(iter(kept if records else ()), DEFAULT)
    profile(chosen)
    return chosen, chunk or (DEFAULT_CHUNK if there is None else there.chunk)


def _require_form(document: PlanDocument, holdings: Holdings, storage: Storage) -> None:
    records = [entry.record for entry in holdings.entries.values()]
    for record in (*records, *(one.receipt.record for one in holdings.all_receipts)):
        if not has_form(record, document):
            asked = PROFILES[document.codec].image_codec_of(np.dtype(record.image.dtype))
            message = (
                f"{storage.location} was begun with codec {record.image.codec} and chunks of "
                f"{record.image.chunk}, asked for {document.codec} ({asked}) and {document.chunk}; legal: "
                "the --codec and --chunk of the store, --rebuild, or another store"
            )
            raise StoreMismatch(message)


def _require_chunk(chunk: Shape | None) -> None:
    if chunk is not None and not (min(chunk) >= 1 and math.prod(chunk) <= MOST_WRITTEN_CHUNK):
        message = (
            f"chunk {chunk}; legal: three sizes (z, y, x) of 1 or more, {MOST_WRITTEN_CHUNK} voxels at most"
        )
        raise UnknownValue(message)


def _workers(asked: int | None, pending: tuple[PendingCase, ...], storage: Storage) -> int:
    if asked is None:
        usable = usable_memory()
        # What is too large for one worker is refused when its turn comes.
        fitting = [one for one in (worker_memory([p.working_bytes]) for p in pending) if one <= usable]
        most = min(usable_cores(), usable // max(fitting, default=usable), len(pending))
        return max(1, most) if storage.is_shared else 1
    if asked < 1 or (asked > 1 and not storage.is_shared):
        message = f"{asked} workers for {storage.location}; legal: 1" + " or more" * storage.is_shared
        raise UnknownValue(message)
    return asked
