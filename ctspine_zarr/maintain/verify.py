"""A proof that what is stored is what was written: every digest against every byte.

The root holds the sha256 of the catalog, the catalog that of every receipt and group, a receipt that
of every object and of the voxels that went in: who keeps the root's seal can prove the rest.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ctspine_zarr.concurrency.choice import AnyExecutor, runner_of
from ctspine_zarr.errors import DamagedStore, SourceError, StorageError, UnknownValue, require_case
from ctspine_zarr.maintain.above import irregular
from ctspine_zarr.maintain.comparison import Comparison
from ctspine_zarr.maintain.inspection import Inspection, OnBegin, OnCase
from ctspine_zarr.maintain.journal import Journal
from ctspine_zarr.maintain.quick import HubRecord
from ctspine_zarr.maintain.reports import Verification, legal_digest, require_here
from ctspine_zarr.manifest.state import State, load
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.write.origin import Origin


def verify(
    location: Location,
    *,
    cases: str | Collection[str] = (),
    digest: str | None = None,
    quick: bool = False,
    by_record: bool | None = None,
    source: str | Path | None = None,
    split_file: str | Path | None = None,
    fold: int | None = None,
    journal: str | Path | None = None,
    workers: int = 1,
    executor: AnyExecutor | None = None,
    on_begin: OnBegin | None = None,
    on_case: OnCase | None = None,
    storage_options: Mapping[str, Any] | None = None,
    source_options: Mapping[str, Any] | None = None,
) -> Verification:
    """Compare every object with its size and sha256, and every decoded volume with the digest of
    the voxels that went in.

    Whatever else lies in the store is told too, where it can be listed: a web server's cannot.

    Args:
        location: of the store.
        cases: ids to verify; all by default.
        digest: the root's seal as somebody kept it (`Store.digest`): with it every byte is proven, the
            root's own included. 64 hex digits, in upper or lower case.
        quick: compare the sizes of shards and every byte of all else, in this process: what is lost, cut
            or longer, and documents that were altered, are found; bytes altered within a shard are not.
        by_record: compare every object with what the Hub has recorded of it, and download documents alone:
            that proves that the Hub, by its own word, has every byte of every shard as it was written. By
            default of a store on the Hub, where neither `quick` nor `journal` is given; False to download
            and decode it all.
        source: what the store was built from: each case's files are compared with its receipt as well, by
            size and sha256, and where those differ by their voxels. See `plan_build`; a file of which the
            Hub's record is the receipt's is not downloaded.
        split_file, fold: of the source; see `plan_build`.
        journal: a file to which each case that is whole is noted at once, and whose cases of the same
            store and receipt, and of the same source if one is given, are not read again.
        workers: processes.
        executor: what verifies cases in their place; see `build_store`.
        on_begin: told of the cases that are to be read and the bytes of their shards, before the first.
        on_case: told of each of them as it is done, in this process.
        storage_options: see `open_store`.
        source_options: see `plan_build`.

    Raises:
        NotAStore: there is no store.
        UnknownCase: an id that the store does not have.
        UnknownValue: a digest that is not 64 hex digits; a journal of quick checks, or of those by record;
            or these of a place that records no sha256.
        StoreUpdated: the store was updated meanwhile; verify it again.
        StorageError: a store elsewhere than in a folder cannot be read, and may be whole; or the journal
            cannot be read or written.
        StoreInUse: a build of another version writes to the store.
        NoWorkers: worker processes cannot start, or the executor broke.
        SourceError, HubError: the source cannot be read.
    """
    begun = time.monotonic()
    kept = None if digest is None else legal_digest(digest)
    _require_full(journal, quick=quick, by_record=by_record)
    storage = open_storage(location, read_only=True, options=storage_options)
    try:
        state = load(storage)
    except (DamagedStore, StorageError) as error:
        require_here(storage, error)
        beside = (f"{path} {what}" for path, what in irregular(storage))
        return Verification((), (str(error), *beside), (), seconds=time.monotonic() - begun)
    asked_record = not (quick or journal) if by_record is None else by_record
    record = _record(storage, is_needed=by_record is True) if asked_record else None
    chosen = {cases} if isinstance(cases, str) else set(cases)
    for case in sorted(chosen):
        require_case(case, state.records.keys(), storage.location)
    origin = None
    if source is not None:
        options = source_options or {}
        origin = Origin(source, state.spec.layout, fold, split_file=split_file, options=options)
    with _compared(state, storage, origin) as comparison:
        name = None if comparison is None else str(comparison.source)
        notes = None if journal is None else Journal(Path(journal), storage.location, name)
        runner = runner_of(workers, executor)
        asked = Inspection(storage, state, runner, comparison, notes, quick=quick, record=record)
        found = asked.report(chosen, on_begin, on_case)
    problems = (*_wrong_digest(state, kept), *found.problems)
    return replace(found, problems=problems, seconds=time.monotonic() - begun)


def _require_full(journal: str | Path | None, *, quick: bool, by_record: bool | None) -> None:
    if journal is not None and (quick or by_record):
        which = "quick checks" if quick else "checks by record"
        message = f"journal {journal} of {which}, which prove no case whole; legal: one of the two"
        raise UnknownValue(message)
    if quick and by_record:
        message = "quick checks and checks by record; legal: one of the two, and by record more is found"
        raise UnknownValue(message)


def _record(storage: Storage, *, is_needed: bool) -> HubRecord | None:
    """What the place has recorded of the objects; None where it records none."""
    record = storage.recorded()
    if is_needed and not record:
        message = (
            f"checks by record of {storage.location}, which has recorded no sha256 of what it holds; legal: "
            "of a store on the Hub; here quick ones, or all bytes"
        )
        raise UnknownValue(message)
    return record or None


def _wrong_digest(state: State, digest: str | None) -> Iterator[str]:
    if digest is not None and digest != state.root.seal:
        yield f"the root's digest is {state.root.seal}, not {digest}: it is another state of the store"


@contextmanager
def _compared(state: State, storage: Storage, origin: Origin | None) -> Iterator[Comparison | None]:
    """The source that a store is compared with, closed afterwards."""
    if origin is None:
        yield None
        return
    source = origin.open(f"verify {storage.location}")
    try:
        described = origin.describe(source)
        if described.spec.name != state.spec.name:
            message = f"{source} holds {described.spec.name}; legal, for this store: {state.spec.name}"
            raise SourceError(message)
        yield Comparison(source, described)
    finally:
        source.close()
