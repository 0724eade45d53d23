"""A damaged store made what it was, from its source or from another store."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ctspine_zarr.concurrency.choice import AnyExecutor, runner_of
from ctspine_zarr.concurrency.runners import Runner
from ctspine_zarr.errors import NotMendable, StoreMismatch, StoreUpdated, UnknownValue
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.maintain.above import has_root, is_there, store_problems
from ctspine_zarr.maintain.inspection import Inspection, OnBegin, OnCase
from ctspine_zarr.maintain.mending import FromSource, FromStore, Supply
from ctspine_zarr.maintain.recovery import intended_state
from ctspine_zarr.maintain.reports import legal_digest
from ctspine_zarr.maintain.tables import mended_tables, with_tables
from ctspine_zarr.manifest.claims import Claim, Held, claimed
from ctspine_zarr.manifest.holdings import holdings_mark
from ctspine_zarr.manifest.inventory import case_folders, documents_above, keys_above, left_over, own_keys
from ctspine_zarr.manifest.receipts import read_receipts
from ctspine_zarr.manifest.state import State, kept_root, load
from ctspine_zarr.storage import Location, Storage, open_storage, require_shared
from ctspine_zarr.write.origin import Origin


@dataclass(frozen=True, slots=True)
class Mended:
    """A case that is whole again.

    Attributes:
        case: its id.
        keys: of the objects that were put, in order.
    """

    case: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """Damage that could not be mended.

    Attributes:
        case: id of the damaged case; None where the store as a whole is damaged.
        reason: why it is left.
    """

    case: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """The result of a repair.

    Attributes:
        mended: cases that are whole again.
        documents: keys of the documents above the cases that were put.
        removed: keys of objects that belonged to nothing.
        left: what could not be mended, and why.
        seconds: wall time.
        other_root: digest of the root where it was lost and is now the other store's, whose word alone it is
            but for the catalog unless that digest was asked for; None elsewhere.
    """

    mended: tuple[Mended, ...] = ()
    documents: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()
    seconds: float = 0
    other_root: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether no damage is left."""
        return not self.left


def repair(
    location: Location,
    source: str | Path | None = None,
    *,
    other: Location | None = None,
    digest: str | None = None,
    split_file: str | Path | None = None,
    fold: int | None = None,
    licence: str | None = None,
    citation: str | None = None,
    workers: int = 1,
    executor: AnyExecutor | None = None,
    take_over: bool = False,
    on_begin: OnBegin | None = None,
    on_case: OnCase | None = None,
    on_mended: Callable[[Mended], None] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    source_options: Mapping[str, Any] | None = None,
    other_options: Mapping[str, Any] | None = None,
) -> Repaired:
    """Verify a store, mend what is damaged and nothing else, and verify what was mended.

    What is mended is byte for byte what it was, proven by the sha256 in the catalog; a case of which that
    cannot be had is left as it is, with a reason, and the others are mended. Where the root was lost and
    comes from a source, its time of writing is another, and so is the store's digest; of refusals it has
    those that the source makes on sight. A store that is whole is not written to. Interrupted at any moment
    and run again, it ends with the same objects.

    Args:
        location: of the store.
        source: what it was built from; see `plan_build`. Either this or `other`.
        other: another store that has the same cases, wherever it is, as where it was published. Of it are
            read root and catalog, and the objects that are damaged here; one is taken if it has the sha256
            that this store's receipt has of it, and a receipt if it has that in this store's catalog.
        digest: the store's as somebody kept it (`Store.digest`): a root of another is not taken, neither the
            one here nor the other store's. Without it a lost root is that of any store of the same catalog:
            what the root alone says, such as licence and citation, is then the other store's word. 64 hex
            digits, in upper or lower case.
        split_file, fold, licence, citation: of the source; see `plan_build`.
        workers: processes.
        executor: what verifies and mends cases in their place; see `build_store`.
        take_over: see `build_store`.
        on_begin, on_case: told of the first verification; see `verify`.
        on_mended: told of each case that is mended, in this process.
        storage_options, other_options: of either store; see `open_store`.
        source_options: see `plan_build`.

    Raises:
        UnknownValue: neither a source nor another store, or both; a digest that is not 64 hex digits; or
            workers for a store that other processes do not see.
        NotAStore: there is no store, or no other one.
        DamagedStore: root or catalog of the other store are damaged as well.
        StoreMismatch: the first build of one has not ended, or the source is of another dataset.
        StoreInUse: another process writes to the store.
        StoreUpdated: the store was updated meanwhile.
        NoWorkers: worker processes cannot start, or the executor broke.
        StorageError, SourceError, HubError: one of them cannot be read, or the store cannot be written.
    """
    begun = time.monotonic()
    _require_one(source, other)
    seal = None if digest is None else legal_digest(digest)
    storage = open_storage(location, options=storage_options)
    runner = runner_of(workers, executor)
    require_shared(storage, runner)
    there, origin = None, None
    if other is not None:
        there = open_storage(other, read_only=True, options=other_options)
    elif source is not None:
        origin = Origin(source, None, fold, licence, citation, split_file, source_options or {})
    with _supply(storage, origin, there, runner) as supply:
        run = _Repair(storage, supply, runner, on_mended or _ignore, take_over, seal)
        found = run.run(on_begin, on_case)
    return replace(found, seconds=time.monotonic() - begun)


def _ignore(mended: Mended) -> None:
    """The default listener, which does nothing."""


def _require_one(source: str | Path | None, other: Location | None) -> None:
    if (source is None) == (other is None):
        seen = (
            "neither a source nor another store" if source is None else f"source {source} and store {other}"
        )
        message = f"{seen} to repair from; legal: one of the two"
        raise UnknownValue(message)


@contextmanager
def _supply(
    storage: Storage, origin: Origin | None, other: Storage | None, runner: Runner
) -> Iterator[Supply]:
    """What a store is mended from, closed afterwards."""
    if other is not None:
        require_shared(other, runner)
        state = load(other)
        state.require_ended(other.location)
        yield FromStore(other, state)
        return
    if origin is None:
        message = f"nothing to repair {storage.location} from; legal: a source, or another store"
        raise UnknownValue(message)
    source = origin.open(f"repair {storage.location}")
    try:
        yield FromSource(source, origin.describe(source))
    finally:
        source.close()


@dataclass(frozen=True)
class _Repair:
    """A repair of a store.

    Attributes:
        storage: of the store.
        supply: what it is mended from.
        runner: who verifies and mends cases.
        on_mended: told of each case.
        take_over: whether other writers are ended.
        seal: of the root, as somebody kept it; None where any will do.
    """

    storage: Storage
    supply: Supply
    runner: Runner
    on_mended: Callable[[Mended], None]
    take_over: bool
    seal: str | None

    def run(self, on_begin: OnBegin | None, on_case: OnCase | None) -> Repaired:
        """What was done; see `repair`."""
        mark = holdings_mark(self.storage)
        try:
            state = intended_state(self.storage, self.supply, self.seal)
        except NotMendable as error:
            return Repaired(left=(Left(None, str(error)),))
        state.require_ended(self.storage.location)
        self._require_dataset(state)
        inspection = Inspection(self.storage, state, self.runner)
        found = inspection.report((), on_begin, on_case)
        if found.is_whole:
            return Repaired()
        damaged = {report.case for report in found.cases if report.problems}
        entries = [entry for entry in state.entries if entry.record.id in damaged]
        # No other writes meanwhile, be it another repair.
        claim = Claim.own(secrets.token_hex(32), "a repair")
        with claimed(self.storage, claim, take_over=self.take_over) as held:
            self._require_unchanged(mark)
            mended, left = self._mend(entries, state, held)
            with held.gate():
                state = with_tables(state, self.storage, self.supply)
                documents = tuple(self._put_above(state, held))
                removed = tuple(self._remove_strays(state, held))
        # What was mended is proven as if nobody had.
        again = [entry for entry in entries if entry.record.id in {one.case for one in mended}]
        for entry, report in inspection.case_reports(again):
            left += [Left(entry.record.id, problem) for problem in report.problems]
        left += [Left(None, problem) for problem in store_problems(state, self.storage, (), None)]
        return Repaired(tuple(mended), documents, removed, tuple(left), other_root=self._other_root(state))

    def _other_root(self, state: State) -> str | None:
        """The seal of the other store's root, where the state is that store's."""
        is_others = isinstance(self.supply, FromStore) and state is self.supply.state
        return state.root.seal if is_others else None

    def _require_unchanged(self, mark: str) -> None:
        """Do nothing where nobody has written since the store was looked at."""
        if holdings_mark(self.storage) != mark:
            message = f"{self.storage.location} was updated while it was verified; repair it again"
            raise StoreUpdated(message)

    def _require_dataset(self, state: State) -> None:
        supply = self.supply
        if isinstance(supply, FromSource) and supply.described.spec.name != state.spec.name:
            seen = f"{supply.source} holds {supply.described.spec.name}"
            message = f"{seen}; legal, for {self.storage.location}: {state.spec.name}"
            raise StoreMismatch(message)

    def _mend(self, entries: Sequence[Entry], state: State, held: Held) -> tuple[list[Mended], list[Left]]:
        mended, left = [], []
        for entry, outcome in self.supply.mend(entries, held.storage, state.spec, self.runner):
            if outcome.reason:
                left.append(Left(entry.record.id, outcome.reason))
            else:
                mended.append(Mended(entry.record.id, outcome.keys))
                self.on_mended(mended[-1])
        return mended, left

    def _put_above(self, state: State, held: Held) -> Iterator[str]:
        """Put the documents above the cases that are not right, the root the last.

        A table that no other store has, and another version of its library wrote, stays as it is.
        """
        tables = mended_tables(state, self.storage, self.supply)
        for key, data in documents_above(state.root, state.entries, tables).items():
            is_root = key == layout.ROOT and has_root(self.storage, state.root)
            if not (is_root or is_there(self.storage, key, data)):
                held.storage.put(key, self._root_as_written(state, data) if key == layout.ROOT else data)
                yield key

    def _root_as_written(self, state: State, data: bytes) -> bytes:
        """A root as the other store has it, where it is that store's, else as it is encoded here: what
        another version wrote has another seal here.
        """
        kept = kept_root(self.supply.storage, state.root) if isinstance(self.supply, FromStore) else None
        return data if kept is None else kept

    def _remove_strays(self, state: State, held: Held) -> Iterator[str]:
        """Remove what stores write and this one has not; of all else nobody knows whose it is.

        Cases that an update has written, which did not end yet, stay.
        """
        above = keys_above(state.root, state.entries)
        receipts = read_receipts(self.storage, to_write=False)
        own = own_keys(above, state.entries, receipts)
        waiting = {key for kept in receipts for key in (kept.receipt.key, *kept.receipt.keys)}
        for key in left_over(self.storage.sizes(), own, state.spec.splits):
            if key not in waiting:
                held.storage.remove(key)
                yield key
        if self.storage.irregular():
            self.storage.clean(case_folders(state.spec.splits))
